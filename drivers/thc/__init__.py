"""The THC overlay: sums of compressed gradients, and the encoder that makes them."""

from drivers.thc.aggregator import ThcAggregator
from drivers.thc.driver import ThcError
from drivers.thc.encoder import ThcEncoder

__all__ = ["ThcAggregator", "ThcEncoder", "ThcError"]

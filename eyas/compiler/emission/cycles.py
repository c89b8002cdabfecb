"""The compiler's estimate of a layer's cycles."""

from __future__ import annotations

from eyas.compiler.emission.layers import Layer
from eyas.compiler.lowering.depthwise import DepthwiseStep
from eyas.interfaces.vision.config import VisionConfig

__all__ = ["layer_cycles"]


def layer_cycles(layer: Layer, config: VisionConfig) -> int:
    """Cycles from the layer's start to its last result: its groups, then the pipeline's drain.

    The drain is the way of the last pass through reader (5), array (4 for a pair of products, a
    cycle a level of the adder tree, 1 to accumulate), requantiser (15) and write-back.
    """
    fields = layer.fields
    if isinstance(layer.step, DepthwiseStep):
        # The last column's way through reader, depthwise unit (10), requantiser and write-back.
        return 1 + layer.step.column_cycles(config) + 5 + 10 + fields["drain"] + 15 + 2
    tree = (config.input_channels // 2).bit_length() - 1
    array = 4 + tree + 1
    # The last group's results leave without the wait for a next one.
    wait = fields["group_cycles"] - fields["passes"]
    pipeline = 5 + array + fields["drain"] + 15 + 2
    if fields["merge_lanes"]:
        pipeline += config.pixels - 1
    return 1 + fields["tiles"] * fields["groups"] * fields["group_cycles"] - wait + pipeline

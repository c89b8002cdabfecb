"""Requantisation parameters of layers without weights, the same for each channel."""

from __future__ import annotations

from eyas.compiler.errors import ScaleError
from eyas.compiler.lowering.lane import (
    MAX_PRE_SHIFT,
    MAX_SHIFT,
    ChannelParameters,
    mantissa,
    scaling,
)
from models.vision.graph import Tensor

__all__ = ["of_mean", "of_requantize"]


def of_requantize(label: str, source: Tensor, ratio: float) -> ChannelParameters:
    """Values of ``source`` times ``ratio``, with LiteRT's two roundings."""
    return _rescaled(label, source, ratio, count=1)


def of_mean(label: str, source: Tensor, target: Tensor, count: int) -> ChannelParameters:
    """Sums of ``count`` values of ``source`` to their mean in the scale of ``target``.

    LiteRT divides the multiplier by the count, rounding down, rather than the sum.
    """
    return _rescaled(label, source, source.scale / target.scale, count=count)


def _rescaled(label: str, source: Tensor, ratio: float, count: int) -> ChannelParameters:
    multiplier, exponent = mantissa(ratio)
    if exponent < -MAX_SHIFT:  # LiteRT flushes it to 0
        multiplier = exponent = 0
    # As many bits as keep the quotient below 2^31 and the right shift within 31.
    gained = min(count.bit_length() - 1, MAX_SHIFT + exponent)
    multiplier = (multiplier << gained) // count
    exponent -= gained
    if exponent > MAX_PRE_SHIFT:
        raise ScaleError(
            f"{label}: values are multiplied by {ratio:g} when they are requantised; the engine "
            f"multiplies by less than {1 << MAX_PRE_SHIFT}"
        )
    return scaling(multiplier, exponent, -count * source.zero_point)

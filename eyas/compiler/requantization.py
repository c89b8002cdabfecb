"""Requantisation parameters from scales.

The reference has its own derivation, in floating point as TensorFlow Lite's; this one is the
compiler's, so that neither can hide the other's mistake.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from eyas.compiler.errors import CompileError
from eyas.compiler.pooling import average_parameters
from models.vision.graph import Conv2D, FullyConnected, Tensor

__all__ = ["ChannelParameters", "average", "identity", "of_linear"]

MAX_PRE_SHIFT = 15


@dataclass(frozen=True)
class ChannelParameters:
    """Fields of one PARAMETER record (:mod:`eyas.interfaces.vision_isa`)."""

    bias: int = 0
    multiplier: int = 0
    shift: int = 0
    pre_shift: int = 0


def identity() -> ChannelParameters:
    """The value unchanged: (2x · 2^30 + 2^30) >> 31."""
    return ChannelParameters(multiplier=1 << 30, pre_shift=1)


def average(count: int) -> ChannelParameters:
    """A sum of ``count`` int8 values to their average, halves away from zero."""
    pre_shift, multiplier, shift = average_parameters(count)
    return ChannelParameters(multiplier=multiplier, shift=shift, pre_shift=pre_shift)


def of_linear(
    node: Conv2D | FullyConnected, source: Tensor, target: Tensor
) -> list[ChannelParameters]:
    """Parameters of every output channel of a convolution or fully connected layer.

    The bias takes −zero_point · Σ weights in, so that the array multiplies raw int8 values; padded
    taps read as the zero point and cancel out.
    """
    weights = node.weights.reshape(len(node.weights), -1)
    folded = node.bias.astype(np.int64) - source.zero_point * weights.sum(1, dtype=np.int64)
    ratios = _ratios(node, source, target)
    return [
        _parameters(node, channel, int(bias), ratio)
        for channel, (bias, ratio) in enumerate(zip(folded, ratios, strict=True))
    ]


def _ratios(node: Conv2D | FullyConnected, source: Tensor, target: Tensor) -> list[float]:
    """input scale · weight scale / output scale, in the precision that TensorFlow Lite uses."""
    scales = node.weight_scales
    if isinstance(node, FullyConnected) and len(scales) == 1:
        product = float(np.float32(source.scale) * scales[0])
        return [product / target.scale] * len(node.weights)
    return [source.scale * float(scale) / target.scale for scale in scales]


def _parameters(
    node: Conv2D | FullyConnected, channel: int, bias: int, ratio: float
) -> ChannelParameters:
    bias = (bias + (1 << 31)) % (1 << 32) - (1 << 31)  # the accumulator wraps
    mantissa, exponent = math.frexp(ratio)
    multiplier = math.floor(mantissa * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier, exponent = 1 << 30, exponent + 1
    if exponent < -31:  # too small to matter: every sum becomes 0
        return ChannelParameters(bias=bias)
    if exponent > MAX_PRE_SHIFT:
        raise CompileError(
            f"Layer {node.name!r}: channel {channel} is multiplied by {ratio:g} when it is "
            f"requantised; the engine multiplies by less than {1 << MAX_PRE_SHIFT}"
        )
    if exponent > 0:
        return ChannelParameters(bias, multiplier, 0, exponent)
    return ChannelParameters(bias, multiplier, -exponent)

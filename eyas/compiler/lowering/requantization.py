"""Requantisation parameters from scales.

The reference has its own derivation, in floating point as TensorFlow Lite's; this one is the
compiler's, so that neither can hide the other's mistake.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from eyas.compiler.errors import ScaleError
from eyas.compiler.lowering.lane import (
    MAX_PRE_SHIFT,
    ChannelParameters,
    does_not_wrap,
    mantissa,
    scaling,
    wrap,
)
from eyas.compiler.lowering.pooling import average_parameters
from models.vision.graph import FullyConnected, Tensor
from models.vision.weighted_nodes import Convolution, WeightedNode

__all__ = ["average", "identity", "of_convolution", "of_fully_connected"]

OUTPUT_STEPS = 256
"""An output and its zero point are int8: before that is added, larger values are all alike."""


def identity() -> ChannelParameters:
    """The value unchanged: (2x · 2^30 + 2^30) >> 31."""
    return ChannelParameters(multiplier=1 << 30, pre_shift=1)


def average(count: int) -> ChannelParameters:
    """A sum of ``count`` int8 values to their average, halves away from zero."""
    pre_shift, multiplier, shift = average_parameters(count)
    return ChannelParameters(multiplier=multiplier, shift=shift, pre_shift=pre_shift)


def of_convolution(node: Convolution, source: Tensor, target: Tensor) -> list[ChannelParameters]:
    """Parameters of every output channel of a convolution, with TensorFlow Lite's two roundings.

    The bias takes −zero_point · Σ weights in, so that the array multiplies raw int8 values; padded
    taps read as the zero point and cancel out.
    """
    return [
        _rounded_twice(node, channel, bias, ratio)
        for channel, (bias, ratio) in enumerate(_channels(node, source, target))
    ]


def of_fully_connected(
    node: FullyConnected, source: Tensor, target: Tensor
) -> list[ChannelParameters]:
    """Parameters of every output of a fully connected layer, which LiteRT rounds but once.

    Its kernel computes ``round(sum · ratio)`` in double precision, halves away from zero. The
    lane's multiplier has 31 bits; of those next to the ratio one is taken with which the output
    steps at exactly the same sums (docs/decisions/0009-fully-connected-rounds-once.md says why
    there is one).
    """
    least, greatest = -128 - source.zero_point, 127 - source.zero_point
    weights = node.weights.astype(np.int64)
    low = np.minimum(weights * least, weights * greatest).sum(1) + node.bias
    high = np.maximum(weights * least, weights * greatest).sum(1) + node.bias
    return [
        _rounded_once(node, channel, bias, ratio, _wrapped(int(low[channel]), int(high[channel])))
        for channel, (bias, ratio) in enumerate(_channels(node, source, target))
    ]


def _wrapped(low: int, high: int) -> list[range]:
    """What an int32 accumulator makes of the sums from ``low`` to ``high``."""
    if high - low >= 1 << 32:
        return [range(-(1 << 31), 1 << 31)]
    start = wrap(low)
    stop = start + high - low + 1
    if stop <= 1 << 31:
        return [range(start, stop)]
    return [range(start, 1 << 31), range(-(1 << 31), stop - (1 << 32))]


def _channels(node: WeightedNode, source: Tensor, target: Tensor) -> list[tuple[int, float]]:
    """Folded bias, and output steps in a step of the sum, of each channel."""
    weights = node.weights.reshape(len(node.weights), -1)
    folded = node.bias.astype(np.int64) - source.zero_point * weights.sum(1, dtype=np.int64)
    return [
        (wrap(bias), source.scale * float(scale) / target.scale)  # the accumulator wraps
        for bias, scale in zip(folded.tolist(), node.weight_scales, strict=True)
    ]


def _rounded_twice(node: WeightedNode, channel: int, bias: int, ratio: float) -> ChannelParameters:
    multiplier, exponent = mantissa(ratio)
    if exponent > MAX_PRE_SHIFT:
        raise _too_large(node, channel, ratio)
    return scaling(multiplier, exponent, bias)


def _rounded_once(
    node: FullyConnected, channel: int, bias: int, ratio: float, sums: list[range]
) -> ChannelParameters:
    multiplier, exponent = mantissa(ratio)
    bound = max(max(abs(item.start), abs(item.stop - 1)) for item in sums)
    if bound * ratio < 0.5:
        return ChannelParameters(bias=bias, rounds_once=True)
    if exponent > MAX_PRE_SHIFT:
        raise _too_large(node, channel, ratio)
    pre_shift, shift = max(0, exponent), max(0, -exponent)
    if not all(_holds(item, pre_shift) for item in sums):
        # Where all sums are saturated alike, nearer ones, which do not wrap, are so as well.
        nearest = min(min(abs(item.start), abs(item.stop - 1)) for item in sums)
        spare = nearest - math.ceil(2 * OUTPUT_STEPS / ratio)
        shifted = -spare if sums[0].start > 0 else spare
        moved = range(sums[0].start + shifted, sums[0].stop + shifted)
        if len(sums) > 1 or 0 in sums[0] or spare < 0 or not _holds(moved, pre_shift):
            raise _too_large(node, channel, ratio)
        bias, sums = bias + shifted, [moved]
    low, high = _multipliers(ratio, sums, pre_shift, shift)
    if low > high:
        raise ScaleError(
            f"{node.label}: no multiplier of 31 bits rounds channel {channel}'s sums, up to "
            f"{bound}, times {ratio!r} as LiteRT does; change the scale of its output a little"
        )
    return ChannelParameters(bias, min(max(multiplier, low), high), shift, pre_shift, True)


def _holds(sums: range, pre_shift: int) -> bool:
    """Whether the sums, shifted left, are int32."""
    return does_not_wrap(sums.start, sums.stop - 1, pre_shift)


def _steps(ratio: float) -> Iterator[tuple[int, int]]:
    """Each output step with the least sum that reaches it: ``round(sum · ratio) >= step``.

    Rounding away from zero makes the function odd, so that positive sums tell all.
    """
    for step in range(1, OUTPUT_STEPS + 1):
        first = max(1, math.ceil((step - 0.5) / ratio) - 1)
        while first * ratio < step - 0.5:
            first += 1
        yield step, first


def _multipliers(ratio: float, sums: list[range], pre_shift: int, shift: int) -> tuple[int, int]:
    """The least and the greatest multiplier with which a lane steps where it should.

    With x = |sum| · 2^pre_shift the lane gives ``step`` or more, of the sum's sign, when
    x · M >= (2 · step − 1) · 2^(30 + shift). Of the sums that occur, the one next above the step
    and the one next below it bound the multiplier.
    """
    positive = [range(max(1, item.start), item.stop) for item in sums if item.stop > 1]
    negative = [range(max(1, 1 - item.stop), 1 - item.start) for item in sums if item.start < 0]
    sizes = positive + negative
    least, greatest = 0, (1 << 31) - 1
    for step, first in _steps(ratio):
        needed = (2 * step - 1) << (30 + shift)
        reaching = [max(first, item.start) for item in sizes if item.stop > first]
        short = [min(first, item.stop) - 1 for item in sizes if item.start < first]
        if reaching:
            least = max(least, -(-needed // (min(reaching) << pre_shift)))
        if short:
            greatest = min(greatest, -(-needed // (max(short) << pre_shift)) - 1)
    return least, greatest


def _too_large(node: WeightedNode, channel: int, ratio: float) -> ScaleError:
    return ScaleError(
        f"Layer {node.name!r}: channel {channel} is multiplied by {ratio:g} when it is "
        f"requantised; the engine multiplies by less than {1 << MAX_PRE_SHIFT}"
    )

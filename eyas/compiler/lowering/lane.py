"""A requantisation lane and the add's tables, in plain integers: parameters and what they do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from eyas.interfaces.vision import limits
from eyas.interfaces.vision.isa import MULTIPLIER_FRACTION, PARAMETER, TABLE_FRACTION

__all__ = [
    "MAX_PRE_SHIFT",
    "MAX_SHIFT",
    "ChannelParameters",
    "add_table",
    "does_not_wrap",
    "mantissa",
    "requantized",
    "scaling",
    "wrap",
]

MAX_PRE_SHIFT = limits.MULTIPLIER_BITS
MAX_SHIFT = PARAMETER.by_name["shift"].maximum


@dataclass(frozen=True)
class ChannelParameters:
    """Fields of one PARAMETER record (:mod:`eyas.interfaces.vision.isa`)."""

    bias: int = 0
    multiplier: int = 0
    shift: int = 0
    pre_shift: int = 0
    rounds_once: bool = False


def mantissa(ratio: float) -> tuple[int, int]:
    """``multiplier · 2^(exponent − 31)``, the multiplier 2^30 to 2^31 − 1, or 0 for 0."""
    fraction, exponent = math.frexp(ratio)
    one = 1 << MULTIPLIER_FRACTION
    multiplier = math.floor(fraction * one + 0.5)
    return (one // 2, exponent + 1) if multiplier == one else (multiplier, exponent)


def scaling(multiplier: int, exponent: int, bias: int = 0) -> ChannelParameters:
    """Parameters that multiply by ``multiplier · 2^(exponent − 31)``, at most MAX_PRE_SHIFT.

    What would be shifted out altogether is 0, as LiteRT flushes it.
    """
    if exponent > MAX_PRE_SHIFT:
        raise ValueError(f"An exponent must be at most {MAX_PRE_SHIFT}, not {exponent}")
    if exponent < -MAX_SHIFT:
        return ChannelParameters(bias)
    return ChannelParameters(bias, multiplier, max(0, -exponent), max(0, exponent))


def requantized(
    total: int, parameters: ChannelParameters, zero_point: int, low: int, high: int
) -> int:
    """The int8 value that a lane makes of the sum ``total``, clamped to ``low`` … ``high``."""
    x = wrap(wrap(total + parameters.bias) << parameters.pre_shift)
    product = x * parameters.multiplier
    if parameters.rounds_once:
        y = _rounded_away(product, parameters.shift + MULTIPLIER_FRACTION)
    else:
        y = _rounded_away(_rounded_up(product, MULTIPLIER_FRACTION), parameters.shift)
    return max(low, min(high, y + zero_point))


def does_not_wrap(first: int, last: int, pre_shift: int) -> bool:
    """Whether all sums from ``first`` to ``last``, their bias added, are int32 when shifted."""
    limit = 1 << (31 - pre_shift)
    return -limit <= first and last < limit


def add_table(fields: Mapping[str, int], name: str, value: int) -> int:
    """The entry for ``value`` of table ``name``, ``"a"`` or ``"b"``, of an ADD with ``fields``."""
    start, step, shift = (fields[f"table_{name}_{part}"] for part in ("start", "step", "shift"))
    return _rounded_away(_rounded_up(start + (value + 128) * step, TABLE_FRACTION), shift)


def _rounded_up(value: int, shift: int) -> int:
    """``value / 2^shift`` to nearest, halves upwards."""
    return (value + (1 << (shift - 1))) >> shift


def wrap(value: int) -> int:
    """``value`` as int32 arithmetic leaves it."""
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def _rounded_away(value: int, shift: int) -> int:
    """``value / 2^shift`` to nearest, halves away from zero."""
    if shift == 0:
        return value
    return (value + (1 << (shift - 1)) - (value < 0)) >> shift

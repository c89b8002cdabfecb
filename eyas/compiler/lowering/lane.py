"""What a requantisation lane and the add's tables compute, in plain integers."""

from __future__ import annotations

from collections.abc import Mapping

from eyas.compiler.lowering.requantization import ChannelParameters
from eyas.interfaces.vision.isa import MULTIPLIER_FRACTION, TABLE_FRACTION

__all__ = ["add_table", "requantized"]


def requantized(
    total: int, parameters: ChannelParameters, zero_point: int, low: int, high: int
) -> int:
    """The int8 value that a lane makes of the sum ``total``, clamped to ``low`` … ``high``."""
    x = _int32(_int32(total + parameters.bias) << parameters.pre_shift)
    product = x * parameters.multiplier
    if parameters.rounds_once:
        y = _rounded_away(product, parameters.shift + MULTIPLIER_FRACTION)
    else:
        y = _rounded_away(_rounded_up(product, MULTIPLIER_FRACTION), parameters.shift)
    return max(low, min(high, y + zero_point))


def add_table(fields: Mapping[str, int], name: str, value: int) -> int:
    """The entry for ``value`` of table ``name``, ``"a"`` or ``"b"``, of an ADD with ``fields``."""
    start, step, shift = (fields[f"table_{name}_{part}"] for part in ("start", "step", "shift"))
    return _rounded_away(_rounded_up(start + (value + 128) * step, TABLE_FRACTION), shift)


def _rounded_up(value: int, shift: int) -> int:
    """``value / 2^shift`` to nearest, halves upwards."""
    return (value + (1 << (shift - 1))) >> shift


def _rounded_away(value: int, shift: int) -> int:
    """``value / 2^shift`` to nearest, halves away from zero."""
    if shift == 0:
        return value
    return (value + (1 << (shift - 1)) - (value < 0)) >> shift


def _int32(value: int) -> int:
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)

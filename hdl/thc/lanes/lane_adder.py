"""The sum of one accumulator lane."""

from amaranth.hdl import C, Cat, Mux, Value
from amaranth.lib import data

__all__ = ["lane_sum", "raw_sum_layout", "saturated"]

raw_sum_layout = data.StructLayout({"low": 8, "between": 1, "high": 8, "carry": 1})
"""What :func:`lane_sum` gives: two bytes, and the carries out of them."""


def lane_sum(old, low, high, wide) -> Value:
    """Add bytes to the two bytes of a lane, in one carry chain.

    Wide, the lane is one sum of 16 bits and ``high`` is 0. Narrow, it is two sums of 8 bits: the
    bit between the bytes keeps the carry of the lower one from the upper.

    Returns a value to store as ``raw_sum_layout``; :func:`saturated` makes a lane of it.
    """
    # What comes from a register goes first: that side enters the carry chain without a LUT.
    total = Cat(low, C(0, 1), high) + Cat(old[:8], wide, old[8:])
    return total[:18]


def saturated(raw, wide) -> Value:
    """Return the lane, 16 bits, of a :func:`lane_sum`; a sum that does not fit is the greatest."""
    low_over = Mux(wide, raw.carry, raw.between)
    return Cat(raw.low | low_over.replicate(8), raw.high | raw.carry.replicate(8))

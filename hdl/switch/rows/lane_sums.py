"""Saturating sums of the lanes: the addition, and a cycle later what is stored of it."""

from amaranth.hdl import Cat, Mux, Value

__all__ = [
    "SIGNED_RAW_BITS",
    "UNSIGNED_RAW_BITS",
    "add_signed",
    "add_unsigned",
    "signed",
    "unsigned",
]

UNSIGNED_RAW_BITS = 17
SIGNED_RAW_BITS = 33


def add_unsigned(old, value) -> Value:
    """Add a table entry of 8 bits to a sum of 16, or of 8 with zeros above; 17 bits, for
    :func:`unsigned`."""
    # What comes from a register goes first: that side enters the carry chain without a LUT.
    return (value + old)[:UNSIGNED_RAW_BITS]


def unsigned(raw, wide) -> Value:
    """Return the sum, 16 bits; one that does not fit 16 bits (``wide``) or 8 is the greatest."""
    over = Mux(wide, raw[16], raw[8])
    return raw[:16] | over.replicate(16)


def add_signed(old, value) -> Value:
    """Add two values of 32 bits in two's complement; 33 bits, for :func:`signed`."""
    return (value.as_signed() + old.as_signed())[:SIGNED_RAW_BITS]


def signed(raw) -> Value:
    """Return the sum, 32 bits; one that does not fit is the least or the greatest."""
    negative, fits = raw[32], raw[32] == raw[31]
    return Cat(Mux(fits, raw[:31], (~negative).replicate(31)), negative)

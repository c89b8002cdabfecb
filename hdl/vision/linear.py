"""Linear positions in the activation memory: pairs (q, r) that stand for q · P + r."""

from amaranth.hdl import Module, Signal
from amaranth.utils import ceil_log2

from eyas.interfaces.vision.config import VisionConfig

__all__ = ["address_bits", "bank_bits", "split"]


def bank_bits(config: VisionConfig) -> int:
    """Width of a bank number, and of r."""
    return max(1, ceil_log2(config.pixels))


def address_bits(config: VisionConfig) -> int:
    """Width of a word's address in its bank, and of q modulo the bank's size."""
    return ceil_log2(config.bank_words)


def split(m: Module, config: VisionConfig, name: str, total, bound: int):
    """Return (quotient, remainder) of the small value ``total`` < ``bound`` by the bank count.

    A table, one or two levels of LUTs; nothing divides.
    """
    banks = config.pixels
    narrow = Signal(range(max(2, bound)), name=f"{name}_total")
    quotient = Signal(range(max(2, (bound - 1) // banks + 1)), name=f"{name}_quotient")
    remainder = Signal(bank_bits(config), name=f"{name}_remainder")
    m.d.comb += narrow.eq(total)
    with m.Switch(narrow):
        for value in range(bound):
            with m.Case(value):
                m.d.comb += [quotient.eq(value // banks), remainder.eq(value % banks)]
        with m.Default():
            pass
    return quotient, remainder

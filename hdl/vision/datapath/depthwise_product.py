"""A multiplier of two int8 values in look-up tables: radix-4 Booth, a digit a stage."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.parts.arithmetic import add_with_carry

__all__ = ["BoothProduct"]


class BoothProduct(wiring.Component):
    """``value · weight``, exact, without a DSP.

    The weight stands for four digits −2, −1, 0, 1 or 2 of the base 4.  Each stage adds a digit's
    multiple of the value to the sum so far, on one carry chain with a look-up table a bit: the
    multiple is made in the table that adds.  What is below the chain is final and moves along.

    Latency: ``latency`` cycles.  Throughput: a product a cycle.  No back-pressure, no reset.

    Members
    -------
    moves : In(latency)
        Bit n: stage n takes what the stage before it holds; else it keeps what it has.  The
        operands count with bit 0, and bit n follows n cycles later.
    value, weight : In(signed 8)
    product : Out(signed 16)
    """

    latency = 4

    moves: In(latency)
    value: In(signed(8))
    weight: In(signed(8))
    product: Out(signed(16))

    def elaborate(self, platform):
        m = Module()
        value = self.value
        weight = Cat(Const(0, 1), self.weight)  # from the digit's lowest bit on
        total = Const(0, signed(8))
        final = Const(0, 2)  # two bits below the product's lowest, to have as many in each stage
        for stage in range(self.latency):
            next_total = Signal(signed(10), name=f"total{stage}", reset_less=True)
            next_final = Signal.like(final, name=f"final{stage}", reset_less=True)
            next_value = Signal(signed(8), name=f"value{stage}", reset_less=True)
            next_weight = Signal(len(weight) - 2, name=f"weight{stage}", reset_less=True)
            multiple, negative = self._multiple(value, weight[:3])
            with m.If(self.moves[stage]):
                m.d.sync += [
                    next_total.eq(add_with_carry(total, multiple, negative, len(next_total))),
                    next_final.eq(final),
                    next_value.eq(value),
                    next_weight.eq(weight[2:]),
                ]
            value, weight = next_value, next_weight
            total, final = next_total[2:].as_signed(), Cat(next_final, next_total[:2])
        m.d.comb += self.product.eq(Cat(next_final[2:], next_total))
        return m

    @staticmethod
    def _multiple(value: Value, digit: Value) -> tuple[Value, Value]:
        """The digit's multiple as (inverted if negative, 1 if negative): their sum is the multiple.

        The digit is ``bit 0 + bit 1 - 2 · bit 2``.
        """
        once, negative = digit[0] ^ digit[1], digit[2]
        twice = Mux(negative, ~digit[0] & ~digit[1], digit[0] & digit[1])
        size = Mux(once, Cat(value, value[-1]), Mux(twice, Cat(Const(0, 1), value), Const(0, 9)))
        return (size ^ negative.replicate(9)).as_signed(), negative

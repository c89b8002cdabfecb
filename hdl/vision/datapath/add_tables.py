"""Fills the look-up tables of an addition."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.vision.isa import INSTRUCTION, TABLE_FRACTION
from hdl.parts.arithmetic import DelayLine
from hdl.parts.layout import field_shape, record_layout

__all__ = ["AddTables"]

ENTRIES = 256


class AddTables(wiring.Component):
    """Computes both tables of an ADD instruction, an entry of each a cycle.

    The entry for the int8 value q is (start + (q + 128) · step) / 2^11 to nearest, halves upwards,
    then / 2^shift to nearest, halves away from zero: what TensorFlow Lite's rescaling of
    (q − zero_point) · 2^20 comes to.  Entries wrap at 32 bits.

    Attributes
    ----------
    latency : int
        Cycles from ``start`` to ``full``.

    Members
    -------
    instruction : In
        The ADD, constant from ``start`` to ``full``.
    start : In(1)
        Begins; what was begun before is forgotten.
    full : Out(1)
        Everything has been written since the last ``start``; low from the cycle after it.
    write_enable : Out(1)
    write_address : Out(8)
        The value q, as an unsigned byte.
    write_a, write_b : Out(32)
        Its entry in the tables of the first and of the second map.
    """

    latency = ENTRIES + 5

    instruction: In(record_layout(INSTRUCTION))
    start: In(1)
    full: Out(1)
    write_enable: Out(1)
    write_address: Out(8)
    write_a: Out(32)
    write_b: Out(32)

    def elaborate(self, platform):
        m = Module()
        fields = self.instruction
        running = Signal()
        number = Signal(range(ENTRIES), reset_less=True)
        with m.If(self.start):
            m.d.sync += [running.eq(1), number.eq(0)]
        with m.Else():
            m.d.sync += number.eq(number + 1)
            with m.If(number == ENTRIES - 1):
                m.d.sync += running.eq(0)

        depth = 0
        for name in "ab":
            m.submodules[f"table_{name}"] = table = _Entries()
            depth = table.latency
            m.d.comb += [
                table.load.eq(self.start),
                table.start.eq(fields[f"table_{name}_start"]),
                table.step.eq(fields[f"table_{name}_step"]),
                table.shift.eq(fields[f"table_{name}_shift"]),
                getattr(self, f"write_{name}").eq(table.entry),
            ]

        # Number n is the entry of n − 128.
        valid = Signal(depth)
        written = DelayLine(m, number, "number")[depth]
        m.d.sync += valid.eq(Mux(self.start, 0, Cat(running, valid)))
        m.d.comb += [
            self.write_enable.eq(valid[-1]),
            self.write_address.eq(Cat(written[:-1], ~written[-1])),
        ]
        with m.If(self.start):
            m.d.sync += self.full.eq(0)
        with m.Elif(valid[-1] & (written == ENTRIES - 1)):
            m.d.sync += self.full.eq(1)
        return m


class _Entries(wiring.Component):
    """One table's arithmetic: the first entry ``latency`` + 1 cycles after ``load``, then one a
    cycle."""

    latency = 4

    load: In(1)
    start: In(field_shape(INSTRUCTION, "table_a_start"))
    step: In(field_shape(INSTRUCTION, "table_a_step"))
    shift: In(field_shape(INSTRUCTION, "table_a_shift"))
    entry: Out(32)

    def elaborate(self, platform):
        m = Module()
        total = Signal.like(self.start, reset_less=True)
        half = Const(1 << (TABLE_FRACTION - 1), len(self.step))
        m.d.sync += total.eq(Mux(self.load, self.start, total) + Mux(self.load, half, self.step))

        # 1: the first rounding. The second one, away from zero, has 1 taken off negative numbers.
        rounded = total[TABLE_FRACTION:].as_signed()
        s1_value = Signal(signed(33), reset_less=True)
        m.d.sync += s1_value.eq(rounded - (total[-1] & self.shift.any()))

        # 2, 3: shifted right, with a 0 below.
        s2_value = Signal(signed(34), reset_less=True)
        s3_value = Signal(signed(34), reset_less=True)
        m.d.sync += [
            s2_value.eq(Cat(Const(0, 1), s1_value).as_signed() >> Cat(Const(0, 3), self.shift[3:])),
            s3_value.eq(s2_value >> self.shift[:3]),
        ]

        # 4: the second rounding.
        s4_value = Signal(32, reset_less=True)
        m.d.sync += s4_value.eq((s3_value + 1) >> 1)
        m.d.comb += self.entry.eq(s4_value)
        return m

"""From Hadamard sums to indices: scale, clamp, round stochastically."""

from amaranth.hdl import C, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from eyas.interfaces.thc.config import TABLE_ENTRY_BITS
from eyas.interfaces.thc.formats import (
    MULTIPLICAND_BITS,
    MULTIPLIER_BITS,
    MULTIPLIER_FRACTION,
    POSITION_BITS,
    POSITION_FRACTION,
    ROUNDING_BITS,
    SUM_BITS,
)
from hdl.parts.arithmetic import DelayLine
from hdl.thc.encode.walsh import LANES

__all__ = ["Quantizer"]

WHOLE_BITS = POSITION_BITS - POSITION_FRACTION
INDEX_BITS = 4
PRODUCT_BITS = MULTIPLICAND_BITS + MULTIPLIER_BITS + 1

interval_layout = data.StructLayout({"index": INDEX_BITS, "above": WHOLE_BITS, "gap": WHOLE_BITS})
"""For a whole position: greatest index whose entry is not above it, how far it is above that
entry, and how far the next entry is above this one."""


class Quantizer(wiring.Component):
    """Rounds four sums a cycle to the table's entries, as :mod:`models.thc.fixed_point` says.

    Has no back-pressure. Latency: 9 cycles; the random bits come 6 cycles after their sums.
    Throughput: a beat a cycle.  A lane takes two DSP48E1: one scales, one compares.

    The table is taken apart once, into what each whole position lies between, in up to 80 cycles
    (``busy``); no sums come meanwhile.

    Parameters
    ----------
    entries : int
        Entries of the table: 4, 8 or 16.

    Members
    -------
    load : In(1)
        Take ``table`` and ``granularity``, which stay as they are while sums come.
    table : In(entries × 8)
        The table, entry 0 lowest, entries up to ``granularity``.
    granularity : In(6)
        1 to 63.
    busy : Out(1)
        The table is being taken apart.
    sums : In(4 × signed 26)
        Hadamard sums.
    multiplier : In(17)
        The block's; 0 gives indices 0.
    random : In(4 × 16)
        Random bits, 6 cycles after ``sums``.
    indices : Out(4 × 4)
        Indices, 9 cycles after ``sums``.
    """

    latency = 9
    random_latency = 6

    def __init__(self, entries: int):
        if entries not in (4, 8, 16):
            raise ValueError(f"A table has 4, 8 or 16 entries, not {entries}")
        self.entries = entries
        super().__init__(
            {
                "load": In(1),
                "table": In(entries * TABLE_ENTRY_BITS),
                "granularity": In(WHOLE_BITS),
                "busy": Out(1),
                "sums": In(data.ArrayLayout(signed(SUM_BITS), LANES)),
                "multiplier": In(MULTIPLIER_BITS),
                "random": In(data.ArrayLayout(ROUNDING_BITS, LANES)),
                "indices": Out(data.ArrayLayout(INDEX_BITS, LANES)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.intervals = intervals = Memory(
            shape=interval_layout, depth=1 << WHOLE_BITS, init=[]
        )
        self._take_apart(m, intervals.write_port())

        multiplier = DelayLine(m, self.multiplier, "multiplier")
        live = DelayLine(m, self.multiplier != 0, "live")
        granularity = self.granularity
        centre = Signal(WHOLE_BITS + MULTIPLIER_FRACTION, reset_less=True)
        half = 1 << (MULTIPLIER_FRACTION - POSITION_FRACTION - 1)
        m.d.sync += centre.eq(Cat(C(half, MULTIPLIER_FRACTION - 1), granularity))

        for lane in range(LANES):
            # 1: what the multiplier's input holds.
            sums = self.sums[lane]
            limit = 1 << (MULTIPLICAND_BITS - 1)
            s1_sum = Signal(signed(MULTIPLICAND_BITS), name=f"s1_sum{lane}", reset_less=True)
            with m.If(sums[-1] == sums[-2]):
                m.d.sync += s1_sum.eq(sums)
            with m.Else():
                m.d.sync += s1_sum.eq(Mux(sums[-1], -limit, limit - 1))

            # 2, 3: multiply, and add the middle of the table and half a place to round.
            factor = Cat(multiplier[1], C(0, 1)).as_signed()
            s2_product = Signal(signed(PRODUCT_BITS), name=f"s2_product{lane}", reset_less=True)
            s3_scaled = Signal(signed(PRODUCT_BITS), name=f"s3_scaled{lane}", reset_less=True)
            m.d.sync += [
                s2_product.eq(s1_sum * factor),
                s3_scaled.eq(s2_product + centre),
            ]

            # 4, 5: the position, between 0 and the granularity.
            whole = s3_scaled[MULTIPLIER_FRACTION:].as_signed()
            fraction = s3_scaled[MULTIPLIER_FRACTION - POSITION_FRACTION : MULTIPLIER_FRACTION]
            s4_below = Signal(name=f"s4_below{lane}", reset_less=True)
            s4_above = Signal(name=f"s4_above{lane}", reset_less=True)
            s4_whole = Signal(WHOLE_BITS, name=f"s4_whole{lane}", reset_less=True)
            s4_fraction = Signal(POSITION_FRACTION, name=f"s4_fraction{lane}", reset_less=True)
            s5_whole = Signal(WHOLE_BITS, name=f"s5_whole{lane}", reset_less=True)
            s5_fraction = Signal(POSITION_FRACTION, name=f"s5_fraction{lane}", reset_less=True)
            m.d.sync += [
                s4_below.eq(whole < 0),
                s4_above.eq(whole >= granularity),
                s4_whole.eq(whole),
                s4_fraction.eq(fraction),
                s5_whole.eq(Mux(s4_below, 0, Mux(s4_above, granularity, s4_whole))),
                s5_fraction.eq(Mux(s4_below | s4_above, 0, s4_fraction)),
            ]

            # 6: between which entries.
            read = intervals.read_port()
            m.d.comb += [read.addr.eq(s5_whole), read.en.eq(1)]
            interval = read.data
            s6_fraction = Signal(POSITION_FRACTION, name=f"s6_fraction{lane}", reset_less=True)
            m.d.sync += s6_fraction.eq(s5_fraction)

            # 7, 8: step up if random · gap < distance · 2^5.
            distance = Cat(
                C(0, ROUNDING_BITS - POSITION_FRACTION), s6_fraction, interval.above
            )  # fmt: skip
            width = ROUNDING_BITS + WHOLE_BITS
            s7_distance = Signal(width, name=f"s7_distance{lane}", reset_less=True)
            s7_product = Signal(width, name=f"s7_product{lane}", reset_less=True)
            s8_rest = Signal(signed(width + 1), name=f"s8_rest{lane}", reset_less=True)
            m.d.sync += [
                s7_distance.eq(distance),
                s7_product.eq(self.random[lane] * interval.gap),
                s8_rest.eq(s7_product - s7_distance),
            ]
            index = DelayLine(m, interval.index, f"index{lane}")[2]

            # 9: the index.
            s9_index = Signal(INDEX_BITS, name=f"s9_index{lane}", reset_less=True)
            m.d.sync += s9_index.eq(Mux(live[8], index + s8_rest[-1], 0))
            m.d.comb += self.indices[lane].eq(s9_index)

        return m

    def _take_apart(self, m, write):
        """Fill the table of intervals, one whole position after the other."""
        entries = [self.table.word_select(entry, TABLE_ENTRY_BITS) for entry in range(self.entries)]
        index = Signal(range(self.entries))
        place = Signal(WHOLE_BITS)
        entry = Signal(TABLE_ENTRY_BITS)
        following = Signal(TABLE_ENTRY_BITS)
        is_last = index == self.entries - 1
        steps = ~is_last & (following <= place)
        with m.Switch(index):
            for number in range(self.entries):
                with m.Case(number):
                    m.d.comb += [
                        entry.eq(entries[number]),
                        following.eq(entries[min(number + 1, self.entries - 1)]),
                    ]
        m.d.comb += [
            write.en.eq(self.busy & ~steps),
            write.addr.eq(place),
            write.data.index.eq(index),
            write.data.above.eq(place - entry),
            write.data.gap.eq(following - entry),
        ]
        with m.If(self.load):
            m.d.sync += [self.busy.eq(1), index.eq(0), place.eq(0)]
        with m.Elif(self.busy):
            with m.If(steps):
                m.d.sync += index.eq(index + 1)
            with m.Else():
                m.d.sync += place.eq(place + 1)
                with m.If(place.all()):
                    m.d.sync += self.busy.eq(0)

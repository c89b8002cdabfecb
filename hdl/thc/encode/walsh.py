"""Walsh–Hadamard transform of a stream."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from eyas.interfaces.thc.formats import BLOCK_LOG2, MANTISSA_BITS, SUM_BITS
from hdl.parts.arithmetic import add_with_carry

__all__ = ["LANES", "Walsh"]

LANES = 4
"""Coordinates in a beat."""


class Walsh(wiring.Component):
    """Transforms blocks of 1024 coordinates, four a beat, in natural order.

    A chain of butterflies.  Those of strides 512 to 4 work beat by beat, each with a memory of
    half its span, which gives the sums while the second half comes in and the differences while
    the next block does; those of strides 2 and 1 work in the beat.

    Has no back-pressure. Sums leave 10 cycles and 255 beats after their coordinates: beats go on
    being fed, of the next block or of nothing, until they have come.  The beat that leaves with a
    strobe of number ``count`` has number ``count + 1`` in its block.

    Throughput: a beat a cycle.

    Members
    -------
    strobe : In(1)
        A beat is here.
    count : In(8)
        Its number in its block.
    x : In(4 × signed 17)
        Coordinates.
    sums : Out(4 × signed 26)
        Sums modulo 2^26; those of a strobe 10 cycles ago.
    """

    beats = (1 << BLOCK_LOG2) // LANES
    latency = BLOCK_LOG2

    strobe: In(1)
    count: In(BLOCK_LOG2 - 2)
    x: In(data.ArrayLayout(signed(MANTISSA_BITS + 1), LANES))
    sums: Out(data.ArrayLayout(signed(SUM_BITS), LANES))

    def elaborate(self, platform):
        m = Module()

        strobe, count = self.strobe, self.count
        x = list(self.x)
        delay = self.beats // 2
        while delay:
            x = self._over_beats(m, delay, strobe, count, x)
            strobe, count = _registered(m, strobe, True), _registered(m, count)
            delay //= 2
        for stride in (1, 2):
            x = self._in_beat(m, stride, x)
        m.d.comb += [total.eq(item) for total, item in zip(self.sums, x, strict=True)]

        return m

    def _over_beats(self, m, delay, strobe, count, x):
        """Butterflies of beats that are ``delay`` apart."""
        width = min(len(x[0]) + 1, SUM_BITS)
        second = count[delay.bit_length() - 1]
        waiting = Signal(data.ArrayLayout(signed(width), LANES), name=f"waiting{delay}")
        pushed = Signal.like(waiting, name=f"pushed{delay}")
        sums = [
            Signal(signed(width), name=f"sum{delay}_{lane}", reset_less=True)
            for lane in range(LANES)
        ]
        if delay == 1:
            store = Signal.like(waiting, name="store1", reset_less=True)
            with m.If(strobe):
                m.d.sync += store.eq(pushed)
            m.d.comb += waiting.eq(store)
        else:
            # What comes out next is read with this beat, into the port's register.
            memory = Memory(shape=unsigned(width * LANES), depth=delay, init=[])
            m.submodules[f"memory{delay}"] = memory
            write, read = memory.write_port(), memory.read_port()
            place = count[: delay.bit_length() - 1]
            m.d.comb += [
                write.en.eq(strobe),
                write.addr.eq(place),
                write.data.eq(pushed),
                read.en.eq(strobe),
                read.addr.eq(place + 1),
                waiting.eq(read.data),
            ]
        for lane in range(LANES):
            first, item = waiting[lane], x[lane]
            m.d.comb += pushed[lane].eq(
                add_with_carry(
                    Mux(second, first, 0).as_signed(),
                    Mux(second, ~item, item).as_signed(),
                    second,
                    width,
                )
            )
            with m.If(strobe):
                m.d.sync += sums[lane].eq(first + Mux(second, item, 0).as_signed())
        return sums

    def _in_beat(self, m, stride, x):
        """Butterflies of coordinates of one beat."""
        width = min(len(x[0]) + 1, SUM_BITS)
        result = [
            Signal(signed(width), name=f"lane{stride}_{lane}", reset_less=True)
            for lane in range(LANES)
        ]
        for lane in range(LANES):
            other = lane ^ stride
            m.d.sync += result[lane].eq(x[other] - x[lane] if lane & stride else x[lane] + x[other])
        return result


def _registered(m, value, reset=False):
    later = Signal.like(value, reset_less=not reset)
    m.d.sync += later.eq(value)
    return later

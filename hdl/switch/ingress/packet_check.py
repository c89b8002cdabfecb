"""Checks a header by the rules of :meth:`eyas.interfaces.switch.packet.Packet.from_bytes`."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.packet import (
    MAX_PAYLOAD_BYTES,
    MAX_WORKERS,
    PACKET_MAGIC,
    PACKET_VERSION,
    Lanes,
    PacketKind,
)
from hdl.switch.layouts import header_layout

__all__ = ["PacketCheck", "findings_layout"]

findings_layout = data.StructLayout(
    {
        "foreign": 1,
        "version": 1,
        "kind": 1,
        "big": 1,
        "length": 1,
        "bitmap": 1,
        "slot": 1,
        "job": 1,
    }
)
"""What is wrong with a header: faults of :class:`eyas.interfaces.switch.packet.PacketFault`;
``big`` is a payload that no packet has, ``length`` one that does not suit the other fields;
``slot``: sums that are longer than a slot; ``job``: a number beyond the jobs that were built."""

_INDICES = (PacketKind.DATA, PacketKind.RESEND)
_SUMS = (PacketKind.PARTIAL, PacketKind.RESULT, PacketKind.ANSWER)


def _ones(bits):
    """How many of up to six bits are set, 3 bits: two full adders and their sum."""
    low, high = (
        Cat(a ^ b ^ c, (a & b) | (b & c) | (a & c))
        for a, b, c in (Cat(bits, 0, 0, 0, 0, 0)[i : i + 3] for i in (0, 3))
    )
    return (low + high)[:3]


def _one_of(value, choices):
    return value.matches(*(int(choice) for choice in choices))


class PacketCheck(wiring.Component):
    """Looks for contradictions in a header.

    Latency: 3 cycles.  Throughput: a header a cycle; but its bitmap has to be there a cycle
    earlier, and stay.  Without back-pressure.

    Parameters
    ----------
    config : SwitchConfig
        Slot bytes and jobs.

    Members
    -------
    header : In(header_layout)
        A header; ``bitmap`` in the cycle before as well.
    o : Out(findings_layout)
        What is wrong with it, 3 cycles later.
    """

    latency = 3

    def __init__(self, config: SwitchConfig):
        self.config = config
        super().__init__({"header": In(header_layout), "o": Out(findings_layout)})

    def elaborate(self, platform):
        m = Module()
        header = self.header

        def register(name, value, stages=1):
            for stage in range(stages):
                kept = Signal.like(value, name=f"{name}_{stage}", reset_less=True)
                m.d.sync += kept.eq(value)
                value = kept
            return value

        def more_than(size):
            """Whether the sums of ``coordinates`` take more bytes than ``size``."""
            return header.coordinates > Mux(
                header.lanes == Lanes.INT32,
                size // 4,
                Mux(header.lanes == Lanes.UINT16, size // 2, size),
            )

        # Cycle 0, one before the rest: the bitmap's ones, by sixes.
        sixes = [
            register(f"six{i}", _ones(header.bitmap[6 * i : 6 * i + 6]))
            for i in range(-(-MAX_WORKERS // 6))
        ]

        # Cycle 1: each field by itself.
        ones = [register(f"ones{i}", sixes[2 * i] + sixes[2 * i + 1]) for i in range(3)]
        bitmap = register("bitmap", header.bitmap)
        own_bit = register("own_bit", (1 << header.worker[:5])[:MAX_WORKERS])
        beyond = register("beyond", header.worker[5:].any(), 2)
        count = register("count", header.count)
        size = register("size", header.length)
        coordinates = register("coordinates", header.coordinates)
        halves = register("halves", (header.coordinates + 1)[1:])
        indices = register("indices", _one_of(header.kind, _INDICES))
        sums = register("sums", _one_of(header.kind, _SUMS))
        lanes = register("lanes", header.lanes)
        many = register("many", more_than(MAX_PAYLOAD_BYTES))
        none = register("none", header.coordinates == 0)

        # Cycle 2: fields with fields.
        expected = Signal(14)
        with m.If(indices & (lanes != Lanes.INT32)):
            m.d.comb += expected.eq(halves)
        with m.Elif(indices | sums), m.Switch(lanes):
            for kind in Lanes:
                with m.Case(kind):
                    m.d.comb += expected.eq(coordinates * kind.dtype.itemsize)
        expected = register("expected", expected)
        size = register("size_late", size)
        wrong_coordinates = register("wrong_coordinates", Mux(indices | sums, many | none, ~none))
        own = register("own", bitmap == own_bit)
        empty = register("empty", bitmap == 0)
        # The ones are as many as counted: a + b = count − c.
        left = register("left", (ones[0] + ones[1])[:9])
        right = register("right", (count - ones[2])[:9])
        is_one = register("is_one", count == 1)
        is_zero = register("is_zero", count == 0)
        indices, sums = register("indices_late", indices), register("sums_late", sums)

        # Cycle 3.
        right_bitmap = Signal()
        with m.If(indices):
            m.d.comb += right_bitmap.eq(own & is_one)
        with m.Elif(sums):
            m.d.comb += right_bitmap.eq((left == right) & ~is_zero)
        with m.Else():
            m.d.comb += right_bitmap.eq(empty & is_zero)
        known = (header.kind >= min(PacketKind)) & (header.kind <= max(PacketKind))
        findings = {
            "foreign": register("foreign", header.magic != PACKET_MAGIC, 3),
            "version": register("version", header.version != PACKET_VERSION, 3),
            "kind": register("kind", ~known | (header.lanes > max(Lanes)), 3),
            "big": register("big", header.length > MAX_PAYLOAD_BYTES, 3),
            "length": register("length", (expected != size) | wrong_coordinates),
            "bitmap": register("bitmap_wrong", beyond | ~right_bitmap),
            "slot": register("slot", more_than(self.config.slot_bytes), 3),
            "job": register("job", header.job >= self.config.jobs, 3),
        }
        m.d.comb += [self.o[name].eq(value) for name, value in findings.items()]

        return m

"""Packets into the egress ring."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.registers import EGRESS_STRIDE
from hdl.parts.memory_ports import WritePort, bus_error
from hdl.parts.stream import StreamFifo
from hdl.switch.out.framer import Framer, packet_words, word_layout
from hdl.switch.rings.ring_shapes import (
    address_shape,
    entries_shape,
    index_shape,
    mask_shape,
    trouble_layout,
)

__all__ = ["RingWriter"]


class RingWriter(wiring.Component):
    """Writes each packet to the ring's next entry; several are under way.

    A packet whose writing met a bus error is lost, and its entry counts all the same, since others
    stand behind it; what it holds is undefined.

    Parameters
    ----------
    config : SwitchConfig
        Longest packet.

    Members
    -------
    sizes, i : In
        As of :class:`hdl.switch.out.framer.Framer`.
    write : Out(WritePort)
        Memory.
    start : In(1)
        Begin with index 0 at ``base``; only while ``idle``.
    base : In
        The ring; stays from the cycle behind ``start`` on.
    entries : In
        Its size, a power of two; likewise.
    consumer : In
        Entries that are free again.
    drop : In(1)
        Packets not begun are dropped.
    producer : Out
        Entries that stand in memory.
    written, lost : Out(1)
        High for one cycle when a packet is; ``trouble`` goes with ``lost``.
    trouble : Out(trouble_layout)
    full : Out(1)
        A packet waits for a free entry.
    idle : Out(1)
        Nothing is under way.
    """

    def __init__(self, config: SwitchConfig):
        self.queue = StreamFifo(1, Framer.packets)
        super().__init__(
            {
                "sizes": In(stream.Signature(packet_words(config))),
                "i": In(stream.Signature(word_layout)),
                "write": Out(WritePort()),
                "start": In(1),
                "base": In(address_shape),
                "entries": In(entries_shape),
                "consumer": In(index_shape),
                "drop": In(1),
                "producer": Out(index_shape),
                "written": Out(1),
                "lost": Out(1),
                "trouble": Out(trouble_layout),
                "full": Out(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        request, beats, response = self.write.request, self.write.beats, self.write.response

        # Entries: the next one to be asked for, the next one to be answered.
        asked, answered = Signal(index_shape), self.producer
        ask_at, answer_at = (
            Signal(address_shape, reset_less=True),
            Signal(address_shape, reset_less=True),
        )
        mask = Signal(mask_shape)
        used, room = Signal(index_shape), Signal()
        m.d.sync += mask.eq(self.entries - 1)

        def advance(index, address):
            at_end = (index[: mask_shape.width] & mask) == mask
            return [
                index.eq(index + 1),
                address.eq(Mux(at_end, self.base, address + EGRESS_STRIDE)),
            ]

        # Room is looked up anew after each packet asked for.
        fresh = Signal(2)
        m.d.sync += [
            used.eq(asked - self.consumer),
            room.eq(used < self.entries),
            fresh.eq(Mux(request.valid & request.ready, 0, fresh | (fresh << 1) | 1)),
        ]

        # Asking; for each packet it is then known whether its words are written.
        m.submodules.queue = queue = self.queue
        may = self.sizes.valid & queue.i.ready & fresh.all()
        m.d.comb += [
            request.valid.eq(may & room & ~self.drop),
            request.p.address.eq(ask_at),
            request.p.beats.eq(self.sizes.payload),
            queue.i.payload.eq(~self.drop),
            queue.i.valid.eq(may & Mux(self.drop, 1, room & request.ready)),
            self.sizes.ready.eq(queue.i.valid),
            self.full.eq(may & ~room),
        ]
        with m.If(request.valid & request.ready):
            m.d.sync += advance(asked, ask_at)

        # Words.
        m.d.comb += [
            beats.p.data.eq(self.i.p.data),
            beats.valid.eq(self.i.valid & queue.o.valid & queue.o.payload),
            self.i.ready.eq(queue.o.valid & (beats.ready | ~queue.o.payload)),
            queue.o.ready.eq(self.i.valid & self.i.ready & self.i.p.last),
        ]

        # Answers.
        failed = response.p.code != 0
        m.d.comb += [
            response.ready.eq(1),
            self.written.eq(response.valid & ~failed),
            self.lost.eq(response.valid & failed),
            self.trouble.code.eq(bus_error(response.p.code)),
            self.trouble.index.eq(answered),
            self.trouble.address.eq(answer_at),
            self.idle.eq(~self.sizes.valid & ~queue.o.valid & (asked == answered)),
        ]
        with m.If(response.valid):
            m.d.sync += advance(answered, answer_at)

        begins = Signal()
        m.d.sync += begins.eq(self.start)
        with m.If(begins):
            m.d.sync += [
                asked.eq(0),
                answered.eq(0),
                ask_at.eq(self.base),
                answer_at.eq(self.base),
            ]

        return m

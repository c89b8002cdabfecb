"""Packets into the egress ring."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.registers import EGRESS_STRIDE
from hdl.parts.memory_ports import WritePort, bus_error
from hdl.parts.stream import StreamFifo
from hdl.switch.out.framer import Framer, packet_words, word_layout

__all__ = ["RingWriter", "trouble_layout"]

trouble_layout = data.StructLayout({"code": 8, "index": 16, "address": 32})
"""An error of a ring: SwitchCode, ring index and address."""


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
    base : In(32)
        The ring; stays from the cycle behind ``start`` on.
    entries : In(13)
        Its size, a power of two; likewise.
    consumer : In(16)
        Entries that are free again.
    drop : In(1)
        Packets not begun are dropped.
    producer : Out(16)
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
                "base": In(32),
                "entries": In(13),
                "consumer": In(16),
                "drop": In(1),
                "producer": Out(16),
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
        asked, answered = Signal(16), self.producer
        ask_at, answer_at = Signal(32, reset_less=True), Signal(32, reset_less=True)
        mask = Signal(12)
        used, room = Signal(16), Signal()
        m.d.sync += mask.eq(self.entries - 1)

        def advance(index, address):
            at_end = (index[:12] & mask) == mask
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

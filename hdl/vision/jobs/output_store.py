"""Writes a map of the activation memory to DRAM."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.vision.config import VisionConfig
from hdl.parts.axi import BYTES_PER_BEAT
from hdl.parts.burst_reader import worse
from hdl.parts.memory_ports import WritePort, bus_error
from hdl.parts.stream import StreamFifo
from hdl.vision.interfaces import ActivationReadPort
from hdl.vision.job_layouts import output_map_layout

__all__ = ["OutputStore", "store_layout"]


def store_layout(config: VisionConfig) -> data.StructLayout:
    """Payload of :attr:`OutputStore.start`: the map, and its byte address in DRAM."""
    return data.StructLayout({"address": 32, "map": output_map_layout(config)})


class OutputStore(wiring.Component):
    """Writes plane after plane, each word in linear order, one write request a plane.

    Codes: BUS_SLAVE, BUS_DECODE (the worst of all answers). One ``done`` for each ``start``, when
    every request has been answered; an empty map is done at once.

    Throughput: 1 beat a cycle.

    Members
    -------
    start : In(stream of store_layout)
        What to write.
    discard : In(1)
        End with the plane under way.
    done : Out(stream of 8)
        ErrorCode.
    store : Out(ActivationReadPort)
        Activation memory; the engine runs nothing.
    bus : Out(WritePort)
        Memory.
    """

    room = 16
    """Words that can wait for the bus: more than are under way in the round trip."""

    def __init__(self, config: VisionConfig):
        self.config = config
        super().__init__(
            {
                "start": In(stream.Signature(store_layout(config))),
                "discard": In(1),
                "done": Out(stream.Signature(8)),
                "store": Out(ActivationReadPort(config)),
                "bus": Out(WritePort()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        bus = self.bus
        beats_per_word = config.beats_per_word
        beat_shift = ceil_log2(beats_per_word * BYTES_PER_BEAT)

        job = Signal(store_layout(config), reset_less=True)
        left = Signal.like(job.map.count, reset_less=True)  # words of the plane still to read
        blocks = Signal.like(job.map.blocks, reset_less=True)  # planes still to ask for
        base = Signal.like(job.map.base, reset_less=True)
        target = Signal.like(job.address, reset_less=True)
        bank = Signal.like(self.store.bank, reset_less=True)
        address = Signal.like(job.map.base, reset_less=True)
        issue = Signal()

        # Words come a fixed time after they were asked for and cannot wait: each has its place in
        # the queue before it is asked for.
        m.submodules.queue = queue = StreamFifo(config.word_bits, self.room)
        free = Signal(range(self.room + 1), init=self.room)
        under_way = Signal(self.store.signature.latency)
        released = Signal()
        m.d.sync += [
            under_way.eq(under_way << 1 | issue),
            free.eq(free + released - issue),
        ]
        m.d.comb += [
            self.store.bank.eq(bank),
            self.store.address.eq(address),
            queue.i.valid.eq(under_way[-1]),
            queue.i.payload.eq(self.store.data),
            released.eq(queue.o.valid & queue.o.ready),
            bus.beats.valid.eq(queue.o.valid),
        ]
        if beats_per_word == 1:
            m.d.comb += [
                bus.beats.p.data.eq(queue.o.payload),
                queue.o.ready.eq(bus.beats.ready),
            ]
        else:
            half = Signal()
            m.d.sync += half.eq(half ^ (bus.beats.valid & bus.beats.ready))
            m.d.comb += [
                bus.beats.p.data.eq(queue.o.payload.word_select(half, 64)),
                queue.o.ready.eq(bus.beats.ready & half),
            ]
        with m.If(issue):
            m.d.sync += [
                left.eq(left - 1),
                bank.eq(Mux(bank == config.pixels - 1, 0, bank + 1)),
                address.eq(address + (bank == config.pixels - 1)),
            ]

        # Answers come in their own time.
        unanswered = Signal(9)
        worst = Signal(2)
        request = Signal()
        m.d.comb += [
            bus.response.ready.eq(1),
            request.eq(bus.request.valid & bus.request.ready),
            bus.request.p.address.eq(target),
            bus.request.p.beats.eq(job.map.count << (beats_per_word - 1)),
            self.done.payload.eq(bus_error(worst)),
        ]
        m.d.sync += unanswered.eq(unanswered + request - bus.response.valid)
        with m.If(bus.response.valid):
            m.d.sync += worst.eq(worse(worst, bus.response.p.code))

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.start.ready.eq(1)
                m.d.sync += [
                    job.eq(self.start.p),
                    blocks.eq(self.start.p.map.blocks),
                    base.eq(self.start.p.map.base),
                    target.eq(self.start.p.address),
                    worst.eq(0),
                ]
                with m.If(self.start.valid):
                    m.next = "PLANE"
            with m.State("PLANE"):
                with m.If((blocks == 0) | (job.map.count == 0) | self.discard):
                    m.next = "ANSWERS"
                with m.Else():
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += bus.request.valid.eq(1)
                m.d.sync += [left.eq(job.map.count), bank.eq(0), address.eq(base)]
                with m.If(bus.request.ready):
                    m.d.sync += [
                        blocks.eq(blocks - 1),
                        base.eq(base + job.map.plane),
                        target.eq(target + (job.map.count << beat_shift)),
                    ]
                    m.next = "WORDS"
            with m.State("WORDS"):
                m.d.comb += issue.eq(free != 0)
                with m.If(issue & (left == 1)):
                    m.next = "PLANE"
            with m.State("ANSWERS"), m.If(unanswered == 0):
                m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.valid.eq(1)
                with m.If(self.done.ready):
                    m.next = "IDLE"

        return m

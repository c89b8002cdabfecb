"""Writes runs of 64-bit beats to memory over AXI4."""

from amaranth.hdl import Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.parts.axi import Axi4
from hdl.parts.burst_reader import answer_layout, worse
from hdl.parts.burst_splitter import BurstSplitter, request_layout
from hdl.parts.stream import StreamBuffer, StreamFifo

__all__ = ["BurstWriter", "write_beat_layout"]

write_beat_layout = data.StructLayout({"data": 64})
"""Payload of :attr:`BurstWriter.i`."""


class BurstWriter(wiring.Component):
    """Writes each request's beats, in order, whole words.

    A request becomes bursts of at most 16 beats that never cross 4 KiB, with up to
    ``outstanding`` of them not yet answered, those of following requests included.  The data of a
    burst is never offered before its address is.  A burst that has begun waits for its data on
    the bus, so a user asks when the data is on its way.  The AXI side is cut by registers: no
    combinational path leads from the bus to the bus or to the user.

    A bus error does not end a request: all its beats are taken, and the response names the worst
    answer to its bursts.

    Throughput: 1 beat a cycle to a memory that takes as many. Latency: ``bus_aw`` is valid 2
    cycles after the request was taken, ``bus_w`` 1 cycle after its beat was taken; beats are
    taken from 3 cycles after the request.

    Parameters
    ----------
    address_width : int
        Bits of byte address.
    length_width : int
        Bits of a request's ``beats``.
    outstanding : int
        Bursts under way, at least 2.

    Members
    -------
    request : In(stream of {address, beats})
        Where to write: a multiple of 8, and how many beats from there, at least 1.
    i : In(stream of {data: 64})
        Beats.
    response : Out(stream of {code: 2})
        One for each request, when all its bursts are answered: the worst of their responses.
    bus_aw, bus_w, bus_b
        Write channels of :class:`hdl.parts.axi.Axi4`.
    idle : Out(1)
        No request, beat or response is in here or under way.
    """

    def __init__(self, address_width=32, length_width=24, outstanding=4):
        self.splitter = BurstSplitter(address_width, length_width)
        lengths = self.splitter.o.payload.len.shape()
        self.data_queue = StreamFifo(lengths, outstanding)
        self.answer_queue = StreamFifo(1, outstanding)
        bus = Axi4(address_width).members
        super().__init__(
            {
                "request": In(stream.Signature(request_layout(address_width, length_width))),
                "i": In(stream.Signature(write_beat_layout)),
                "response": Out(stream.Signature(answer_layout)),
                "bus_aw": bus["aw"],
                "bus_w": bus["w"],
                "bus_b": bus["b"],
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.splitter = splitter = self.splitter
        # For each burst whose data is still to come: beats less one.
        m.submodules.data_queue = data_queue = self.data_queue
        # For each burst not yet answered, a superset of those: whether it ends its request.
        m.submodules.answer_queue = answer_queue = self.answer_queue
        wiring.connect(m, wiring.flipped(self.request), splitter.request)

        # A burst goes to the address channel and to both queues in the same cycle; what keeps the
        # room of the second queue keeps that of the first.
        aw_full = Signal()
        aw = Signal(self.bus_aw.payload.shape(), reset_less=True)
        issue = Signal()
        m.d.comb += [
            self.bus_aw.valid.eq(aw_full),
            self.bus_aw.payload.eq(aw),
            splitter.o.ready.eq(answer_queue.i.ready & (~aw_full | self.bus_aw.ready)),
            issue.eq(splitter.o.valid & splitter.o.ready),
            data_queue.i.valid.eq(issue),
            data_queue.i.payload.eq(splitter.o.payload.len),
            answer_queue.i.valid.eq(issue),
            answer_queue.i.payload.eq(splitter.o.payload.final),
        ]
        with m.If(~aw_full | self.bus_aw.ready):
            m.d.sync += [
                aw_full.eq(issue),
                aw.addr.eq(splitter.o.payload.addr),
                aw.len.eq(splitter.o.payload.len),
            ]

        # Data: count the beats of the burst at the head of its queue.
        m.submodules.beats = beats = StreamBuffer(self.bus_w.payload.shape())
        wiring.connect(m, beats.o, wiring.flipped(self.bus_w))
        index = Signal.like(data_queue.o.payload)
        m.d.comb += [
            beats.i.valid.eq(self.i.valid & data_queue.o.valid),
            self.i.ready.eq(beats.i.ready & data_queue.o.valid),
            beats.i.payload.data.eq(self.i.payload.data),
            beats.i.payload.strb.eq(Const(0xFF, 8)),
            beats.i.payload.last.eq(index == data_queue.o.payload),
            data_queue.o.ready.eq(self.i.valid & self.i.ready & beats.i.payload.last),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += index.eq(index + 1)
            with m.If(beats.i.payload.last):
                m.d.sync += index.eq(0)

        # Answers: none is taken while a finished request's response waits.
        answer_full = Signal()
        answer = Signal(answer_layout, reset_less=True)
        worst = Signal(2)
        answered = Signal()
        m.d.comb += [
            self.bus_b.ready.eq(~answer_full),
            answered.eq(self.bus_b.valid & self.bus_b.ready),
            answer_queue.o.ready.eq(answered),
            self.response.valid.eq(answer_full),
            self.response.payload.eq(answer),
        ]
        with m.If(self.response.ready):
            m.d.sync += answer_full.eq(0)
        with m.If(answered):
            m.d.sync += worst.eq(worse(worst, self.bus_b.payload.resp))
            with m.If(answer_queue.o.payload):
                m.d.sync += [
                    worst.eq(0),
                    answer.code.eq(worse(worst, self.bus_b.payload.resp)),
                    answer_full.eq(1),
                ]

        m.d.comb += self.idle.eq(splitter.request.ready & ~answer_queue.o.valid & ~answer_full)

        return m

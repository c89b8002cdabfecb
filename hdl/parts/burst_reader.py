"""Reads runs of 64-bit beats from memory over AXI4."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.parts.axi import Axi4
from hdl.parts.burst_splitter import BurstSplitter, request_layout
from hdl.parts.stream import StreamBuffer, StreamFifo

__all__ = ["BurstReader", "answer_layout", "beat_layout", "worse"]

beat_layout = data.StructLayout({"data": 64, "last": 1})
"""Payload of :attr:`BurstReader.o`."""
answer_layout = data.StructLayout({"code": 2})
"""Payload of the answer to a request: 0, or SLVERR or DECERR of :class:`hdl.parts.axi.Response`."""


def worse(code, resp):
    """Return the worse of the code so far and an AXI response; 0 stands for no error."""
    return Mux(resp[1] & (resp > code), resp, code)


class BurstReader(wiring.Component):
    """Reads each request's beats, in order.

    A request becomes bursts of at most 16 beats that never cross 4 KiB, with up to
    ``outstanding`` of them under way, those of following requests included.  The AXI side is cut
    by registers: no combinational path leads from the bus to the bus or to the user.

    A bus error does not end a request: all its beats are delivered, and the response names the
    worst answer among them.  The last beat of a request waits until the response before it has
    been taken; so the user takes responses without waiting for data.

    Throughput: 1 beat a cycle from a memory that gives as many. Latency: ``bus_ar`` is valid 2
    cycles after the request was taken, a beat is offered 1 cycle after it came.

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
        What to read: a multiple of 8, and how many beats from there, at least 1.
    o : Out(stream of {data: 64, last: 1})
        Beats; ``last`` marks the last one of a request.
    code : Out(2)
        With ``o``, for who acts on a beat's error before the request's end: 0, or SLVERR or DECERR.
    response : Out(stream of {code: 2})
        One for each request, after its last beat was taken: the worst response of its beats.
    bus_ar, bus_r
        Read channels of :class:`hdl.parts.axi.Axi4`.
    idle : Out(1)
        No request, beat or response is in here or under way.
    """

    def __init__(self, address_width=32, length_width=24, outstanding=4):
        self.splitter = BurstSplitter(address_width, length_width)
        self.queue = StreamFifo(1, outstanding)
        bus = Axi4(address_width).members
        super().__init__(
            {
                "request": In(stream.Signature(request_layout(address_width, length_width))),
                "o": Out(stream.Signature(beat_layout)),
                "code": Out(2),
                "response": Out(stream.Signature(answer_layout)),
                "bus_ar": bus["ar"],
                "bus_r": bus["r"],
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.splitter = splitter = self.splitter
        # For each burst under way: whether it ends its request.
        m.submodules.queue = queue = self.queue
        m.submodules.beats = beats = StreamBuffer(self.bus_r.payload.shape())
        wiring.connect(m, wiring.flipped(self.request), splitter.request)
        wiring.connect(m, wiring.flipped(self.bus_r), beats.i)

        # A burst goes to the address channel and to the queue in the same cycle.
        ar_full = Signal()
        ar = Signal(self.bus_ar.payload.shape(), reset_less=True)
        m.d.comb += [
            self.bus_ar.valid.eq(ar_full),
            self.bus_ar.payload.eq(ar),
            splitter.o.ready.eq(queue.i.ready & (~ar_full | self.bus_ar.ready)),
            queue.i.valid.eq(splitter.o.valid & splitter.o.ready),
            queue.i.payload.eq(splitter.o.payload.final),
        ]
        with m.If(~ar_full | self.bus_ar.ready):
            m.d.sync += [
                ar_full.eq(queue.i.valid),
                ar.addr.eq(splitter.o.payload.addr),
                ar.len.eq(splitter.o.payload.len),
            ]

        answer_full = Signal()
        answer = Signal(answer_layout, reset_less=True)
        worst = Signal(2)
        burst_ends = beats.o.payload.last
        m.d.comb += [
            self.o.payload.data.eq(beats.o.payload.data),
            self.code.eq(worse(0, beats.o.payload.resp)),
            self.o.payload.last.eq(burst_ends & queue.o.payload),
            self.o.valid.eq(beats.o.valid & queue.o.valid & ~(self.o.payload.last & answer_full)),
            beats.o.ready.eq(self.o.ready & queue.o.valid & ~(self.o.payload.last & answer_full)),
            queue.o.ready.eq(self.o.valid & self.o.ready & burst_ends),
            self.response.valid.eq(answer_full),
            self.response.payload.eq(answer),
        ]
        with m.If(self.response.ready):
            m.d.sync += answer_full.eq(0)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += worst.eq(worse(worst, beats.o.payload.resp))
            with m.If(self.o.payload.last):
                m.d.sync += [
                    worst.eq(0),
                    answer.code.eq(worse(worst, beats.o.payload.resp)),
                    answer_full.eq(1),
                ]

        m.d.comb += self.idle.eq(splitter.request.ready & ~queue.o.valid & ~answer_full)

        return m

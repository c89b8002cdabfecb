"""Writes a job's result record to DRAM."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.vision.records import RESULT
from hdl.parts.axi import BYTES_PER_BEAT, Response
from hdl.parts.layout import record_layout
from hdl.parts.memory_ports import WritePort, bus_error
from hdl.vision.job_layouts import RECORD_BEATS

__all__ = ["ResultWriter", "ended_layout"]

ended_layout = data.StructLayout({"address": 32, "record": record_layout(RESULT)})
"""Payload of :attr:`ResultWriter.start`: the record, and its byte address."""


class ResultWriter(wiring.Component):
    """Writes one record, its first word last.

    The first word holds the magic: it is written when the memory has answered for all others, so
    that whoever sees the magic sees the record. If that answer is an error, it is not written.

    Codes: BUS_SLAVE, BUS_DECODE. One ``done`` for each ``start``, when the memory has answered.

    Members
    -------
    start : In(stream of ended_layout)
        What to write; taken with ``done``.
    done : Out(stream of 8)
        ErrorCode.
    bus : Out(WritePort)
        Memory.
    """

    start: In(stream.Signature(ended_layout))
    done: Out(stream.Signature(8))
    bus: Out(WritePort())

    def elaborate(self, platform):
        m = Module()
        bus = self.bus

        index = Signal(range(RECORD_BEATS), init=1)
        head = Signal()  # the first word's turn
        address = self.start.p.address
        m.d.comb += [
            bus.request.p.address.eq(Mux(head, address, address + BYTES_PER_BEAT)),
            bus.request.p.beats.eq(Mux(head, 1, RECORD_BEATS - 1)),
            bus.beats.p.data.eq(self.start.p.record.as_value().word_select(index, 64)),
            self.done.payload.eq(bus_error(bus.response.p.code)),
        ]
        with m.FSM():
            with m.State("REQUEST"):
                m.d.comb += bus.request.valid.eq(self.start.valid)
                with m.If(bus.request.valid & bus.request.ready):
                    m.next = "BEATS"
            with m.State("BEATS"):
                # From the second word up to the last, and round to the first.
                m.d.comb += bus.beats.valid.eq(1)
                with m.If(bus.beats.ready):
                    m.d.sync += index.eq(index + 1)
                    with m.If((index == RECORD_BEATS - 1) | head):
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                with m.If(bus.response.valid & ~head & (bus.response.p.code == Response.OKAY)):
                    m.d.comb += bus.response.ready.eq(1)
                    m.d.sync += head.eq(1)
                    m.next = "REQUEST"
                with m.Else():
                    m.d.comb += [
                        self.done.valid.eq(bus.response.valid),
                        self.start.ready.eq(self.done.valid & self.done.ready),
                        bus.response.ready.eq(self.done.ready),
                    ]
                    with m.If(self.done.valid & self.done.ready):
                        m.d.sync += [index.eq(1), head.eq(0)]
                        m.next = "REQUEST"

        return m

"""Writes a job's result record to DRAM."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.vision_program import RESULT
from hdl.bus.layout import record_layout
from hdl.vision.jobs import RECORD_BEATS, WritePort, bus_error

__all__ = ["ResultWriter", "ended_layout"]

ended_layout = data.StructLayout({"address": 32, "record": record_layout(RESULT)})
"""Payload of :attr:`ResultWriter.start`: the record, and its byte address."""


class ResultWriter(wiring.Component):
    """Writes one record, 64 bytes in one request.

    Codes: BUS_SLAVE, BUS_DECODE. One ``done`` for each ``start``, when the memory has answered.

    Members
    -------
    start : In(stream of ended_layout)
        What to write; the user keeps it stable until ``done``.
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

        index = Signal(range(RECORD_BEATS))
        m.d.comb += [
            bus.request.p.address.eq(self.start.p.address),
            bus.request.p.beats.eq(RECORD_BEATS),
            bus.beats.p.data.eq(self.start.p.record.as_value().word_select(index, 64)),
            self.done.payload.eq(bus_error(bus.response.p.code)),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [
                    bus.request.valid.eq(self.start.valid),
                    self.start.ready.eq(bus.request.ready),
                ]
                with m.If(self.start.valid & bus.request.ready):
                    m.next = "BEATS"
            with m.State("BEATS"):
                m.d.comb += bus.beats.valid.eq(1)
                with m.If(bus.beats.ready):
                    m.d.sync += index.eq(index + 1)
                    with m.If(index == RECORD_BEATS - 1):
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [
                    self.done.valid.eq(bus.response.valid),
                    bus.response.ready.eq(self.done.ready),
                ]
                with m.If(self.done.valid & self.done.ready):
                    m.next = "IDLE"

        return m

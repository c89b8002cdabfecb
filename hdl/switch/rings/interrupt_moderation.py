"""Decides when packets that wait in the egress ring raise an interrupt."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.switch.registers import SWITCH_REGISTERS
from hdl.parts.layout import field_shape

__all__ = ["Moderation"]

_MODERATION = SWITCH_REGISTERS["moderation"]


class Moderation(wiring.Component):
    """Asks for an interrupt when enough packets wait, or when the first of them has waited enough.

    Members
    -------
    producer, consumer : In(16)
        Packets in the ring so far, and those of them that software has taken.
    acknowledged : In(1)
        High for one cycle: software has taken some; time begins anew.
    count : In
        Packets that are enough; 0 as 1.
    cycles : In
        Cycles that are enough where a packet waits.
    due : Out(1)
        High while that is so; 3 cycles behind.
    """

    producer: In(16)
    consumer: In(16)
    acknowledged: In(1)
    count: In(field_shape(_MODERATION, "count"))
    cycles: In(field_shape(_MODERATION, "cycles"))
    due: Out(1)

    def elaborate(self, platform):
        m = Module()

        waiting, time = Signal(len(self.producer)), Signal(len(self.cycles))
        enough, late, some = Signal(), Signal(), Signal()
        quiet = Signal(range(4))  # what an acknowledgement left is not known yet
        m.d.sync += [
            waiting.eq(self.producer - self.consumer),
            quiet.eq(Mux(self.acknowledged, 3, Mux(quiet == 0, 0, quiet - 1))),
            some.eq(waiting != 0),
            enough.eq((waiting >= self.count) & (waiting != 0)),
            late.eq(time >= self.cycles),
            self.due.eq((enough | (late & some)) & (quiet == 0)),
        ]
        with m.If(self.acknowledged | (waiting == 0)):
            m.d.sync += time.eq(0)
        with m.Elif(~time.all()):
            m.d.sync += time.eq(time + 1)

        return m

"""Tells the scheduler when to look at a slot without a packet, and at which."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.switch.config import SwitchConfig
from hdl.switch.layouts import settings_layout

__all__ = ["SlotScan"]


class SlotScan(wiring.Component):
    """Asks for looks: one every ``period`` cycles, slot after slot; in a flush all slots, from the
    first on, as fast as they are granted.

    Parameters
    ----------
    config : SwitchConfig
        Slots.

    Members
    -------
    period : In
        Cycles from look to look; 0: none but those of a flush.
    flush : In(1)
        Begins a flush, unless one is under way.
    flushing : Out(1)
        A flush is under way, from the cycle after ``flush`` until ``drained`` behind its last look.
    look : Out(1)
        A look at ``slot`` is wanted.
    is_flush : Out(1)
        It belongs to the flush.
    slot : Out
        The slot.
    taken : In(1)
        The look is granted; only while ``look``.
    hold : Out(1)
        The flush's looks are over: no operation may begin until all that began have ended.
    drained : In(1)
        Every operation has ended.
    """

    def __init__(self, config: SwitchConfig):
        self.config = config
        super().__init__(
            {
                "period": In(settings_layout["scan_period"].shape),
                "flush": In(1),
                "flushing": Out(1),
                "look": Out(1),
                "is_flush": Out(1),
                "slot": Out(ceil_log2(config.slots)),
                "taken": In(1),
                "hold": Out(1),
                "drained": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        waited = Signal.like(self.period)
        due = Signal()
        is_over = Signal()
        m.d.comb += [
            self.look.eq((self.is_flush | due) & ~self.hold),
            is_over.eq(waited >= self.period),
        ]
        m.d.sync += waited.eq(Mux(is_over, 1, waited + 1))
        with m.If(self.taken):
            m.d.sync += [due.eq(0), self.slot.eq(self.slot + 1)]
        with m.If(is_over & (self.period != 0)):
            m.d.sync += due.eq(1)

        m.d.comb += self.flushing.eq(self.is_flush | self.hold)
        with m.If(self.flush & ~self.flushing):
            m.d.sync += [self.is_flush.eq(1), self.slot.eq(0)]
        with m.If(self.taken & self.is_flush & (self.slot == self.config.slots - 1)):
            m.d.sync += [self.is_flush.eq(0), self.hold.eq(1)]
        with m.If(self.hold & self.drained):
            m.d.sync += self.hold.eq(0)

        return m

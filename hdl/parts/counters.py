"""Event counters."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Counters"]


class Counters(wiring.Component):
    """A 32-bit counter for each event; they wrap.

    Latency: 2 cycles from an event, or from ``clear``, to the count.

    Parameters
    ----------
    names : iterable of str
        The counters' names.

    Members
    -------
    clear : In(1)
        Set every counter to 0; events of the same cycle are forgotten.
    NAME_event : In(1)
        Add 1.
    NAME : Out(32)
        Count.
    """

    def __init__(self, names):
        self.names = tuple(names)
        members = {"clear": In(1)}
        for name in self.names:
            members |= {f"{name}_event": In(1), name: Out(32)}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()

        clear = Signal()
        m.d.sync += clear.eq(self.clear)
        for name in self.names:
            event = Signal(name=f"{name}_seen")
            count = getattr(self, name)
            m.d.sync += event.eq(getattr(self, f"{name}_event"))
            with m.If(clear):
                m.d.sync += count.eq(0)
            with m.Elif(event):
                m.d.sync += count.eq(count + 1)

        return m

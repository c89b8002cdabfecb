"""Counts how often each outcome happened, by job."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.switch.config import SwitchConfig

__all__ = ["OutcomeCounters"]


class OutcomeCounters(wiring.Component):
    """A 32-bit counter for each job and outcome, in block RAM; they wrap.

    Takes an event every 4 cycles.  After a reset, and on ``clear``, all are set to 0, which takes
    about twice as many cycles as there are counters.

    Parameters
    ----------
    config : SwitchConfig
        Jobs.

    Members
    -------
    strobe : In(1)
        Adds 1 to the counter of ``job`` and ``outcome``; counts within 3 cycles.
    job, outcome : In
    clear : In(1)
        Sets all to 0.
    busy : Out(1)
        They are being set to 0; what happens meanwhile may be forgotten.
    read_job, read_outcome : In
    value : Out(32)
        The counter that they name, 2 cycles later.
    """

    def __init__(self, config: SwitchConfig):
        self.config = config
        job, outcome = ceil_log2(config.jobs), ceil_log2(config.counters)
        super().__init__(
            {
                "strobe": In(1),
                "job": In(job),
                "outcome": In(outcome),
                "clear": In(1),
                "busy": Out(1, init=1),
                "read_job": In(job),
                "read_outcome": In(outcome),
                "value": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()

        depth = self.config.jobs * self.config.counters
        m.submodules.memory = memory = Memory(shape=32, depth=depth, init=[])
        before, shown, write = memory.read_port(), memory.read_port(), memory.write_port()
        address = Signal(range(depth))
        cleared = Signal(range(depth))
        is_read = Signal()
        is_added = Signal()
        value = Signal(32, reset_less=True)
        after = Signal(32, reset_less=True)
        m.d.comb += [
            before.en.eq(self.strobe),
            before.addr.eq(Cat(self.outcome, self.job)),
            shown.addr.eq(Cat(self.read_outcome, self.read_job)),
            self.value.eq(value),
            write.addr.eq(Mux(is_added, address, cleared)),
            write.data.eq(Mux(is_added, after, 0)),
        ]
        m.d.sync += [
            is_read.eq(self.strobe),
            is_added.eq(is_read),
            after.eq(before.data + 1),
            value.eq(shown.data),
        ]
        with m.If(self.strobe):
            m.d.sync += address.eq(before.addr)

        # An event between reading and writing must not bring back what was before the clearing.
        clears = Signal()
        m.d.comb += [
            clears.eq(self.busy & ~self.strobe & ~is_read & ~is_added),
            write.en.eq(clears | is_added),
        ]
        with m.If(clears):
            m.d.sync += cleared.eq(cleared + 1)
            with m.If(cleared == depth - 1):
                m.d.sync += self.busy.eq(0)
        with m.If(self.clear):
            m.d.sync += [self.busy.eq(1), cleared.eq(0)]

        return m

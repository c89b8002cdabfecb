"""Checks a table and its limits before anything flows."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.thc.config import LANE_WIDTH, TABLE_ENTRY_BITS, ThcConfig

__all__ = ["TableCheck"]


class TableCheck(wiring.Component):
    """Compares each entry with the granularity, and multiplies granularity and workers.

    Takes 16 cycles, one small comparator and one adder.  What is checked stays as it is meanwhile.

    Parameters
    ----------
    config : ThcConfig
        Entries of a table.

    Members
    -------
    start : In(1)
        Begin.
    table : In(entries × 8)
        The table, entry 0 lowest.
    granularity, workers : In(8)
        The limits.
    done : Out(1)
        High for one cycle, in which the verdict counts.
    above : Out(1)
        An entry is above the granularity.
    most : Out(16)
        granularity · workers.
    """

    cycles = 16

    def __init__(self, config: ThcConfig):
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "table": In(config.table_bits),
                "granularity": In(8),
                "workers": In(8),
                "done": Out(1),
                "above": Out(1),
                "most": Out(LANE_WIDTH),
            }
        )

    def elaborate(self, platform):
        m = Module()

        step = Signal(ceil_log2(self.cycles))
        busy = Signal()
        entry = self.table.word_select(step % self.config.entries, TABLE_ENTRY_BITS)
        worker_bit = self.workers.bit_select(step, 1) & (step < len(self.workers))
        shifted = Signal(LANE_WIDTH)
        m.d.sync += self.done.eq(busy & step.all())
        with m.If(self.start):
            m.d.sync += [
                busy.eq(1),
                step.eq(0),
                self.above.eq(0),
                self.most.eq(0),
                shifted.eq(self.granularity),
            ]
        with m.Elif(busy):
            m.d.sync += [
                step.eq(step + 1),
                busy.eq(~step.all()),
                self.above.eq(self.above | (entry > self.granularity)),
                shifted.eq(shifted << 1),
            ]
            with m.If(worker_bit):
                m.d.sync += self.most.eq(self.most + shifted)

        return m

"""The training jobs that the switch serves."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.switch.config import SwitchConfig
from hdl.switch.layouts import training_job_layout

__all__ = ["TrainingJobTable", "TrainingJobWritePort"]


class TrainingJobWritePort(wiring.Signature):
    """Sets an entry of the job table, seen from the writer."""

    def __init__(self, config: SwitchConfig):
        super().__init__(
            {
                "enable": Out(1),
                "job": Out(ceil_log2(config.jobs)),
                "entry": Out(training_job_layout(config)),
            }
        )


class TrainingJobTable(wiring.Component):
    """Job number to entry, in LUT RAM.  A reset disables every job.

    Parameters
    ----------
    config : SwitchConfig
        Jobs.

    Members
    -------
    write : In(TrainingJobWritePort)
        Sets an entry.
    read : In(1)
        Reads the entry of ``job``.
    job : In
    entry : Out(training_job_layout)
        From the next cycle on, until the next read.
    """

    def __init__(self, config: SwitchConfig):
        self.config = config
        super().__init__(
            {
                "write": In(TrainingJobWritePort(config)),
                "read": In(1),
                "job": In(ceil_log2(config.jobs)),
                "entry": Out(training_job_layout(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.entries = entries = Memory(
            shape=training_job_layout(self.config), depth=self.config.jobs, init=[]
        )
        write = entries.write_port()
        # A read port without a clock keeps this small table out of block RAM.
        stored = entries.read_port(domain="comb")
        entry = Signal(training_job_layout(self.config), reset_less=True)
        # The memory outlives a reset; what enables its entries does not.
        enabled = Signal(self.config.jobs)
        is_enabled = Signal()
        m.d.comb += [
            write.en.eq(self.write.enable),
            write.addr.eq(self.write.job),
            write.data.eq(self.write.entry),
            stored.addr.eq(self.job),
            self.entry.eq(entry),
            self.entry.enabled.eq(is_enabled),
        ]
        with m.If(self.write.enable):
            m.d.sync += enabled.bit_select(self.write.job, 1).eq(self.write.entry.enabled)
        with m.If(self.read):
            m.d.sync += [entry.eq(stored.data), is_enabled.eq(enabled.bit_select(self.job, 1))]

        return m

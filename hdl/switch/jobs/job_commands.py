"""Enables, disables and flushes jobs at software's command."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.packet import MAX_WORKERS, Lanes
from eyas.interfaces.switch.registers import SWITCH_REGISTERS, SwitchCode
from hdl.parts.layout import register_layout
from hdl.switch.jobs.job_table import TrainingJobWritePort
from hdl.switch.rows.row_lanes import table_config
from hdl.thc.lanes.table_lookup import TableWritePort

__all__ = ["TrainingJobCommands"]


class TrainingJobCommands(wiring.Component):
    """Checks a command, and carries it out.

    JOB_BUSY while a flush is under way; WRONG_JOB; JOB_DISABLED for a disable; JOB_ENABLED for an
    enable or a flush; WRONG_WORKERS, WRONG_QUORUM, WRONG_LANES for an enable.  What is refused
    changes nothing.

    Parameters
    ----------
    config : SwitchConfig
        Jobs and slots.

    Members
    -------
    command : In, strobe : In(1)
        JOB_COMMAND as it is written.
    job : In(8), setup, partition : In, table : In(128)
        The registers that describe the job; stay for 2 cycles behind the strobe.
    job_write : Out(TrainingJobWritePort), table_write : Out(TableWritePort)
        The switch's tables.
    flush : Out(1), flush_job : Out, flushing : In(1)
        As of :class:`hdl.switch.core.SwitchCore`.
    enabled : Out(32)
        Jobs that are.
    busy : Out(1)
        A command is being worked on.
    code : Out(8)
        SwitchCode of the last one.
    """

    def __init__(self, config: SwitchConfig):
        self.config = config

        def layout(name):
            return register_layout(SWITCH_REGISTERS[name])

        super().__init__(
            {
                "command": In(layout("job_command")),
                "strobe": In(1),
                "job": In(8),
                "setup": In(layout("job_setup")),
                "partition": In(layout("job_partition")),
                "table": In(128),
                "job_write": Out(TrainingJobWritePort(config)),
                "table_write": Out(TableWritePort(table_config(config))),
                "flush": Out(1),
                "flush_job": Out(ceil_log2(config.jobs)),
                "flushing": In(1),
                "enabled": Out(32),
                "busy": Out(1),
                "code": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, setup, entry = self.config, self.setup, self.job_write.entry

        # Cycle 1: what there is to be said about the setup.
        command, checking = Signal.like(self.command), Signal()
        is_on, no_job, workers, quorum, lanes = (
            Signal(name=name) for name in ("is_on", "no_job", "workers", "quorum", "lanes")
        )
        job = self.job[: ceil_log2(config.jobs)]
        m.d.sync += [
            checking.eq(self.strobe),
            command.eq(self.command),
            is_on.eq(self.enabled.bit_select(job, 1)),
            no_job.eq(self.job >= config.jobs),
            workers.eq((setup.workers == 0) | (setup.workers > MAX_WORKERS)),
            quorum.eq((setup.needed == 0) | (setup.needed > setup.workers)),
            lanes.eq(setup.lanes > max(Lanes)),
        ]

        # Cycle 2: what is done.
        flushes, enables = Signal(), Signal()
        code = Signal(8)
        flush_begins = Signal(range(4))
        with m.If(self.busy):
            m.d.comb += code.eq(SwitchCode.JOB_BUSY)
        with m.Elif(no_job):
            m.d.comb += code.eq(SwitchCode.WRONG_JOB)
        with m.Elif(command.disable):
            m.d.comb += code.eq(Mux(is_on, SwitchCode.NONE, SwitchCode.JOB_DISABLED))
        with m.Elif(is_on):
            m.d.comb += code.eq(SwitchCode.JOB_ENABLED)
        with m.Elif(command.flush):
            m.d.comb += flushes.eq(checking)
        with m.Elif(command.enable):
            with m.If(workers):
                m.d.comb += code.eq(SwitchCode.WRONG_WORKERS)
            with m.Elif(quorum):
                m.d.comb += code.eq(SwitchCode.WRONG_QUORUM)
            with m.Elif(lanes):
                m.d.comb += code.eq(SwitchCode.WRONG_LANES)
            with m.Else():
                m.d.comb += enables.eq(checking)
        disables = checking & command.disable & (code == 0)
        m.d.comb += [
            self.job_write.enable.eq(enables | disables),
            self.job_write.job.eq(job),
            entry.enabled.eq(enables),
            entry.epoch.eq(setup.epoch),
            entry.workers.eq(setup.workers),
            entry.needed.eq(setup.needed),
            entry.lanes.eq(setup.lanes),
            entry.base.eq(self.partition.base),
            entry.mask.eq(self.partition.mask),
            self.table_write.enable.eq(enables),
            self.table_write.job.eq(job),
            self.table_write.table.eq(self.table),
            self.busy.eq((flush_begins != 0) | self.flushing),
        ]
        m.d.sync += self.flush.eq(flushes)
        with m.If(checking):
            m.d.sync += self.code.eq(code)
        with m.If(enables | disables):
            m.d.sync += self.enabled.bit_select(job, 1).eq(enables)
        with m.If(flushes):
            m.d.sync += [self.flush_job.eq(job), flush_begins.eq(3)]
        with m.Elif(flush_begins != 0):
            m.d.sync += flush_begins.eq(flush_begins - 1)

        return m

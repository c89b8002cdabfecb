"""Which training jobs are open, with their limits and tables."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.thc.config import ThcConfig
from eyas.interfaces.thc.registers import DESCRIPTOR, THC_REGISTERS, ThcCode
from hdl.parts.layout import field_shape
from hdl.thc.lanes.table_check import TableCheck
from hdl.thc.lanes.table_lookup import TableWritePort

__all__ = ["TrainingJobTable", "limits_layout"]

_LIMITS = THC_REGISTERS["job_limits"]
limits_layout = data.StructLayout(
    {name: field_shape(_LIMITS, name) for name in ("workers", "granularity", "wide")}
)
"""What a training job is opened with: the fields of JOB_LIMITS."""


class TrainingJobTable(wiring.Component):
    """Opens and closes jobs; a job that is open keeps its table and limits until it is closed.

    A command is worked on in up to 18 cycles; one that comes meanwhile is ignored.  Codes:
    JOB_OPEN (open of an open job: its table may be in use), JOB_CLOSED (close of a closed one, or
    a number that there is not), JOB_RUNNING (close), BAD_GRANULARITY, WRONG_WORKERS,
    ENTRY_ABOVE, LANE_OVERFLOW.  A command that is refused changes nothing.

    Parameters
    ----------
    config : ThcConfig
        Jobs, entries of a table.

    Members
    -------
    open, close : In(1)
        Commands; ``job``, ``limits`` and ``table`` stay as they are until ``busy`` is low.
    job : In
        The job that they are about.
    limits : In(limits_layout)
        Opens with these.
    table : In(entries × 8)
        And with this table, entry 0 lowest.
    running : In(1)
        Packets of ``running_job`` are under way.
    running_job : In
        The job whose limits are ``current``.
    busy : Out(1)
        A command is being worked on.
    code : Out
        How the last one ended.
    opened : Out(jobs)
        Bit i: job i is open.
    current : Out(limits_layout)
        Limits of ``running_job``, a cycle later.
    current_open : Out(1)
        Whether it is open, a cycle later.
    write : Out(TableWritePort)
        Sets the tables of the lanes.
    """

    def __init__(self, config: ThcConfig):
        self.config = config
        super().__init__(
            {
                "open": In(1),
                "close": In(1),
                "job": In(field_shape(THC_REGISTERS["job_select"], "job")),
                "limits": In(limits_layout),
                "table": In(config.table_bits),
                "running": In(1),
                "running_job": In(field_shape(DESCRIPTOR, "job")),
                "busy": Out(1),
                "code": Out(field_shape(THC_REGISTERS["job_status"], "code")),
                "opened": Out(config.jobs),
                "current": Out(limits_layout),
                "current_open": Out(1),
                "write": Out(TableWritePort(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        job_bits = ceil_log2(self.config.jobs)

        m.submodules.check = check = TableCheck(self.config)
        m.submodules.kept = kept = Memory(shape=limits_layout, depth=self.config.jobs, init=[])
        keep, read = kept.write_port(), kept.read_port()
        chosen = self.job[:job_bits]
        exists = Signal()
        is_open = Signal()
        take = Signal()
        m.d.comb += [
            exists.eq(self.job < self.config.jobs),
            is_open.eq(exists & self.opened.bit_select(chosen, 1)),
            check.table.eq(self.table),
            check.granularity.eq(self.limits.granularity),
            check.workers.eq(self.limits.workers),
            keep.en.eq(take),
            keep.addr.eq(chosen),
            keep.data.eq(self.limits),
            self.write.enable.eq(take),
            self.write.job.eq(chosen),
            self.write.table.eq(self.table),
            read.en.eq(1),
            read.addr.eq(self.running_job[:job_bits]),
            self.current.eq(read.data),
        ]
        m.d.sync += self.current_open.eq(
            (self.running_job < self.config.jobs)
            & self.opened.bit_select(self.running_job[:job_bits], 1)
        )

        with m.If(take):
            m.d.sync += self.opened.bit_select(chosen, 1).eq(1)
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                with m.If(self.open):
                    m.d.comb += check.start.eq(1)
                    m.next = "CHECK"
                with m.Elif(self.close):
                    m.d.sync += self.code.eq(ThcCode.NONE)
                    with m.If(~is_open):
                        m.d.sync += self.code.eq(ThcCode.JOB_CLOSED)
                    with m.Elif(self.running & (self.running_job == self.job)):
                        m.d.sync += self.code.eq(ThcCode.JOB_RUNNING)
                    with m.Else():
                        m.d.sync += self.opened.bit_select(chosen, 1).eq(0)
            with m.State("CHECK"):
                limits = self.limits
                overflows = Mux(limits.wide, 0, check.most[8:] != 0)
                with m.If(check.done):
                    m.next = "IDLE"
                    with m.If(~exists):
                        m.d.sync += self.code.eq(ThcCode.JOB_CLOSED)
                    with m.Elif(is_open):
                        m.d.sync += self.code.eq(ThcCode.JOB_OPEN)
                    with m.Elif(limits.granularity == 0):
                        m.d.sync += self.code.eq(ThcCode.BAD_GRANULARITY)
                    with m.Elif(limits.workers == 0):
                        m.d.sync += self.code.eq(ThcCode.WRONG_WORKERS)
                    with m.Elif(check.above):
                        m.d.sync += self.code.eq(ThcCode.ENTRY_ABOVE)
                    with m.Elif(overflows):
                        m.d.sync += self.code.eq(ThcCode.LANE_OVERFLOW)
                    with m.Else():
                        m.d.sync += self.code.eq(ThcCode.NONE)
                        m.d.comb += take.eq(1)

        return m

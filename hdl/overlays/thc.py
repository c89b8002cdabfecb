"""The THC overlay: lookup lanes and encoder behind registers, memory and an interrupt."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.thc.config import DEFAULT_THC, ThcConfig
from eyas.interfaces.thc.registers import THC_REGISTERS, JobKind
from hdl.parts.axi import Axi4, AxiLite, connect_memory
from hdl.parts.burst_reader import BurstReader
from hdl.parts.burst_writer import BurstWriter
from hdl.parts.counters import Counters
from hdl.parts.flat import flat_verilog
from hdl.parts.register_file import RegisterFile, connect_counters, connect_fixed
from hdl.thc.jobs.aggregate_job import AggregateJob
from hdl.thc.jobs.encode_job import EncodeJob
from hdl.thc.jobs.job_control import DescriptorJobControl
from hdl.thc.jobs.job_table import TrainingJobTable

__all__ = ["ThcOverlay", "thc_verilog"]


class ThcOverlay(wiring.Component):
    """Aggregates and encodes, one descriptor at a time.

    Software sees the registers of :mod:`eyas.interfaces.thc.registers`.

    Parameters
    ----------
    config : ThcConfig
        Index bits, slots, jobs; the width is the bus's, 64.

    Members
    -------
    s_axi : In(AxiLite)
        Registers.
    m_axi : Out(Axi4)
        DRAM: 64-bit data, 32-bit addresses.
    interrupt : Out(1)
        Level, active high.
    """

    def __init__(self, config: ThcConfig = DEFAULT_THC):
        if not isinstance(config, ThcConfig):
            raise TypeError(f"Config must be a ThcConfig, not {config!r}")
        self.config = config
        self.registers = RegisterFile(THC_REGISTERS)
        self.control = DescriptorJobControl(config)
        self.jobs = TrainingJobTable(config)
        self.aggregate = AggregateJob(config)
        self.encode = EncodeJob(config)
        super().__init__(
            {
                "s_axi": In(AxiLite(ceil_log2(THC_REGISTERS.size))),
                "m_axi": Out(Axi4()),
                "interrupt": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.registers = registers = self.registers
        m.submodules.control = control = self.control
        m.submodules.jobs = jobs = self.jobs
        m.submodules.aggregate = aggregate = self.aggregate
        m.submodules.encode = encode = self.encode
        m.submodules.reader = reader = BurstReader()
        m.submodules.writer = writer = BurstWriter()
        m.submodules.counters = counters = Counters(THC_REGISTERS.counters)
        wiring.connect(m, wiring.flipped(self.s_axi), registers.bus)
        connect_memory(m, self.m_axi, reader, writer)

        # Memory is the running job's; before and after, the control's.
        descriptor = control.descriptor
        aggregates = control.run & (descriptor.kind == JobKind.AGGREGATE)
        encodes = control.run & (descriptor.kind == JobKind.ENCODE)
        for user, chosen in (
            (aggregate, aggregates), (encode, encodes), (control, ~control.run),
        ):  # fmt: skip
            with m.If(chosen):
                wiring.connect(m, user.read.request, reader.request)
                wiring.connect(m, reader.o, user.read.beats)
                wiring.connect(m, reader.response, user.read.response)
                wiring.connect(m, user.write.request, writer.request)
                wiring.connect(m, user.write.beats, writer.i)
                wiring.connect(m, writer.response, user.write.response)

        # Jobs.
        entries = [getattr(registers, f"table{i}").as_value() for i in range(4)]
        limits = registers.job_limits
        m.d.comb += [
            jobs.open.eq(registers.job_command_strobe & registers.job_command.open),
            jobs.close.eq(registers.job_command_strobe & registers.job_command.close),
            jobs.job.eq(registers.job_select.job),
            jobs.limits.workers.eq(limits.workers),
            jobs.limits.granularity.eq(limits.granularity),
            jobs.limits.wide.eq(limits.wide),
            jobs.table.eq(Cat(entries)),
            jobs.running.eq(~control.idle & (descriptor.kind == JobKind.AGGREGATE)),
            jobs.running_job.eq(descriptor.job),
            registers.job_status.busy.eq(jobs.busy),
            registers.job_status.code.eq(jobs.code),
            registers.jobs_open.open.eq(jobs.opened),
        ]
        wiring.connect(m, jobs.write, aggregate.table)

        # Descriptors.
        start, coding = aggregate.start, encode.start
        m.d.comb += [
            control.ring.eq(registers.doorbell_strobe),
            control.address.eq(registers.doorbell.address),
            control.limits.eq(jobs.current),
            control.is_open.eq(jobs.current_open),
            control.ran.eq(Mux(aggregates, start.ready, coding.ready)),
            control.ran_code.eq(Mux(aggregates, aggregate.done, encode.done)),
            start.valid.eq(aggregates),
            start.p.words.eq(descriptor.count),
            start.p.wide.eq(jobs.current.wide),
            coding.valid.eq(encodes),
            coding.p.blocks.eq(descriptor.count),
            coding.p.table.eq(Cat(descriptor.table_low, descriptor.table_high)),
        ]
        for name in ("source", "stride", "output", "workers", "job"):
            m.d.comb += start.p[name].eq(descriptor[name])
        for name in ("source", "output", "first", "granularity"):
            m.d.comb += coding.p[name].eq(descriptor[name])
        for name in ("seed", "step", "worker", "stream"):
            m.d.comb += coding.p.draw[name].eq(descriptor[name])

        self._report(m, registers, control)

        # Counters.
        r, w = self.m_axi.r, self.m_axi.w
        m.d.comb += [
            counters.clear.eq(registers.control_strobe & registers.control.clear_counters),
            counters.jobs_done_event.eq(control.ended),
            counters.busy_cycles_event.eq(~control.idle),
            counters.offered_beats_event.eq(aggregate.offered),
            counters.taken_beats_event.eq(aggregate.taken),
            counters.read_beats_event.eq(r.valid & r.ready),
            counters.write_beats_event.eq(w.valid & w.ready),
        ]
        connect_counters(m, registers, counters)

        # What this overlay is, and what it does.
        connect_fixed(m, registers, self.config)
        m.d.comb += registers.status.idle.eq(control.idle)

        return m

    def _report(self, m, registers, control):
        """Keep the first error, count them all, and raise the interrupt."""
        error = Signal.like(registers.error)
        clear = registers.control_strobe & registers.control.clear_error
        with m.If(control.failed):
            with m.If(clear):
                m.d.sync += error.count.eq(1)
            with m.Elif(~error.count.all()):
                m.d.sync += error.count.eq(error.count + 1)
            with m.If(clear | (error.count == 0)):
                m.d.sync += [error.code.eq(control.report.code), error.tag.eq(control.report.tag)]
        with m.Elif(clear):
            m.d.sync += error.eq(0)

        causes, enabled = registers.interrupt_status, registers.interrupt_enable
        m.d.comb += [
            registers.error.eq(error),
            registers.interrupt_status_set.done.eq(control.ended & control.interrupt),
            registers.interrupt_status_set.error.eq(control.failed),
        ]
        m.d.sync += self.interrupt.eq((causes.done & enabled.done) | (causes.error & enabled.error))


def thc_verilog(config: ThcConfig = DEFAULT_THC) -> str:
    """Return the overlay as Verilog, module ``thc``.

    Ports: ``aclk``, ``aresetn``, ``s_axi_*``, ``m_axi_*`` (the standard's names), ``interrupt``.
    """
    return flat_verilog(ThcOverlay(config), "thc")

"""The switch overlay: the switch behind registers, rings in memory and an interrupt."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.switch.config import DEFAULT_SWITCH, SwitchConfig
from eyas.interfaces.switch.registers import FAULT_COUNTERS, SWITCH_REGISTERS
from hdl.parts.axi import Axi4, AxiLite, connect_memory
from hdl.parts.burst_writer import BurstWriter
from hdl.parts.counters import Counters
from hdl.parts.flat import flat_verilog
from hdl.parts.register_file import RegisterFile, connect_counters, connect_fixed
from hdl.switch.core import SwitchCore
from hdl.switch.jobs.job_commands import TrainingJobCommands
from hdl.switch.out.framer import Framer
from hdl.switch.rings.interrupt_moderation import Moderation
from hdl.switch.rings.ring_control import RingControl
from hdl.switch.rings.ring_reader import RingReader
from hdl.switch.rings.ring_writer import RingWriter

__all__ = ["SwitchOverlay", "switch_verilog"]

OTHER_COUNTERS = ("outcome_count", "packets_lost", "errors")
"""Registers that the core counts, or that count several events a cycle."""
COUNTERS = tuple(name for name in SWITCH_REGISTERS.counters if name not in OTHER_COUNTERS)
"""Registers that count an event a cycle at most."""


class SwitchOverlay(wiring.Component):
    """Aggregates the frames of the ingress ring; the packets that leave go to the egress ring.

    Software sees the registers of :mod:`eyas.interfaces.switch.registers`.

    Parameters
    ----------
    config : SwitchConfig
        Slots, jobs, depths.

    Members
    -------
    s_axi : In(AxiLite)
        Registers.
    m_axi : Out(Axi4)
        DRAM: 64-bit data, 32-bit addresses.
    interrupt : Out(1)
        Level, active high.
    """

    def __init__(self, config: SwitchConfig = DEFAULT_SWITCH):
        if not isinstance(config, SwitchConfig):
            raise TypeError(f"Config must be a SwitchConfig, not {config!r}")
        self.config = config
        self.registers = RegisterFile(SWITCH_REGISTERS)
        self.core = SwitchCore(config)
        super().__init__(
            {
                "s_axi": In(AxiLite(ceil_log2(SWITCH_REGISTERS.size))),
                "m_axi": Out(Axi4()),
                "interrupt": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config

        m.submodules.registers = registers = self.registers
        m.submodules.core = core = self.core
        m.submodules.control = control = RingControl()
        m.submodules.reader = reader = RingReader()
        m.submodules.framer = framer = Framer(config)
        m.submodules.writer = writer = RingWriter(config)
        m.submodules.burst_writer = bursts = BurstWriter(outstanding=8)
        m.submodules.jobs = jobs = TrainingJobCommands(config)
        m.submodules.moderation = moderation = Moderation()
        m.submodules.counters = counters = Counters(COUNTERS)

        # The way of the data.
        wiring.connect(m, wiring.flipped(self.s_axi), registers.bus)
        connect_memory(m, self.m_axi, reader, bursts)
        wiring.connect(m, reader.o, core.i)
        wiring.connect(m, core.o, framer.i)
        wiring.connect(m, framer.sizes, writer.sizes)
        wiring.connect(m, framer.o, writer.i)
        wiring.connect(m, writer.write.request, bursts.request)
        wiring.connect(m, writer.write.beats, bursts.i)
        wiring.connect(m, bursts.response, writer.write.response)

        # Rings.
        idle = Signal()
        m.d.sync += idle.eq(
            reader.idle & core.idle & framer.idle & writer.idle & ~jobs.busy & ~core.i.valid
        )
        m.d.comb += [
            control.command.eq(registers.control),
            control.command_strobe.eq(registers.control_strobe),
            control.ingress_base.eq(registers.ingress_base.address),
            control.egress_base.eq(registers.egress_base.address),
            control.window_base.eq(registers.window_base.address),
            control.window_end.eq(registers.window_end.address),
            control.sizes.eq(registers.ring_sizes),
            control.doorbell.eq(registers.ingress_doorbell.producer),
            control.doorbell_strobe.eq(registers.ingress_doorbell_strobe),
            control.acknowledge.eq(registers.egress_acknowledge.consumer),
            control.acknowledge_strobe.eq(registers.egress_acknowledge_strobe),
            control.consumed.eq(reader.consumer),
            control.produced.eq(writer.producer),
            control.idle.eq(idle),
            control.reader_failed.eq(reader.failed),
            control.reader_trouble.eq(reader.trouble),
            control.reader_place.eq(reader.place),
            control.writer_failed.eq(writer.lost),
            control.writer_trouble.eq(writer.trouble),
            reader.start.eq(control.start),
            reader.running.eq(control.running),
            reader.base.eq(control.ingress_at),
            reader.entries.eq(control.ingress_entries),
            reader.window_base.eq(control.window_from),
            reader.window_end.eq(control.window_to),
            reader.producer.eq(control.producer),
            writer.start.eq(control.start),
            writer.base.eq(control.egress_at),
            writer.entries.eq(control.egress_entries),
            writer.consumer.eq(control.consumer),
            writer.drop.eq(control.dropping),
            registers.ingress.consumer.eq(reader.consumer),
            registers.ingress.producer.eq(control.producer),
            registers.egress.producer.eq(writer.producer),
            registers.egress.consumer.eq(control.consumer),
            registers.error.eq(control.error),
            registers.error_address.eq(control.error_address),
        ]

        # Settings and jobs.
        policy, scan, settings = registers.policy, registers.scan, core.settings
        m.d.comb += [
            settings.policy.eq(policy.policy),
            settings.decay_after.eq(policy.decay_after),
            settings.slots_log2.eq(policy.slots_log2),
            settings.age_limit.eq(policy.age_limit),
            settings.salt.eq(scan.salt),
            settings.scan_period.eq(scan.period),
            jobs.command.eq(registers.job_command),
            jobs.strobe.eq(registers.job_command_strobe),
            jobs.job.eq(registers.job_select.job),
            jobs.setup.eq(registers.job_setup),
            jobs.partition.eq(registers.job_partition),
            jobs.table.eq(Cat(getattr(registers, f"table{i}").as_value() for i in range(4))),
            core.flush.eq(jobs.flush),
            core.flush_job.eq(jobs.flush_job),
            jobs.flushing.eq(core.flushing),
            registers.job_status.busy.eq(jobs.busy),
            registers.job_status.code.eq(jobs.code),
            registers.jobs_enabled.enabled.eq(jobs.enabled),
        ]
        wiring.connect(m, jobs.job_write, core.job_write)
        wiring.connect(m, jobs.table_write, core.table)

        self._count(m, registers, counters, reader, writer, control)
        self._interrupt(m, registers, moderation, reader, writer, control, idle)

        # What this overlay is, and what it does.
        connect_fixed(m, registers, config)
        m.d.comb += [
            registers.status.idle.eq(idle),
            registers.status.running.eq(control.running),
            registers.status.full.eq(writer.full),
            registers.status.clearing.eq(core.clearing),
        ]

        return m

    def _count(self, m, registers, counters, reader, writer, control):
        core, r, w = self.core, self.m_axi.r, self.m_axi.w
        chosen = registers.outcome_select
        takes = core.i.valid & core.i.ready
        clear = registers.control_strobe & registers.control.clear_counters
        m.d.comb += [
            counters.clear.eq(clear),
            counters.cycles_event.eq(1),
            counters.frames_in_event.eq(takes & core.i.p.last),
            counters.packets_out_event.eq(writer.written),
            counters.offered_beats_event.eq(core.i.valid),
            counters.taken_beats_event.eq(takes),
            counters.read_beats_event.eq(r.valid & r.ready),
            counters.write_beats_event.eq(w.valid & w.ready),
            core.clear_counters.eq(clear),
            core.counter_job.eq(chosen.job),
            core.counter_outcome.eq(chosen.outcome),
        ]
        for code, name in enumerate(FAULT_COUNTERS):
            event = getattr(counters, f"{name}_event")
            m.d.comb += event.eq(core.fault & (core.fault_code == code))

        # Of these several can happen in a cycle.
        several = {}
        for name, events in (
            ("packets_lost", reader.lost + writer.lost),
            ("errors", control.failed),
        ):
            count, seen = Signal(32, name=name), Signal(2, name=f"{name}_seen")
            m.d.sync += [seen.eq(events), count.eq(Mux(clear, 0, count + seen))]
            several[name] = count
        connect_counters(m, registers, {"outcome_count": core.counter_value}, counters, several)

    def _interrupt(self, m, registers, moderation, reader, writer, control, idle):
        causes, enabled = registers.interrupt_status, registers.interrupt_enable
        sets = registers.interrupt_status_set
        worked = Signal()  # a descriptor was taken since the switch was idle
        drained = Signal()
        m.d.comb += drained.eq(idle & worked)
        with m.If(reader.done):
            m.d.sync += worked.eq(1)
        with m.Elif(drained):
            m.d.sync += worked.eq(0)
        m.d.comb += [
            moderation.producer.eq(writer.producer),
            moderation.consumer.eq(control.consumer),
            moderation.acknowledged.eq(control.acknowledged | control.start),
            moderation.count.eq(registers.moderation.count),
            moderation.cycles.eq(registers.moderation.cycles),
            sets.packets.eq(moderation.due),
            sets.drained.eq(drained),
            sets.error.eq(control.failed != 0),
        ]
        m.d.sync += self.interrupt.eq((causes.as_value() & enabled.as_value()) != 0)


def switch_verilog(config: SwitchConfig = DEFAULT_SWITCH) -> str:
    """Return the overlay as Verilog, module ``switch``.

    Ports: ``aclk``, ``aresetn``, ``s_axi_*``, ``m_axi_*`` (the standard's names), ``interrupt``.
    """
    return flat_verilog(SwitchOverlay(config), "switch")

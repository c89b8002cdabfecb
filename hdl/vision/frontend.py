"""The vision overlay without its engine: registers, jobs, and the data's way from and to DRAM."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.registers import VISION_REGISTERS
from hdl.parts.axi import Axi4, AxiLite, connect_memory
from hdl.parts.burst_reader import BurstReader
from hdl.parts.burst_writer import BurstWriter
from hdl.parts.counters import Counters
from hdl.parts.register_file import RegisterFile, connect_counters, connect_fixed
from hdl.vision.interfaces import EnginePort
from hdl.vision.jobs.error_log import ErrorLog
from hdl.vision.jobs.job_fetch import JobFetch
from hdl.vision.jobs.job_queue import JobQueue
from hdl.vision.jobs.job_run import JobRun

__all__ = ["FrontEnd"]

LAYER_COUNTERS = tuple(name for name in VISION_REGISTERS.counters if name.startswith("layer_"))
"""Registers that the engine counts."""
COUNTERS = tuple(name for name in VISION_REGISTERS.counters if name not in LAYER_COUNTERS)
"""Registers that count events here."""


class FrontEnd(wiring.Component):
    """Takes jobs from software and sees them through the engine.

    ::

        s_axi ─ registers ─ queue ─ fetch ──────────── run ─ ended: counters, errors, interrupt
                              m_axi reads │          │ m_axi writes
                          programs, pictures        maps, results
                                          └─ engine ─┘

    Software sees the registers of :mod:`eyas.interfaces.vision.registers` and the records of
    :mod:`eyas.interfaces.vision.records`.

    An abort lasts until every job has been given up and all that was asked of the memory has
    come: at most one program image or one picture, and one plane of an output. The engine is held
    in ``abort`` for as long. Jobs rung meanwhile are given up too.

    Parameters
    ----------
    config : VisionConfig
        Shape and depths.

    Members
    -------
    s_axi : In(AxiLite)
        Registers.
    m_axi : Out(Axi4)
        Memory.
    interrupt : Out(1)
        High while an enabled cause is pending.
    engine : Out(EnginePort(config))
        The engine.
    """

    def __init__(self, config: VisionConfig):
        if not isinstance(config, VisionConfig):
            raise TypeError(f"Config must be a VisionConfig, not {config!r}")
        self.config = config
        self.registers = RegisterFile(VISION_REGISTERS)
        self.queue = JobQueue(config)
        self.fetch = JobFetch(config)
        self.run = JobRun(config)
        self.reader = BurstReader()
        self.writer = BurstWriter()
        super().__init__(
            {
                "s_axi": In(AxiLite(ceil_log2(VISION_REGISTERS.size))),
                "m_axi": Out(Axi4()),
                "interrupt": Out(1),
                "engine": Out(EnginePort(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        engine = self.engine

        m.submodules.registers = registers = self.registers
        m.submodules.queue = queue = self.queue
        m.submodules.fetch = fetch = self.fetch
        m.submodules.run = run = self.run
        m.submodules.reader = reader = self.reader
        m.submodules.writer = writer = self.writer
        m.submodules.errors = errors = ErrorLog()
        m.submodules.counters = counters = Counters(COUNTERS)

        # Memory.
        wiring.connect(m, fetch.bus.request, reader.request)
        wiring.connect(m, reader.o, fetch.bus.beats)
        wiring.connect(m, reader.response, fetch.bus.response)
        wiring.connect(m, run.bus.request, writer.request)
        wiring.connect(m, run.bus.beats, writer.i)
        wiring.connect(m, writer.response, run.bus.response)
        connect_memory(m, self.m_axi, reader, writer)

        # Jobs.
        wiring.connect(m, queue.o, fetch.addresses)
        wiring.connect(m, fetch.jobs, run.jobs)
        for part, members in (
            (fetch, ("load", "instruction_write", "weight_write", "parameter_write")),
            (run, ("start", "finish", "store")),
        ):
            for name in members:
                wiring.connect(m, getattr(part, name), wiring.flipped(getattr(engine, name)))
        now = Signal(32)
        idle = Signal()
        aborting = Signal()
        m.d.sync += now.eq(now + 1)
        m.d.comb += [
            idle.eq((queue.level == 0) & fetch.idle & run.idle),
            queue.ring.eq(registers.doorbell_strobe),
            queue.address.eq(registers.doorbell.address),
            fetch.runner_idle.eq(run.idle),
            fetch.runner_left.eq(run.left),
            fetch.runner_slot.eq(run.slot),
            fetch.now.eq(now),
            fetch.abort.eq(aborting),
            run.now.eq(now),
            run.abort.eq(aborting),
            run.release_input.eq(engine.release_input),
            run.running.eq(engine.running),
            engine.abort.eq(aborting),
        ]
        with m.If(idle):
            m.d.sync += aborting.eq(0)
        with m.Elif(registers.control_strobe & registers.control.abort):
            m.d.sync += aborting.eq(1)

        # Ends and errors.
        wiring.connect(m, wiring.flipped(self.s_axi), registers.bus)
        wiring.connect(m, queue.reports, errors.doorbell)
        causes = registers.interrupt_status
        enabled = registers.interrupt_enable
        m.d.comb += [
            errors.job_ended.eq(run.ended),
            errors.job.eq(run.report),
            errors.aborting.eq(aborting),
            errors.clear.eq(registers.control_strobe & registers.control.clear_error),
            registers.error.eq(errors.error),
            registers.error_tag.eq(errors.error_tag),
            registers.interrupt_status_set.done.eq(run.ended & run.interrupt),
            registers.interrupt_status_set.error.eq(errors.logged),
        ]
        m.d.sync += self.interrupt.eq((causes.done & enabled.done) | (causes.error & enabled.error))

        # Counters.
        ar, r, w = self.m_axi.ar, self.m_axi.r, self.m_axi.w
        open_reads = Signal(range(16))
        m.d.sync += open_reads.eq(
            open_reads + (ar.valid & ar.ready) - (r.valid & r.ready & r.p.last)
        )
        m.d.comb += [
            counters.clear.eq(registers.control_strobe & registers.control.clear_counters),
            counters.jobs_done_event.eq(run.ended),
            counters.busy_cycles_event.eq(~idle),
            counters.core_cycles_event.eq(engine.running),
            counters.array_cycles_event.eq(engine.array_active),
            counters.input_wait_cycles_event.eq(fetch.loading_picture & run.idle),
            counters.read_beats_event.eq(r.valid & r.ready),
            counters.read_wait_cycles_event.eq((open_reads != 0) & ~r.valid),
            counters.write_beats_event.eq(w.valid & w.ready),
            counters.write_wait_cycles_event.eq(w.valid & ~w.ready),
        ]
        connect_counters(m, registers, counters, names=COUNTERS)
        m.d.comb += engine.layer_select.eq(registers.layer_select.layer)
        connect_counters(m, registers, engine, names=LAYER_COUNTERS)

        # What this overlay is, and what it does.
        connect_fixed(m, registers, self.config)
        m.d.comb += [
            registers.status.idle.eq(idle),
            registers.status.aborting.eq(aborting),
            registers.status.queued.eq(queue.level),
            registers.status.slots.eq(fetch.valid_slots),
        ]

        return m

"""First stage of a job: everything that is read from DRAM."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.records import ErrorCode, JobKind, Place
from hdl.parts.memory_ports import ReadPort
from hdl.vision.interfaces import (
    InstructionWritePort,
    ParameterWritePort,
    WeightWritePort,
    activation_write_layout,
)
from hdl.vision.job_layouts import fault_layout, job_layout
from hdl.vision.jobs.descriptor_reader import DescriptorReader
from hdl.vision.jobs.slot_table import SlotTable
from hdl.vision.pictures.input_loader import InputLoader
from hdl.vision.programs.program_header import load_layout
from hdl.vision.programs.program_loader import ProgramLoader

__all__ = ["JobFetch"]


class JobFetch(wiring.Component):
    """Takes descriptors' addresses one by one, reads what each job needs, and hands the job over.

    A LOAD waits until the runner is idle, then fills the program memories.  An INFER reads its
    picture as soon as nothing that runs needs the place: the runner is idle, or runs the same
    program and has left its input map.  So the next picture comes while this one is computed.

    A job that fails is handed over like any other, with its fault: jobs end in order.  While
    ``abort`` is high every job, also one just taken from the queue, is handed over with ABORTED.

    Parameters
    ----------
    config : VisionConfig
        Shape and depths.

    Members
    -------
    addresses : In(stream of 32)
        Descriptors to read.
    jobs : Out(stream of job_layout)
        Jobs that are ready to run or to report.
    bus : Out(ReadPort)
        Memory.
    load : Out(stream of activation_write_layout)
        Words of pictures.
    instruction_write, weight_write, parameter_write
        Program memories.
    runner_idle : In(1)
        No job is behind this stage.
    runner_left : In(1)
        The engine runs the program of slot ``runner_slot``, to its end, and reads its input map
        no more.
    runner_slot : In
        Slot of the job that runs.
    now : In(32)
        Time in cycles.
    abort : In(1)
        Give everything up.
    idle : Out(1)
        No job is here.
    loading_picture : Out(1)
        A picture is on its way.
    valid_slots : Out(program_slots)
        Slots that hold a program.
    """

    def __init__(self, config: VisionConfig):
        self.config = config
        self.descriptors = DescriptorReader(config)
        self.programs = ProgramLoader(config)
        self.pictures = InputLoader(config)
        self.slots = SlotTable(config)
        super().__init__(
            {
                "addresses": In(stream.Signature(32)),
                "jobs": Out(stream.Signature(job_layout(config))),
                "bus": Out(ReadPort()),
                "load": Out(stream.Signature(activation_write_layout(config))),
                "instruction_write": Out(InstructionWritePort(config)),
                "weight_write": Out(WeightWritePort(config)),
                "parameter_write": Out(ParameterWritePort(config)),
                "runner_idle": In(1),
                "runner_left": In(1),
                "runner_slot": In(max(1, ceil_log2(config.program_slots))),
                "now": In(32),
                "abort": In(1),
                "idle": Out(1),
                "loading_picture": Out(1),
                "valid_slots": Out(config.program_slots),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.descriptors = descriptors = self.descriptors
        m.submodules.programs = programs = self.programs
        m.submodules.pictures = pictures = self.pictures
        m.submodules.slots = slots = self.slots
        wiring.connect(m, pictures.o, wiring.flipped(self.load))
        for name in ("instruction_write", "weight_write", "parameter_write"):
            wiring.connect(m, getattr(programs, name), wiring.flipped(getattr(self, name)))

        # The descriptor stays with its reader, the entry with the table, until the job is handed
        # over; a job that was dropped before it was read has neither.
        described = descriptors.done.p
        descriptor = described.descriptor
        entry = slots.entry
        fault = Signal(fault_layout)
        fetched_at = Signal(32, reset_less=True)
        dropped = Signal()
        recognised = Signal()
        is_infer = Signal()
        m.d.comb += [
            recognised.eq(described.recognised & ~dropped),
            is_infer.eq(recognised & (descriptor.kind == JobKind.INFER)),
            slots.slot.eq(descriptor.slot),
            slots.new.eq(programs.done.p.entry),
            self.valid_slots.eq(slots.valid),
            descriptors.start.payload.eq(self.addresses.payload),
            pictures.start.p.source.eq(descriptor.source),
            pictures.start.p.words.eq(entry.source_words),
            pictures.start.p.map.eq(entry.input),
            pictures.start.p.patches.eq(entry.patches),
            programs.discard.eq(self.abort),
            pictures.discard.eq(self.abort),
        ]
        for name in load_layout.members:
            m.d.comb += programs.start.p[name].eq(descriptor[name])

        self._fill_job(m, described, entry, fault, fetched_at, dropped, recognised, is_infer)
        region_free, right_size = self._watch_region(m, descriptor, slots)
        settle = Signal(range(8))

        def fail(code, place):
            m.d.sync += [fault.code.eq(code), fault.place.eq(place)]
            m.next = "HAND OVER"

        with m.FSM() as fsm:
            m.d.comb += [
                self.idle.eq(fsm.ongoing("IDLE")),
                self.loading_picture.eq(fsm.ongoing("PICTURE")),
            ]
            with m.State("IDLE"):
                self._lend_bus(m, descriptors)
                m.d.sync += [fetched_at.eq(self.now), fault.eq(0), dropped.eq(self.abort)]
                with m.If(self.abort):
                    m.d.comb += self.addresses.ready.eq(1)
                    with m.If(self.addresses.valid):
                        fail(ErrorCode.ABORTED, Place.DOORBELL)
                with m.Else():
                    m.d.comb += [
                        descriptors.start.valid.eq(self.addresses.valid),
                        self.addresses.ready.eq(descriptors.start.ready),
                    ]
                    with m.If(self.addresses.valid & descriptors.start.ready):
                        m.next = "DESCRIPTOR"

            with m.State("DESCRIPTOR"):
                self._lend_bus(m, descriptors)
                m.d.sync += settle.eq(4)  # slot table: 2 cycles, right_size: 1
                with m.If(descriptors.done.valid):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += settle.eq(settle - 1)
                with m.If(self.abort):
                    fail(ErrorCode.ABORTED, Place.DESCRIPTOR)
                with m.Elif(described.code != ErrorCode.NONE):
                    fail(described.code, Place.DESCRIPTOR)
                with m.Elif(settle == 0):
                    with m.If(~is_infer):
                        m.next = "AWAIT RUNNER"
                    with m.Elif(~slots.is_valid):
                        fail(ErrorCode.EMPTY_SLOT, Place.DESCRIPTOR)
                    with m.Elif(~right_size):
                        fail(ErrorCode.WRONG_SIZE, Place.DESCRIPTOR)
                    with m.Else():
                        m.next = "AWAIT REGION"

            with m.State("AWAIT RUNNER"):
                with m.If(self.abort):
                    fail(ErrorCode.ABORTED, Place.PROGRAM)
                with m.Elif(self.runner_idle):
                    m.d.comb += [programs.start.valid.eq(1), slots.invalidate.eq(1)]
                    m.next = "PROGRAM"
            with m.State("PROGRAM"):
                self._lend_bus(m, programs)
                m.d.comb += programs.done.ready.eq(1)
                with m.If(programs.done.valid):
                    m.next = "HAND OVER"
                    with m.If(self.abort):
                        fail(ErrorCode.ABORTED, Place.PROGRAM)
                    with m.Elif(programs.done.p.code != ErrorCode.NONE):
                        fail(programs.done.p.code, Place.PROGRAM)
                    with m.Else():
                        m.d.comb += slots.write.eq(1)

            with m.State("AWAIT REGION"):
                with m.If(self.abort):
                    fail(ErrorCode.ABORTED, Place.INPUT)
                with m.Elif(region_free):
                    m.d.comb += pictures.start.valid.eq(1)
                    m.next = "PICTURE"
            with m.State("PICTURE"):
                self._lend_bus(m, pictures)
                m.d.comb += pictures.done.ready.eq(1)
                with m.If(pictures.done.valid):
                    m.next = "HAND OVER"
                    with m.If(self.abort):
                        fail(ErrorCode.ABORTED, Place.INPUT)
                    with m.Elif(pictures.done.payload != ErrorCode.NONE):
                        fail(pictures.done.payload, Place.INPUT)

            with m.State("HAND OVER"):
                m.d.comb += [
                    self.jobs.valid.eq(1),
                    descriptors.done.ready.eq(self.jobs.ready & ~dropped),
                ]
                with m.If(self.jobs.ready):
                    m.next = "IDLE"

        return m

    def _fill_job(self, m, described, entry, fault, fetched_at, dropped, recognised, is_infer):
        """Put together the job that is handed over."""
        descriptor = described.descriptor
        job = self.jobs.p
        m.d.comb += [
            job.infer.eq(is_infer),
            job.fault.eq(fault),
            job.has_record.eq(described.has_record & ~dropped),
            job.interrupt.eq(descriptor.interrupt & recognised),
            job.tag.eq(Mux(recognised, descriptor.tag, 0)),
            job.slot.eq(descriptor.slot),
            job.output.eq(descriptor.output),
            job.result.eq(descriptor.result),
            job.program.instruction_base.eq(entry.instruction_base),
            job.program.weight_base.eq(entry.weight_base),
            job.program.parameter_base.eq(entry.parameter_base),
            job.program.probe.eq(descriptor.probe),
            job.program.probe_layer.eq(descriptor.probe_layer),
            job.map.eq(entry.output),
            job.fetched_at.eq(fetched_at),
        ]
        with m.If(descriptor.probe):
            m.d.comb += [
                job.map.base.eq(descriptor.probe_base),
                job.map.plane.eq(descriptor.probe_plane),
                job.map.count.eq(descriptor.probe_count),
                job.map.blocks.eq(descriptor.probe_blocks),
            ]

    def _watch_region(self, m, descriptor, slots):
        """Return whether the place of the picture is free, and whether the picture fits it."""
        # The region stays free once it is: only this stage gives the runner another job.
        same_slot = Signal()
        region_free = Signal()
        right_size = Signal()
        m.d.sync += [
            same_slot.eq(self.runner_slot == slots.slot),
            region_free.eq(self.runner_idle | (self.runner_left & same_slot)),
            right_size.eq(descriptor.source_words == slots.entry.source_words),
        ]
        return region_free, right_size

    def _lend_bus(self, m, part):
        """Connect ``part`` to memory while the state that calls this lasts."""
        wiring.connect(m, part.bus, wiring.flipped(self.bus))

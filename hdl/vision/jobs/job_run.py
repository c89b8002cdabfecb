"""Second stage of a job: runs it, writes its output and its result, and reports its end."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.records import RESULT_MAGIC, ErrorCode, Place
from hdl.parts.memory_ports import WritePort
from hdl.vision.interfaces import ActivationReadPort, finish_layout, start_layout
from hdl.vision.job_layouts import job_layout, report_layout
from hdl.vision.jobs.output_store import OutputStore
from hdl.vision.jobs.result_writer import ResultWriter

__all__ = ["JobRun"]


class JobRun(wiring.Component):
    """Runs jobs one by one and in order.

    An INFER without fault starts the engine, then its map is written; every job that can have one
    gets its result record, after the output has been answered, so that whoever sees the record
    sees the output.  The first fault of a job counts.

    While ``abort`` is high, jobs end with ABORTED, without a record; writes that have begun go on
    to their end first. A job whose record is being written ends as if nothing were.

    Parameters
    ----------
    config : VisionConfig
        Shape and depths.

    Members
    -------
    jobs : In(stream of job_layout)
        Jobs with everything read.
    start, finish, release_input, running, store
        As in :class:`hdl.vision.interfaces.EnginePort`.
    bus : Out(WritePort)
        Memory.
    now : In(32)
        Time in cycles.
    abort : In(1)
        Give everything up.
    idle : Out(1)
        No job is here.
    left : Out(1)
        The engine runs a program to its end and needs the input map no more.
    slot : Out
        Slot of the job.
    ended : Out(1)
        High for one cycle when a job ends, after its record was written.
    interrupt : Out(1)
        With ``ended``: the job asked for an interrupt, and was not given up.
    report : Out(report_layout)
        With ``ended``: how it ended; ``code`` 0 when all is well.
    """

    def __init__(self, config: VisionConfig):
        self.config = config
        super().__init__(
            {
                "jobs": In(stream.Signature(job_layout(config))),
                "start": Out(stream.Signature(start_layout(config))),
                "finish": In(stream.Signature(finish_layout)),
                "release_input": In(1),
                "running": In(1),
                "store": Out(ActivationReadPort(config)),
                "bus": Out(WritePort()),
                "now": In(32),
                "abort": In(1),
                "idle": Out(1),
                "left": Out(1),
                "slot": Out(max(1, ceil_log2(config.program_slots))),
                "ended": Out(1),
                "interrupt": Out(1),
                "report": Out(report_layout),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.output = output = OutputStore(self.config)
        m.submodules.result = result = ResultWriter()
        wiring.connect(m, output.store, wiring.flipped(self.store))

        job = Signal(job_layout(self.config), reset_less=True)
        fault = job.fault
        record = result.start.p.record
        layer = Signal.like(record.layer)
        left = Signal()
        core_cycles = Signal.like(record.core_cycles, reset_less=True)
        job_cycles = Signal.like(record.job_cycles, reset_less=True)
        m.d.comb += [
            self.start.payload.eq(job.program),
            output.start.p.address.eq(job.output),
            output.start.p.map.eq(job.map),
            output.discard.eq(self.abort),
            result.start.p.address.eq(job.result),
            record.magic.eq(RESULT_MAGIC),
            record.code.eq(fault.code),
            record.place.eq(fault.place),
            record.layer.eq(layer),
            record.slot.eq(job.slot),
            record.tag.eq(job.tag),
            record.core_cycles.eq(core_cycles),
            record.job_cycles.eq(job_cycles),
            self.slot.eq(job.slot),
            self.left.eq(left & ~job.program.probe),
            self.report.code.eq(fault.code),
            self.report.place.eq(fault.place),
            self.report.layer.eq(layer),
            self.report.tag.eq(job.tag),
            self.interrupt.eq(job.interrupt & (fault.code != ErrorCode.ABORTED)),
        ]
        with m.If(self.running):
            m.d.sync += core_cycles.eq(core_cycles + 1)

        def fail(code, place):
            with m.If(fault.code == ErrorCode.NONE):
                m.d.sync += [fault.code.eq(code), fault.place.eq(place)]

        def give_up(place):
            fail(ErrorCode.ABORTED, place)
            m.next = "END"

        with m.FSM() as fsm:
            m.d.comb += self.idle.eq(fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.comb += self.jobs.ready.eq(1)
                m.d.sync += [job.eq(self.jobs.p), layer.eq(0), left.eq(0), core_cycles.eq(0)]
                with m.If(self.jobs.valid):
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.next = "RESULT"
                with m.If(job.infer & (fault.code == ErrorCode.NONE)):
                    m.next = "START"
            with m.State("START"):
                m.d.comb += self.start.valid.eq(~self.abort)
                with m.If(self.abort):
                    give_up(Place.COMPUTE)
                with m.Elif(self.start.ready):
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += self.finish.ready.eq(1)
                m.d.sync += layer.eq(self.finish.p.layer)
                with m.If(self.release_input):
                    m.d.sync += left.eq(1)
                with m.If(self.abort):
                    m.d.sync += layer.eq(0)
                    give_up(Place.COMPUTE)
                with m.Elif(self.finish.valid):
                    m.next = "STORE"
                    with m.If(self.finish.p.code != ErrorCode.NONE):
                        fail(self.finish.p.code, Place.COMPUTE)
                        m.next = "RESULT"
            with m.State("STORE"):
                m.d.comb += output.start.valid.eq(1)
                m.next = "OUTPUT"
            with m.State("OUTPUT"):
                wiring.connect(m, output.bus, wiring.flipped(self.bus))
                m.d.comb += output.done.ready.eq(1)
                with m.If(output.done.valid):
                    m.next = "RESULT"
                    with m.If(output.done.payload != ErrorCode.NONE):
                        fail(output.done.payload, Place.OUTPUT)
                    with m.If(self.abort):
                        give_up(Place.OUTPUT)
            with m.State("RESULT"):
                m.d.sync += job_cycles.eq(self.now - job.fetched_at)
                with m.If(self.abort):
                    give_up(Place.RESULT)
                with m.Elif(job.has_record):
                    m.next = "RECORD"
                with m.Else():
                    m.next = "END"
            with m.State("RECORD"):
                wiring.connect(m, result.bus, wiring.flipped(self.bus))
                m.d.comb += [
                    result.start.valid.eq(1),
                    result.done.ready.eq(1),
                ]
                with m.If(result.done.valid):
                    m.next = "END"
                    with m.If(result.done.payload != ErrorCode.NONE):
                        fail(result.done.payload, Place.RESULT)
            with m.State("END"):
                m.d.comb += self.ended.eq(1)
                m.next = "IDLE"

        return m

"""From a doorbell to a result record: reads a job descriptor, checks it, runs it, and reports."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.thc.config import ThcConfig
from eyas.interfaces.thc.formats import ENCODER_GRANULARITY
from eyas.interfaces.thc.registers import (
    DESCRIPTOR,
    DESCRIPTOR_MAGIC,
    DESCRIPTOR_VERSION,
    ENCODE_LIMIT,
    RESULT,
    RESULT_MAGIC,
    THC_REGISTERS,
    JobKind,
    ThcCode,
)
from hdl.parts.axi import BYTES_PER_BEAT
from hdl.parts.layout import field_shape, record_layout
from hdl.parts.memory_ports import ReadPort, WritePort, bus_error
from hdl.thc.jobs.job_table import limits_layout
from hdl.thc.lanes.table_check import TableCheck

__all__ = ["DescriptorJobControl", "report_layout"]

WORDS = DESCRIPTOR.word_count

report_layout = data.StructLayout({name: field_shape(RESULT, name) for name in ("code", "tag")})
"""How a job ended."""


class DescriptorJobControl(wiring.Component):
    """Works on one descriptor at a time; a doorbell rung meanwhile is dropped with BUSY.

    A descriptor is checked before any of its buffers is touched: BAD_DESCRIPTOR, MISALIGNED,
    WRONG_SIZE; AGGREGATE: JOB_CLOSED, WRONG_WORKERS; ENCODE: BAD_GRANULARITY, ENTRY_ABOVE.

    Parameters
    ----------
    config : ThcConfig
        Entries of a table.

    Members
    -------
    ring : In(1)
        High for one cycle: begin with ``address``.
    address : In
        Of a descriptor.
    read, write : Out(ReadPort), Out(WritePort)
        Memory, while ``run`` is low.
    descriptor : Out(record_layout)
        The descriptor; stands while ``run`` is high.
    limits, is_open : In
        Limits of ``descriptor.job``, and whether it is open; 2 cycles after the descriptor.
    run : Out(1)
        High until ``ran``: do what the descriptor asks for.
    ran : In(1)
        It is done, with ``ran_code``.
    ran_code : In
        ThcCode.
    idle : Out(1)
        No descriptor is at work.
    ended : Out(1)
        High for one cycle when one has ended.
    interrupt : Out(1)
        With ``ended``: it asks for an interrupt.
    failed : Out(1)
        High for one cycle: ``report`` is an error, of the job that has ended or of a doorbell.
    report : Out(report_layout)
        The error.
    """

    def __init__(self, config: ThcConfig):
        self.config = config
        super().__init__(
            {
                "ring": In(1),
                "address": In(field_shape(THC_REGISTERS["doorbell"], "address")),
                "read": Out(ReadPort()),
                "write": Out(WritePort()),
                "descriptor": Out(record_layout(DESCRIPTOR)),
                "limits": In(limits_layout),
                "is_open": In(1),
                "run": Out(1),
                "ran": In(1),
                "ran_code": In(field_shape(RESULT, "code")),
                "idle": Out(1),
                "ended": Out(1),
                "interrupt": Out(1),
                "failed": Out(1),
                "report": Out(report_layout),
            }
        )

    def elaborate(self, platform):
        m = Module()
        read, write = self.read, self.write

        words = [Signal(64, name=f"word{i}", reset_less=True) for i in range(WORDS)]
        descriptor = self.descriptor
        place = Signal(range(WORDS))
        code = Signal(field_shape(RESULT, "code"))
        recognised = Signal()
        cycles = Signal(32, reset_less=True)
        m.submodules.check = check = TableCheck(self.config)
        m.d.comb += [
            descriptor.eq(Cat(words)),
            check.table.eq(Cat(descriptor.table_low, descriptor.table_high)),
            check.granularity.eq(descriptor.granularity),
        ]
        m.d.sync += cycles.eq(cycles + 1)

        result_aligned = descriptor.result[:3] == 0
        head = Signal()  # the record's first word is written, else its second
        self._fill_record(m, code, cycles, head)
        address = Signal(32, reset_less=True)
        m.d.comb += read.request.p.address.eq(address)

        with m.FSM() as fsm:
            m.d.comb += self.idle.eq(fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.sync += [
                    address.eq(self.address),
                    place.eq(0),
                    code.eq(ThcCode.NONE),
                    recognised.eq(0),
                    head.eq(0),
                ]
                with m.If(self.ring):
                    m.next = "FETCH"
                    with m.If(self.address[:3] != 0):
                        m.d.sync += code.eq(ThcCode.MISALIGNED)
                        m.next = "END"
            with m.State("FETCH"):
                m.d.comb += read.request.valid.eq(1)
                with m.If(read.request.ready):
                    m.next = "WORDS"
            with m.State("WORDS"):
                m.d.comb += read.beats.ready.eq(1)
                with m.If(read.beats.valid):
                    m.d.sync += [Array(words)[place].eq(read.beats.p.data), place.eq(place + 1)]
                    with m.If(read.beats.p.last):
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += read.response.ready.eq(1)
                m.d.sync += [code.eq(bus_error(read.response.p.code)), cycles.eq(0)]
                with m.If(read.response.valid):
                    m.next = "RECOGNISE"
                    with m.If(read.response.p.code != 0):
                        m.next = "END"
            with m.State("RECOGNISE"):
                m.next = "JUDGE"
                m.d.comb += check.start.eq(1)
                with m.If(
                    (descriptor.magic == DESCRIPTOR_MAGIC)
                    & (descriptor.version == DESCRIPTOR_VERSION)
                ):
                    m.d.sync += recognised.eq(1)
                    with m.If(~result_aligned):
                        m.d.sync += code.eq(ThcCode.MISALIGNED)
                        m.next = "END"
                with m.Else():
                    m.d.sync += code.eq(ThcCode.BAD_DESCRIPTOR)
                    m.next = "END"
            with m.State("JUDGE"), m.If(check.done):  # the job's limits have come long ago
                m.next = "RUN"
                self._judge(m, code, check)
            with m.State("RUN"):
                m.d.comb += self.run.eq(1)
                with m.If(self.ran):
                    m.d.sync += code.eq(self.ran_code)
                    m.next = "RECORD"
            with m.State("RECORD"):
                m.d.comb += write.request.valid.eq(1)
                with m.If(write.request.ready):
                    m.next = "WORD"
            with m.State("WORD"):
                m.d.comb += write.beats.valid.eq(1)
                with m.If(write.beats.ready):
                    m.next = "WRITTEN"
            with m.State("WRITTEN"):
                m.d.comb += write.response.ready.eq(1)
                with m.If(write.response.valid):
                    m.d.sync += head.eq(1)
                    m.next = "RECORD"
                    with m.If(head | (write.response.p.code != 0)):
                        m.next = "END"
                    with m.If((write.response.p.code != 0) & (code == ThcCode.NONE)):
                        m.d.sync += code.eq(bus_error(write.response.p.code))
            with m.State("END"):
                m.d.comb += self.ended.eq(1)
                m.next = "IDLE"

        self._report(m, code, recognised)
        return m

    def _fill_record(self, m, code, cycles, head):
        """Put the result record together, and ask for the word of it that ``head`` says."""
        read, write, descriptor = self.read, self.write, self.descriptor
        record = Signal(record_layout(RESULT))
        m.d.comb += [
            record.magic.eq(RESULT_MAGIC),
            record.code.eq(code),
            record.tag.eq(descriptor.tag),
            record.cycles.eq(cycles),
            read.request.p.beats.eq(WORDS),
        ]

        # The record's second word is written first, and answered, before the first one with the
        # magic is: whoever sees the magic sees the record, and all that the job wrote.
        m.d.comb += [
            write.request.p.address.eq(descriptor.result + Mux(head, 0, BYTES_PER_BEAT)),
            write.request.p.beats.eq(1),
            write.beats.p.data.eq(record.as_value().word_select(~head, 64)),
        ]

    def _judge(self, m, code, check):
        """Refuse, in the state that calls this, a descriptor that breaks a rule."""
        descriptor = self.descriptor
        is_aggregate = descriptor.kind == JobKind.AGGREGATE
        is_encode = descriptor.kind == JobKind.ENCODE
        aligned = (
            (descriptor.source[:3] == 0)
            & (descriptor.output[:3] == 0)
            & (~is_aggregate | (descriptor.stride[:3] == 0))
        )
        workers = descriptor.workers

        def refuse(value):
            m.d.sync += code.eq(value)
            m.next = "RECORD"

        granularity = descriptor.granularity
        with m.If(~is_aggregate & ~is_encode):
            refuse(ThcCode.BAD_DESCRIPTOR)
        with m.Elif(~aligned):
            refuse(ThcCode.MISALIGNED)
        with m.Elif((descriptor.count == 0) | (is_encode & (descriptor.count > ENCODE_LIMIT))):
            refuse(ThcCode.WRONG_SIZE)
        with m.Elif(is_aggregate & ~self.is_open):
            refuse(ThcCode.JOB_CLOSED)
        with m.Elif(is_aggregate & ((workers == 0) | (workers > self.limits.workers))):
            refuse(ThcCode.WRONG_WORKERS)
        with m.Elif(is_encode & ((granularity == 0) | (granularity > ENCODER_GRANULARITY))):
            refuse(ThcCode.BAD_GRANULARITY)
        with m.Elif(is_encode & check.above):
            refuse(ThcCode.ENTRY_ABOVE)

    def _report(self, m, code, recognised):
        """Report how a job ended, or that a doorbell was dropped."""
        descriptor = self.descriptor
        dropped = self.ring & ~self.idle
        m.d.comb += [
            self.interrupt.eq(recognised & descriptor.interrupt),
            self.failed.eq((self.ended & (code != ThcCode.NONE)) | dropped),
        ]
        # When a job fails and a doorbell is dropped at once, the job's error is reported.
        with m.If(self.ended & (code != ThcCode.NONE)):
            m.d.comb += [
                self.report.code.eq(code),
                self.report.tag.eq(Mux(recognised, descriptor.tag, 0)),
            ]
        with m.Else():
            m.d.comb += self.report.code.eq(ThcCode.BUSY)

"""Reads a program image, checks it and fills the program memories."""

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import crc, data, stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.records import HEADER, ErrorCode
from hdl.parts.layout import record_layout
from hdl.parts.memory_ports import ReadPort, bus_error
from hdl.vision.interfaces import InstructionWritePort, ParameterWritePort, WeightWritePort
from hdl.vision.job_layouts import slot_layout
from hdl.vision.programs.program_header import HeaderCheck, load_layout
from hdl.vision.programs.program_sections import SectionWriter

__all__ = ["ProgramLoader", "loaded_layout"]

HEADER_BEATS = HEADER.word_count


def loaded_layout(config: VisionConfig) -> data.StructLayout:
    """Payload of :attr:`ProgramLoader.done`: the verdict, and the slot's entry if it is 0."""
    return data.StructLayout({"code": 8, "entry": slot_layout(config)})


class ProgramLoader(wiring.Component):
    """Loads one program image.

    The header is read and checked first; only an image that fits is read further, so that no memory
    is written outside of the program's own rows.  Codes: BUS_SLAVE, BUS_DECODE, those of
    :class:`hdl.vision.programs.program_header.HeaderCheck`, BAD_CRC.  One ``done`` for each
    ``start``.

    Throughput: 1 beat a cycle.

    Parameters
    ----------
    config : VisionConfig
        Shape and depths that an image must fit.

    Members
    -------
    start : In(stream of load_layout)
        What to load, and where to.
    discard : In(1)
        Ask for nothing more of the memory; what ``done`` says then means nothing.
    done : Out(stream of loaded_layout)
        How it ended.
    bus : Out(ReadPort)
        Memory.
    instruction_write, weight_write, parameter_write
        Program memories.
    """

    def __init__(self, config: VisionConfig):
        self.config = config
        super().__init__(
            {
                "start": In(stream.Signature(load_layout)),
                "discard": In(1),
                "done": Out(stream.Signature(loaded_layout(config))),
                "bus": Out(ReadPort()),
                "instruction_write": Out(InstructionWritePort(config)),
                "weight_write": Out(WeightWritePort(config)),
                "parameter_write": Out(ParameterWritePort(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bus = self.bus

        job = Signal(load_layout, reset_less=True)
        words = Array(Signal(64, name=f"word{i}", reset_less=True) for i in range(HEADER_BEATS))
        index = Signal(range(HEADER_BEATS))
        header = Signal(record_layout(HEADER))
        code = Signal(8)
        wait = Signal(range(8))

        m.submodules.check = check = HeaderCheck(self.config)
        m.submodules.sections = sections = SectionWriter(self.config)
        for name in ("instruction_write", "weight_write", "parameter_write"):
            wiring.connect(m, getattr(sections, name), wiring.flipped(getattr(self, name)))
        m.d.comb += [
            header.as_value().eq(Cat(words)),
            check.job.eq(job),
            check.header.eq(header),
            self.done.p.code.eq(code),
            self.done.p.entry.eq(check.entry),
            sections.i.payload.eq(bus.beats.payload),
        ]
        for field in ("instruction", "weight", "parameter"):
            rows = f"{field}_words" if field == "instruction" else f"{field}_rows"
            m.d.comb += [
                sections.start.p[f"{field}_base"].eq(job[f"{field}_base"]),
                sections.start.p[rows].eq(header[rows]),
            ]

        # Everything but the trailer goes through the checksum, a cycle later.
        m.submodules.crc = checksum = crc.Parameters(catalog.CRC32_ISO_HDLC, 64).create()
        in_image = Signal()
        beat = Signal(64, reset_less=True)
        beat_valid = Signal()
        matches = Signal()
        m.d.sync += [
            beat.eq(bus.beats.p.data),
            beat_valid.eq(bus.beats.valid & bus.beats.ready & ~(in_image & bus.beats.p.last)),
            matches.eq(checksum.crc == sections.trailer[:32]),
        ]
        m.d.comb += [checksum.data.eq(beat), checksum.valid.eq(beat_valid)]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.start.ready.eq(1), checksum.start.eq(1)]
                m.d.sync += [job.eq(self.start.p), index.eq(0)]
                with m.If(self.start.valid):
                    m.next = "REQUEST HEADER"
            with m.State("REQUEST HEADER"):
                m.d.comb += [
                    bus.request.valid.eq(1),
                    bus.request.p.address.eq(job.source),
                    bus.request.p.beats.eq(HEADER_BEATS),
                ]
                m.d.sync += in_image.eq(0)
                with m.If(bus.request.ready):
                    m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += bus.beats.ready.eq(1)
                with m.If(bus.beats.valid):
                    m.d.sync += [words[index].eq(bus.beats.p.data), index.eq(index + 1)]
                m.d.comb += bus.response.ready.eq(1)
                m.d.sync += [code.eq(bus_error(bus.response.p.code)), wait.eq(check.latency)]
                with m.If(bus.response.valid):
                    m.next = "JUDGE"
            with m.State("JUDGE"):
                m.d.sync += wait.eq(wait - 1)
                with m.If((code != ErrorCode.NONE) | self.discard):
                    m.next = "DONE"
                with m.Elif(wait == 0):
                    m.d.sync += code.eq(check.code)
                    m.next = "DONE"
                    with m.If(check.code == ErrorCode.NONE):
                        m.next = "REQUEST IMAGE"
            with m.State("REQUEST IMAGE"):
                # The sections part is idle, and takes its start with the request.
                m.d.comb += [
                    bus.request.valid.eq(1),
                    bus.request.p.address.eq(job.source + 8 * HEADER_BEATS),
                    bus.request.p.beats.eq(header.image_words - HEADER_BEATS),
                    sections.start.valid.eq(bus.request.ready),
                ]
                m.d.sync += in_image.eq(1)
                with m.If(bus.request.ready):
                    m.next = "IMAGE"
            with m.State("IMAGE"):
                m.d.comb += [
                    sections.i.valid.eq(bus.beats.valid),
                    bus.beats.ready.eq(sections.i.ready),
                    bus.response.ready.eq(1),
                ]
                m.d.sync += [code.eq(bus_error(bus.response.p.code)), wait.eq(3)]
                with m.If(bus.response.valid):
                    m.next = "VERDICT"
            with m.State("VERDICT"):
                # The last words pass the checksum.
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.next = "DONE"
                    with m.If((code == ErrorCode.NONE) & ~matches):
                        m.d.sync += code.eq(ErrorCode.BAD_CRC)
            with m.State("DONE"):
                m.d.comb += self.done.valid.eq(1)
                with m.If(self.done.ready):
                    m.next = "IDLE"

        return m

"""Writes the sections behind an image's header to the program memories."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import PARAMETER
from eyas.interfaces.vision.records import HEADER
from hdl.parts.burst_reader import beat_layout
from hdl.parts.layout import field_shape, record_layout
from hdl.vision.interfaces import (
    InstructionWritePort,
    ParameterWritePort,
    WeightWritePort,
    parameter_layout,
)

__all__ = ["SectionWriter", "sections_layout"]


def sections_layout(config: VisionConfig) -> data.StructLayout:
    """Payload of :attr:`SectionWriter.start`: first row and number of rows of each section."""
    return data.StructLayout(
        {
            "instruction_base": ceil_log2(config.instruction_words),
            "instruction_words": field_shape(HEADER, "instruction_words"),
            "weight_base": ceil_log2(config.weight_rows),
            "weight_rows": field_shape(HEADER, "weight_rows"),
            "parameter_base": ceil_log2(config.parameter_rows),
            "parameter_rows": field_shape(HEADER, "parameter_rows"),
        }
    )


class SectionWriter(wiring.Component):
    """Writes instructions, weights and parameters as they come, and keeps the trailer.

    Beats are taken up to and with ``last``, which is the trailer. Rows and bases are right, or
    memory elsewhere is overwritten: :class:`hdl.vision.programs.program_header.HeaderCheck` sees to
    it.

    Latency: 1 cycle to the write ports. Throughput: 1 beat a cycle, and a cycle a section.

    Members
    -------
    start : In(stream of sections_layout)
        What comes; taken when the image before has ended.
    i : In(stream of beat_layout)
        The image behind its header.
    trailer : Out(64)
        The last beat.
    instruction_write, weight_write, parameter_write
        Program memories.
    """

    def __init__(self, config: VisionConfig):
        self.config = config
        super().__init__(
            {
                "start": In(stream.Signature(sections_layout(config))),
                "i": In(stream.Signature(beat_layout)),
                "trailer": Out(64),
                "instruction_write": Out(InstructionWritePort(config)),
                "weight_write": Out(WeightWritePort(config)),
                "parameter_write": Out(ParameterWritePort(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        beat = self.i.p.data

        # Where the beat goes: in every section a row is some columns of one or two beats.
        sections = Signal(sections_layout(config), reset_less=True)
        most_rows = max(
            len(sections[name]) for name in ("instruction_words", "weight_rows", "parameter_rows")
        )
        left = Signal(most_rows, reset_less=True)  # rows of the section
        row = Signal(most_rows, reset_less=True)
        column = Signal(range(max(config.output_channels, 2)))
        half = Signal()
        low = Signal(64, reset_less=True)
        with m.If(~half):
            m.d.sync += low.eq(beat)

        # What the ports show is a cycle old.
        high = Signal(64, reset_less=True)
        written_row = Signal.like(row, reset_less=True)
        written_column = Signal.like(column, reset_less=True)
        m.d.sync += [high.eq(beat), written_row.eq(row), written_column.eq(column)]
        parameter = Signal(record_layout(PARAMETER))
        m.d.comb += [
            self.instruction_write.address.eq(written_row),
            self.instruction_write.data.eq(high),
            self.weight_write.row.eq(written_row),
            self.weight_write.column.eq(written_column),
            self.weight_write.data.eq(high if config.beats_per_word == 1 else Cat(low, high)),
            parameter.as_value().eq(Cat(low, high)),
            self.parameter_write.row.eq(written_row),
            self.parameter_write.column.eq(written_column),
        ]
        for name in parameter_layout.members:
            m.d.comb += self.parameter_write.data[name].eq(parameter[name])

        def section(port, columns, beats, next_state, next_base=0, next_left=0):
            # Ends with a cycle that takes no beat, so that an empty section needs none.
            enable = Signal()
            m.d.comb += port.enable.eq(enable)
            m.d.sync += enable.eq(0)
            with m.If(left == 0):
                m.d.sync += [row.eq(next_base), left.eq(next_left)]
                m.next = next_state
            with m.Else():
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    if beats == 2:
                        m.d.sync += half.eq(~half)
                    with m.If(half == beats - 1):
                        m.d.sync += [enable.eq(1), column.eq(column + 1)]
                        with m.If(column == columns - 1):
                            m.d.sync += [column.eq(0), row.eq(row + 1), left.eq(left - 1)]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.start.ready.eq(1)
                m.d.sync += [
                    sections.eq(self.start.p),
                    row.eq(self.start.p.instruction_base),
                    left.eq(self.start.p.instruction_words),
                ]
                with m.If(self.start.valid):
                    m.next = "INSTRUCTIONS"
            with m.State("INSTRUCTIONS"):
                following = ("WEIGHTS", sections.weight_base, sections.weight_rows)
                section(self.instruction_write, 1, 1, *following)
            with m.State("WEIGHTS"):
                following = ("PARAMETERS", sections.parameter_base, sections.parameter_rows)
                columns = config.output_channels
                section(self.weight_write, columns, config.beats_per_word, *following)
            with m.State("PARAMETERS"):
                columns = config.requantize_channels
                section(self.parameter_write, columns, PARAMETER.word_count, "TRAILER")
            with m.State("TRAILER"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += self.trailer.eq(beat)
                with m.If(self.i.valid & self.i.p.last):
                    m.next = "IDLE"

        return m

"""Checks the header of a program image."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import PARAMETER
from eyas.interfaces.vision.records import (
    DESCRIPTOR,
    HEADER,
    PROGRAM_MAGIC,
    PROGRAM_VERSION,
    ErrorCode,
)
from hdl.parts.layout import field_shape, record_layout
from hdl.vision.job_layouts import patch_layout, plane_capacity, slot_layout

__all__ = ["HeaderCheck", "load_layout"]

load_layout = data.StructLayout(
    {
        name: field_shape(DESCRIPTOR, name)
        for name in ("source", "source_words", "instruction_base", "weight_base", "parameter_base")
    }
)
"""What a descriptor says of the image to load: fields as in the descriptor."""

PARAMETER_WORDS = PARAMETER.word_count
TRAILER_WORDS = 1


def _times(value, factor):
    """Return ``value · factor`` as a sum of shifts, so that no multiplier is inferred."""
    total = 0
    for bit in range(factor.bit_length()):
        if factor >> bit & 1:
            total = total + (value << bit)
    return total


class HeaderCheck(wiring.Component):
    """Says whether an image fits this engine at the bases asked for.

    Codes, the first that applies: BAD_PROGRAM (magic, version); WRONG_SHAPE; PROGRAM_TOO_LARGE (a
    section from its base, the picture, or a plane of the output exceeds its memory); WRONG_SIZE
    (the sections, the header's ``image_words`` and the descriptor's ``source_words`` disagree, or
    there is no picture).

    Latency: ``latency`` cycles from inputs that no longer change to ``code``.

    Members
    -------
    job : In(load_layout)
        What to load, and where to.
    header : In(record_layout(HEADER))
        The image's header.
    code : Out(8)
        ErrorCode.
    entry : Out(slot_layout)
        What to remember of a program that fits.
    """

    latency = 4

    def __init__(self, config: VisionConfig):
        self.config = config
        super().__init__(
            {
                "job": In(load_layout),
                "header": In(record_layout(HEADER)),
                "code": Out(8),
                "entry": Out(slot_layout(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        job = self.job
        header = self.header

        recognised = Signal()
        m.d.sync += recognised.eq(
            (header.magic == PROGRAM_MAGIC) & (header.version == PROGRAM_VERSION)
        )

        right_shape = Signal()
        m.d.sync += right_shape.eq(
            (header.output_channels == config.output_channels)
            & (header.input_channels == config.input_channels)
            & (header.pixels == config.pixels)
            & (header.requantize_channels == config.requantize_channels)
            & (header.input_skip_r < config.pixels)
        )

        fits = []
        for base, words, capacity in (
            (job.instruction_base, header.instruction_words, config.instruction_words),
            (job.weight_base, header.weight_rows, config.weight_rows),
            (job.parameter_base, header.parameter_rows, config.parameter_rows),
            (0, header.source_words, config.activation_bytes // 8),
            (0, header.output_count, plane_capacity(config)),
        ):
            end = Signal(len(header.source_words) + 1, name=f"end{len(fits)}")
            fit = Signal(name=f"fit{len(fits)}")
            m.d.sync += [end.eq(base + words), fit.eq(end <= capacity)]
            fits.append(fit)
        all_fit = Signal()
        m.d.sync += all_fit.eq(Cat(fits).all())

        # Words of the image as its sections have it.
        weight_words = Signal(24)
        other_words = Signal(24)
        image_words = Signal(25)
        row_words = config.output_channels * config.beats_per_word
        m.d.sync += [
            weight_words.eq(_times(header.weight_rows, row_words)),
            other_words.eq(
                _times(header.parameter_rows, config.requantize_channels * PARAMETER_WORDS)
                + header.instruction_words
                + HEADER.word_count
                + TRAILER_WORDS
            ),
            image_words.eq(weight_words + other_words),
        ]
        right_size = Signal()
        same_size = Signal()
        m.d.sync += [
            same_size.eq((header.image_words == job.source_words) & (header.source_words != 0)),
            right_size.eq(image_words == header.image_words),
        ]

        m.d.sync += self.code.eq(
            Mux(
                ~recognised,
                ErrorCode.BAD_PROGRAM,
                Mux(
                    ~right_shape,
                    ErrorCode.WRONG_SHAPE,
                    Mux(
                        ~all_fit,
                        ErrorCode.PROGRAM_TOO_LARGE,
                        Mux(same_size & right_size, ErrorCode.NONE, ErrorCode.WRONG_SIZE),
                    ),
                ),
            )
        )

        entry = self.entry
        m.d.comb += [
            entry.instruction_base.eq(job.instruction_base),
            entry.weight_base.eq(job.weight_base),
            entry.parameter_base.eq(job.parameter_base),
            entry.input.base.eq(header.input_base),
            entry.input.plane.eq(header.input_plane),
            entry.input.height.eq(header.input_height),
            entry.input.width.eq(header.input_width),
            entry.input.channels.eq(header.input_channels_count),
            entry.input.skip_q.eq(header.input_skip_q),
            entry.input.skip_r.eq(header.input_skip_r),
            entry.output.base.eq(header.output_base),
            entry.output.plane.eq(header.output_plane),
            entry.output.count.eq(header.output_count),
            entry.output.blocks.eq(header.output_blocks),
            entry.source_words.eq(header.source_words),
        ]
        for name in patch_layout.members:
            m.d.comb += entry.patches[name].eq(header[f"patch_{name}"])

        return m

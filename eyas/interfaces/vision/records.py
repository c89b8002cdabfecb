"""What the vision overlay reads and writes in DRAM: program image, job descriptor, result record.

Program image (little-endian 64-bit words)::

    header             16 words     HEADER
    instructions       header.instruction_words
    weights            header.weight_rows rows; a row is output_channels words of activation width,
                       beats_per_word 64-bit words each (a narrower word sits in the low bits)
    parameters         header.parameter_rows rows; a row is requantize_channels PARAMETER records
    trailer            1 word       low 32 bits: CRC-32 (zlib's) of every byte before it

The picture is dense NHWC int8 (one picture, no padding), ``input_height · input_width ·
input_channels`` bytes, starting on an 8-byte boundary; bytes after it up to the next boundary are
read and ignored.

A program may want *patches* (``patch_kernel_rows`` is not 0): the picture is dense all the same, but
each pixel of the input map is the window of the picture under a kernel, bytes in the order row,
column, channel, up to the next multiple of 8; taps outside the picture, and the bytes behind the
window's last, are the zero point.  The ``input_`` fields describe that map.  A first layer with few
channels is then a 1 × 1 convolution that wastes no multipliers.

The output is, block after block, ``output_count`` words of activation width in linear order
(:mod:`eyas.interfaces.vision.isa`), each ``beats_per_word`` 64-bit words (a narrower word sits in
the low bits).
"""

from __future__ import annotations

import enum

from eyas.interfaces.fields import Field, Record
from eyas.interfaces.register_parts import ExplainedCode

__all__ = [
    "DESCRIPTOR",
    "DESCRIPTOR_MAGIC",
    "DESCRIPTOR_VERSION",
    "HEADER",
    "PATCH_LINE_BYTES",
    "PATCH_MARGIN",
    "PROGRAM_MAGIC",
    "PROGRAM_VERSION",
    "RESULT",
    "RESULT_MAGIC",
    "ErrorCode",
    "JobKind",
    "Place",
]

PROGRAM_MAGIC = 0x56415945
"""``EYAV`` in the first four bytes of a program image."""
PROGRAM_VERSION = 2
"""Version of the image and of the instruction set; raised at any incompatible change."""
PATCH_LINE_BYTES = 8192
"""Bytes of the line buffer from which patches are cut."""
PATCH_MARGIN = 64
"""Bytes of it beyond the kernel's rows that have to be left for what is under way."""
DESCRIPTOR_MAGIC = 0x4A45
"""``EJ``"""
DESCRIPTOR_VERSION = 1
RESULT_MAGIC = 0x5245
"""``ER``"""


class JobKind(enum.IntEnum):
    """What a descriptor asks for."""

    LOAD = 1
    """Read a program image at ``source`` into a slot, once every job before it has ended."""
    INFER = 2
    """Read a picture at ``source``, run the slot's program, write the output and the result."""


class Place(enum.IntEnum):
    """Where an error happened."""

    NONE = 0
    DOORBELL = 1
    DESCRIPTOR = 2
    PROGRAM = 3
    INPUT = 4
    COMPUTE = 5
    OUTPUT = 6
    RESULT = 7


class ErrorCode(ExplainedCode):
    """Error codes of result records and of the ERROR register; ``text`` and ``remedy`` are what a user
    reads."""

    NONE = 0, "no error", "nothing is to be done"
    BUS_SLAVE = 1, "the memory answered a burst with SLVERR", "check the buffers that the job names"
    BUS_DECODE = 2, "the memory answered a burst with DECERR: no memory at that address", "check the buffers that the job names"
    BAD_DESCRIPTOR = 3, "the job descriptor's magic, version, kind or slot is wrong", "use the driver that belongs to this overlay"
    BAD_PROGRAM = 4, "the program image's magic or version is wrong", "compile the network again with this version"
    WRONG_SHAPE = 5, "the program was compiled for another array shape", "compile the network for this overlay's array"
    PROGRAM_TOO_LARGE = 6, "the program's sections do not fit in the memories at the bases given", "unload a program or build an overlay with more memory"
    BAD_CRC = 7, "the program image's checksum is wrong", "load the program again from its file"
    EMPTY_SLOT = 8, "the job names a program slot that holds no valid program", "load the program first"
    WRONG_SIZE = 9, "source_words in the descriptor is not what the program needs", "give pictures of the program's input shape"
    BAD_INSTRUCTION = 10, "the program holds an instruction that this engine does not know", "compile the network again with this version"
    QUEUE_FULL = 11, "the doorbell was rung while the job queue was full; the job was dropped", "wait for a job to end before starting the next"
    ABORTED = 12, "the job was given up because software asked for an abort", "start the job again"
    MISALIGNED = 13, "an address in the descriptor is not a multiple of 8", "take buffers from the board's allocate"


HEADER = Record(
    "program header",
    1024,
    (
        Field("magic", 32, "PROGRAM_MAGIC"),
        Field("version", 16, "PROGRAM_VERSION"),
        Field("output_channels", 8, "array shape the program was compiled for", offset=64),
        Field("input_channels", 8, "the same"),
        Field("pixels", 8, "the same"),
        Field("requantize_channels", 8, "the same"),
        Field("instruction_words", 16, "64-bit words of instructions", offset=128),
        Field("weight_rows", 16, "rows of weights"),
        Field("parameter_rows", 16, "rows of requantisation parameters"),
        Field("layers", 16, "number of layers"),
        Field("input_base", 16, "word of the input map's first plane", offset=192),
        Field("input_plane", 16, "words from one input plane to the next"),
        Field("input_height", 12, "rows of the input map"),
        Field("input_width", 12, "columns of the input map", offset=240),
        Field("input_channels_count", 12, "channels of the input map", offset=256),
        Field("input_blocks", 8, "planes of the input map"),
        Field("input_skip_q", 16, "distance from a row's last pixel to the next row's first, q"),
        Field("input_skip_r", 4, "the same, r"),
        Field("output_base", 16, "word of the output map's first plane", offset=320),
        Field("output_plane", 16, "words from one output plane to the next"),
        Field("output_count", 24, "words written of each plane, in linear order"),
        Field("output_blocks", 8, "planes of the output map"),
        Field("image_words", 32, "64-bit words of the whole image, trailer included", offset=384),
        Field("source_words", 32, "64-bit words of one picture, rounded up"),
        Field("patch_kernel_rows", 4, "patches: rows of the kernel; 0: no patches", offset=512),
        Field("patch_run_bytes", 7, "patches: kernel columns · channels"),
        Field("patch_pixel_step", 6, "patches: horizontal stride · channels", offset=528),
        Field("patch_row_bytes", 16, "patches: picture columns · channels", offset=544),
        Field("patch_row_step", 18, "patches: vertical stride · row bytes", offset=576),
        Field("patch_start_byte", 8, "patches: −padding on the left · channels", True, offset=608),
        Field("patch_zero_point", 8, "patches: value of a tap outside the picture", True),
        Field("patch_start", 20, "patches: −padding at the top · row bytes", True, offset=640),
        Field("patch_picture_bytes", 24, "patches: bytes of the picture", offset=672),
    ),
    "The first sixteen words of a program image. Word 7 is reserved for the confidence gate's tables.",
)

DESCRIPTOR = Record(
    "job descriptor",
    512,
    (
        Field("magic", 16, "DESCRIPTOR_MAGIC"),
        Field("version", 8, "DESCRIPTOR_VERSION"),
        Field("kind", 8, "JobKind"),
        Field("slot", 8, "program slot"),
        Field("interrupt", 1, "raise the done interrupt when the job has ended"),
        Field("probe", 1, "INFER: stop after layer probe_layer and write the map named below"),
        Field("tag", 16, "copied into the result record and the ERROR registers", offset=48),
        Field("source", 32, "byte address of the image or the picture, a multiple of 8", offset=64),
        Field("source_words", 32, "64-bit words at source; must equal what the program needs"),
        Field("output", 32, "byte address of the output, a multiple of 8", offset=128),
        Field("result", 32, "byte address of the 64-byte result record, a multiple of 8"),
        Field("instruction_base", 16, "LOAD: first word in instruction memory", offset=192),
        Field("weight_base", 16, "LOAD: first row in weight memory"),
        Field("parameter_base", 16, "LOAD: first row in parameter memory"),
        Field("probe_layer", 8, "probe: layer after which to stop", offset=256),
        Field("probe_blocks", 8, "probe: planes to write"),
        Field("probe_base", 16, "probe: word of the first plane"),
        Field("probe_plane", 16, "probe: words from one plane to the next"),
        Field("probe_count", 24, "probe: words written of each plane", offset=320),
        Field("accuracy_class", 8, "reserved for the confidence gate", offset=384),
        Field("gate_bound", 48, "reserved for the confidence gate: 1/τ of the accuracy class"),
    ),
    "One job. Software writes it, then its address to DOORBELL. Reserved bits are zero.",
)

RESULT = Record(
    "result record",
    512,
    (
        Field("magic", 16, "RESULT_MAGIC, written last of all the job writes"),
        Field("code", 8, "ErrorCode"),
        Field("place", 8, "Place of the error"),
        Field("layer", 8, "layer that ran last: the program's last one, or where the error happened"),
        Field("slot", 8, "program slot"),
        Field("tag", 16, "the descriptor's tag"),
        Field("core_cycles", 32, "cycles from the first instruction's start to the last result written"),
        Field("job_cycles", 32, "cycles from the descriptor's fetch to the output's last write"),
        Field("gate_sum", 48, "reserved for the confidence gate: Σ exp(z − z_max)", offset=128),
        Field("gate_class", 15, "reserved for the confidence gate: index of the greatest logit"),
        Field("gate_confident", 1, "reserved for the confidence gate: the edge's answer will do"),
    ),
    "How a job ended: 64 bytes, one burst. Reserved bits are zero.",
)

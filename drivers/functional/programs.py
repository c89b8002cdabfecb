"""Program images: judged and spread over the memories as ``hdl/vision/programs`` does it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from drivers.functional.dram import Dram
from drivers.functional.memories import Memories
from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import PARAMETER
from eyas.interfaces.vision.records import HEADER, PROGRAM_MAGIC, PROGRAM_VERSION, ErrorCode

__all__ = ["Slot", "load_program"]

HEADER_BYTES = HEADER.width // 8
SHAPE = ("output_channels", "input_channels", "pixels", "requantize_channels")


@dataclass(frozen=True)
class Slot:
    """A resident program: its header, and where its sections begin."""

    header: Mapping[str, int]
    instruction_base: int
    weight_base: int
    parameter_base: int


def load_program(
    job: Mapping[str, int], dram: Dram, memories: Memories
) -> tuple[ErrorCode, Slot | None]:
    """Do what a LOAD asks for: the verdict, and the slot's entry where it is NONE.

    Codes, the first that applies: BUS_SLAVE, BUS_DECODE, those of the header, BAD_CRC.  As in RTL
    the memories have been written when a checksum turns out wrong; after a bus error they have not.
    """
    code, data = dram.read(job["source"], HEADER_BYTES)
    if code != ErrorCode.NONE:
        return code, None
    head = data.tobytes()
    header = HEADER.unpack_bytes(head)
    code = _judge(job, header, memories.config)
    if code != ErrorCode.NONE:
        return code, None
    size = 8 * header["image_words"] - HEADER_BYTES
    code, data = dram.read(job["source"] + HEADER_BYTES, size)
    if code != ErrorCode.NONE:
        return code, None
    image = data.tobytes()
    _write_sections(job, header, image, memories)
    if zlib.crc32(image[:-8], zlib.crc32(head)) != int.from_bytes(image[-8:-4], "little"):
        return ErrorCode.BAD_CRC, None
    bases = (job[name] for name in ("instruction_base", "weight_base", "parameter_base"))
    return ErrorCode.NONE, Slot(header, *bases)


def _judge(job: Mapping[str, int], header: Mapping[str, int], config: VisionConfig) -> ErrorCode:
    """Whether an image fits this engine at the bases asked for."""
    if header["magic"] != PROGRAM_MAGIC or header["version"] != PROGRAM_VERSION:
        return ErrorCode.BAD_PROGRAM
    if any(header[name] != getattr(config, name) for name in SHAPE) or (
        header["input_skip_r"] >= config.pixels
    ):
        return ErrorCode.WRONG_SHAPE
    for size, capacity in (
        (job["instruction_base"] + header["instruction_words"], config.instruction_words),
        (job["weight_base"] + header["weight_rows"], config.weight_rows),
        (job["parameter_base"] + header["parameter_rows"], config.parameter_rows),
        (header["source_words"], config.activation_bytes // 8),
        (header["output_count"], config.pixels * config.bank_words),
    ):
        if size > capacity:
            return ErrorCode.PROGRAM_TOO_LARGE
    words = (
        HEADER.word_count
        + header["instruction_words"]
        + header["weight_rows"] * config.output_channels * config.beats_per_word
        + header["parameter_rows"] * config.requantize_channels * PARAMETER.word_count
        + 1
    )
    if not words == header["image_words"] == job["source_words"] or not header["source_words"]:
        return ErrorCode.WRONG_SIZE
    return ErrorCode.NONE


def _write_sections(
    job: Mapping[str, int], header: Mapping[str, int], image: bytes, memories: Memories
) -> None:
    """Spread what follows the header over the program memories."""
    config = memories.config
    words = np.frombuffer(image, "<u8")
    count = header["instruction_words"]
    base = job["instruction_base"]
    memories.instructions[base : base + count] = words[:count]
    words = words[count:]

    rows, base = header["weight_rows"], job["weight_base"]
    count = rows * config.output_channels * config.beats_per_word
    # A word narrower than a beat stands in its low bytes.
    beats = words[:count].view(np.int8)
    beats = beats.reshape(rows, config.output_channels, 8 * config.beats_per_word)
    memories.weights[base : base + rows] = beats[:, :, : config.input_channels]
    words = words[count:]

    rows, base = header["parameter_rows"], job["parameter_base"]
    count = rows * config.requantize_channels * PARAMETER.word_count
    pairs = words[:count].reshape(rows, config.requantize_channels, PARAMETER.word_count)
    for field in PARAMETER.fields:
        word, bit = divmod(PARAMETER.offsets[field.name], 64)
        mask = np.uint64((1 << field.width) - 1)
        values = ((pairs[:, :, word] >> np.uint64(bit)) & mask).astype(np.int64)
        if field.signed:
            values -= (values >> (field.width - 1)) << field.width
        memories.parameters[field.name][base : base + rows] = values

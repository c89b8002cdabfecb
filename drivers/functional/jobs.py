"""Jobs: what the descriptor at the doorbell asks for, and the record behind it.

Follows ``hdl/vision/jobs``: the same checks in the same order, the same codes and places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from drivers.functional.cycles import LayerCycles
from drivers.functional.dram import Dram
from drivers.functional.engine import DecodedProgram
from drivers.functional.memories import Memories
from drivers.functional.programs import Slot, load_program
from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.records import (
    DESCRIPTOR,
    DESCRIPTOR_MAGIC,
    DESCRIPTOR_VERSION,
    RESULT,
    RESULT_MAGIC,
    ErrorCode,
    JobKind,
    Place,
)

__all__ = ["Ended", "Jobs"]

RECORD_BYTES = 64
RECORD_BEATS = RECORD_BYTES // 8
ROUND_TRIP = 200
"""Estimate of the cycles a job spends beside its picture, its layers and what it writes."""


@dataclass
class Ended:
    """How a job ended, for its record, the ERROR registers and the counters.

    The core's cycles are the RTL's; those around them are an estimate: the picture's, alone in
    the engine, a beat a cycle, and :data:`ROUND_TRIP`.
    """

    code: ErrorCode = ErrorCode.NONE
    place: Place = Place.NONE
    layer: int = 0
    slot: int = 0
    tag: int = 0
    interrupt: bool = False
    core_cycles: int = 0
    array_cycles: int = 0
    input_cycles: int = 0
    read_beats: int = 0
    write_beats: int = 0
    never: bool = False
    """The program has no end: the job runs until it is aborted."""

    @property
    def job_cycles(self) -> int:
        """Cycles from the descriptor's fetch to the output's last write: an estimate."""
        return self.core_cycles + self.input_cycles + self.write_beats + ROUND_TRIP

    def fail(self, code: ErrorCode, place: Place) -> None:
        """Note an error, unless ``code`` is NONE; the first one stays."""
        if self.code == ErrorCode.NONE and code != ErrorCode.NONE:
            self.code, self.place = code, place


class Jobs:
    """Executes jobs one after the other, each at once and whole.

    Parameters
    ----------
    config : VisionConfig
        The array.
    dram : Dram
        Memory.

    Attributes
    ----------
    slots : dict of int to Slot
        The slots that hold a valid program.
    layers : dict of int to LayerCycles
        Counters of each layer's last run.
    """

    def __init__(self, config: VisionConfig, dram: Dram) -> None:
        self._config = config
        self._dram = dram
        self._memories = Memories(config)
        self.slots: dict[int, Slot] = {}
        self.layers: dict[int, LayerCycles] = {}
        self._decoded: dict[int, DecodedProgram] = {}

    def execute(self, address: int) -> Ended:
        """Run the job whose descriptor stands at ``address``; its record is in DRAM behind."""
        ended = Ended(read_beats=RECORD_BEATS)
        code, data = self._dram.read(address, RECORD_BYTES)
        if code != ErrorCode.NONE:
            ended.fail(code, Place.DESCRIPTOR)
            return ended
        job = DESCRIPTOR.unpack_bytes(data.tobytes())
        if (job["magic"], job["version"]) != (DESCRIPTOR_MAGIC, DESCRIPTOR_VERSION):
            ended.fail(ErrorCode.BAD_DESCRIPTOR, Place.DESCRIPTOR)
            return ended
        ended.tag = job["tag"]
        ended.slot = job["slot"]
        ended.interrupt = bool(job["interrupt"])
        ended.fail(self._judge(job), Place.DESCRIPTOR)
        if ended.code == ErrorCode.NONE:
            if job["kind"] == JobKind.LOAD:
                self._load(job, ended)
            else:
                self._infer(job, ended)
        if not job["result"] % 8 and not ended.never:
            self._write_record(job["result"], ended)
        return ended

    def _judge(self, job: Mapping[str, int]) -> ErrorCode:
        """What can be said of a descriptor without a program."""
        infer = job["kind"] == JobKind.INFER
        known = infer or job["kind"] == JobKind.LOAD
        capacity = self._config.pixels * self._config.bank_words
        if (
            not known
            or job["slot"] >= self._config.program_slots
            or (infer and job["probe"] and job["probe_count"] > capacity)
        ):
            return ErrorCode.BAD_DESCRIPTOR
        if job["source"] % 8 or job["result"] % 8 or (infer and job["output"] % 8):
            return ErrorCode.MISALIGNED
        return ErrorCode.NONE

    def _load(self, job: Mapping[str, int], ended: Ended) -> None:
        self.slots.pop(job["slot"], None)
        # Any program may have been written over: all are decoded anew when they run.
        self._decoded.clear()
        code, slot = load_program(job, self._dram, self._memories)
        ended.fail(code, Place.PROGRAM)
        if slot is not None:
            self.slots[job["slot"]] = slot
            ended.read_beats += slot.header["image_words"]
            ended.input_cycles = slot.header["image_words"]

    def _infer(self, job: Mapping[str, int], ended: Ended) -> None:
        slot = self.slots.get(job["slot"])
        if slot is None:
            ended.fail(ErrorCode.EMPTY_SLOT, Place.DESCRIPTOR)
            return
        words = slot.header["source_words"]
        if job["source_words"] != words:
            ended.fail(ErrorCode.WRONG_SIZE, Place.DESCRIPTOR)
            return
        program = self._decoded.get(job["slot"])
        if program is None:
            program = DecodedProgram(slot, self._memories)
            self._decoded[job["slot"]] = program
        code, picture = self._dram.read(job["source"], 8 * words)
        ended.read_beats += words
        ended.fail(code, Place.INPUT)
        if not program.pictures.fits:
            ended.fail(ErrorCode.WRONG_SIZE, Place.INPUT)
        if ended.code != ErrorCode.NONE:
            return
        program.pictures.load(picture)
        ended.input_cycles = program.pictures.cycles
        probe_layer = job["probe_layer"] if job["probe"] else None
        if not program.finishes(probe_layer):
            ended.never = True
            return
        finish = program.run(self.layers, probe_layer)
        ended.layer = finish.layer
        ended.core_cycles, ended.array_cycles = finish.core_cycles, finish.array_cycles
        ended.fail(finish.code, Place.COMPUTE)
        if ended.code == ErrorCode.NONE:
            self._store(job, slot.header, ended)

    def _store(self, job: Mapping[str, int], header: Mapping[str, int], ended: Ended) -> None:
        """Write a map of the activation memory to DRAM, plane after plane."""
        prefix = "probe" if job["probe"] else "output"
        owner = job if job["probe"] else header
        base, plane, count, blocks = (
            owner[f"{prefix}_{name}"] for name in ("base", "plane", "count", "blocks")
        )
        if not count or not blocks:
            return
        config, memories = self._config, self._memories
        origin = (base + np.arange(blocks) * plane) * config.pixels
        words = (origin[:, np.newaxis] + np.arange(count)) % memories.capacity
        values = memories.read(words).view(np.uint8)
        size = 8 * config.beats_per_word
        if config.input_channels < size:
            wide = np.zeros((blocks, count, size), np.uint8)
            wide[:, :, : config.input_channels] = values
            values = wide
        worst = ErrorCode.NONE
        for number, block in enumerate(values.reshape(blocks, -1)):
            worst = max(worst, self._dram.write(job["output"] + number * len(block), block))
        ended.write_beats += values.size // 8
        ended.fail(worst, Place.OUTPUT)

    def _write_record(self, address: int, ended: Ended) -> None:
        record = RESULT.pack_bytes(
            magic=RESULT_MAGIC,
            code=ended.code,
            place=ended.place,
            layer=ended.layer,
            slot=ended.slot,
            tag=ended.tag,
            core_cycles=ended.core_cycles & 0xFFFF_FFFF,
            job_cycles=ended.job_cycles & 0xFFFF_FFFF,
        )
        ended.fail(self._dram.write(address, np.frombuffer(record, np.uint8)), Place.RESULT)
        ended.write_beats += RECORD_BEATS

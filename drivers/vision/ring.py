"""Memory of the jobs that a vision engine has under way, and the layout of what it writes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from drivers.board import Board, Buffer
from drivers.records import RecordReader
from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.manifest import MapPlace
from eyas.interfaces.vision.records import DESCRIPTOR, RESULT, RESULT_MAGIC

__all__ = ["RECORD_BYTES", "JobRecord", "JobRing", "map_positions", "read_record", "unpack_map"]

RECORD_BYTES = 64
"""Bytes of a descriptor, and of a result record."""
TAG_OFFSET = DESCRIPTOR.offsets["tag"] // 8


class JobRecord(NamedTuple):
    """What the driver looks at in a job's result record; fields of ``RESULT``."""

    magic: int
    code: int
    place: int
    layer: int
    tag: int
    core_cycles: int
    job_cycles: int


_READER = RecordReader(RESULT, *JobRecord._fields)


def read_record(memory: Any, offset: int) -> JobRecord:
    """The record that begins at byte ``offset`` of ``memory``."""
    return JobRecord(*_READER.read(memory, offset))


class JobRing:
    """Pictures, outputs, descriptors and records for as many jobs as can be under way.

    Parameters
    ----------
    board : Board
        Where the memory comes from.
    entries : int
        Jobs under way at once.
    picture_bytes, output_bytes : int
        Size of a job's picture and output.

    Attributes
    ----------
    entries : int
        As given.
    """

    def __init__(self, board: Board, entries: int, picture_bytes: int, output_bytes: int) -> None:
        self.entries = entries
        self._buffers: list[Buffer] = []
        try:
            self._jobs = self._allocate(board, (entries, RECORD_BYTES))
            self._records = self._allocate(board, (entries, RECORD_BYTES))
            # A buffer for each picture and output: a driver cleans the caches of no other.
            self._pictures, self._outputs = (
                [self._allocate(board, (size,)) for _ in range(entries)]
                for size in (picture_bytes, output_bytes)
            )
        except BaseException:
            self.close()
            raise
        # All of it first: before 1.23 numpy views no part of a row as another type.
        self._tags = self._jobs.array.view("<u2")[:, TAG_OFFSET // 2]

    def _allocate(self, board: Board, shape: tuple[int, ...]) -> Buffer:
        self._buffers.append(board.allocate(shape))
        return self._buffers[-1]

    def describe(self, entry: int, descriptor: bytes) -> None:
        """Set the descriptor of ``entry``, once; its tag changes with each job."""
        self._jobs.array[entry] = np.frombuffer(descriptor, np.uint8)

    def addresses(self, entry: int) -> dict[str, int]:
        """Where the job of ``entry`` finds its picture and leaves output and record."""
        return {
            "source": self._pictures[entry].address,
            "output": self._outputs[entry].address,
            "result": self._records.address + entry * RECORD_BYTES,
        }

    def picture(self, entry: int) -> npt.NDArray[np.uint8]:
        """Where the picture of ``entry`` goes."""
        return self._pictures[entry].array

    def submit(self, entry: int, tag: int) -> int:
        """Make the job of ``entry`` ready; returns its descriptor's address."""
        self._tags[entry] = tag
        self._pictures[entry].flush()
        self._jobs.flush()
        return self._jobs.address + entry * RECORD_BYTES

    def result(self, entry: int) -> JobRecord | None:
        """The job's record; None until the overlay has written it.

        Software never writes records: an old one is told by its tag.
        """
        self._records.invalidate()
        record = read_record(self._records.array, entry * RECORD_BYTES)
        ended = record.magic == RESULT_MAGIC and record.tag == self._tags[entry]
        return record if ended else None

    def output(self, entry: int) -> npt.NDArray[np.uint8]:
        """The job's output as the overlay wrote it."""
        self._outputs[entry].invalidate()
        return self._outputs[entry].array

    def close(self) -> None:
        """Free the memory."""
        for buffer in self._buffers:
            buffer.close()


def map_positions(place: MapPlace, config: VisionConfig) -> npt.NDArray[np.intp]:
    """For each value [H, W, C] of a map its byte in what the overlay writes to DRAM.

    ``place`` is a ``map`` of the program's manifest.
    """
    height, width, channels = place.shape
    block, lane = np.divmod(np.arange(channels), config.input_channels)
    words = np.arange(height)[:, np.newaxis] * place.pitch + np.arange(width)
    word = words[:, :, np.newaxis] + block * place.count
    return word * (8 * config.beats_per_word) + lane


def unpack_map(
    raw: npt.NDArray[np.uint8], place: MapPlace, config: VisionConfig
) -> npt.NDArray[np.int8]:
    """Maps as the overlay writes them to DRAM, [N, bytes], as [N, H, W, C]."""
    return raw[:, map_positions(place, config)].view(np.int8)

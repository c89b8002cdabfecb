"""Driver of the THC overlay's lookup lanes: sums of compressed gradients."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.board import Board
from drivers.errors import BoardTimeout
from drivers.overlay import exclusive
from drivers.thc.driver import ThcDriver, ThcError
from eyas.interfaces.thc.formats import (
    LookupTable,
    check_sums,
    packed_size,
)
from eyas.interfaces.thc.registers import (
    JobKind,
    ThcCode,
)

__all__ = ["ThcAggregator"]

CHUNK_BYTES = 8 << 20
"""Memory that one descriptor's inputs may take; more is cut into several."""
POLLS = 1000


class ThcAggregator(ThcDriver):
    """Adds packed indices on the THC overlay of ``board``, without decompressing them.

    A context manager; leaving it closes its jobs and frees its memory, not the board. After a
    BoardTimeout the overlay has been reset, and every job is closed.

    Parameters
    ----------
    board : Board
        The board that carries the overlay. Calls of all its drivers, of whichever thread, come
        one after the other.

    Attributes
    ----------
    config : ThcConfig
        Index bits, slots and jobs, read from the overlay.
    cycles : int
        Cycles that the last :meth:`aggregate` took.

    Raises
    ------
    WrongOverlay
        When the board carries something else, or a version this driver does not know.
    """

    def __init__(self, board: Board) -> None:
        super().__init__(board)
        self._jobs: dict[int, tuple[LookupTable, int, int]] = {}

    @exclusive
    def open(self, table: LookupTable, workers: int, *, lane_bits: int = 8, job: int = 0) -> None:
        """Open ``job``: its table and limits stand until :meth:`close_job`.

        Parameters
        ----------
        table : LookupTable
            Of as many bits as the overlay's indices.
        workers : int
            The most contributions to a sum, 1 to 255.
        lane_bits : int
            Bits of a sum: 8 or 16.
        job : int
            Its number.

        Raises
        ------
        ValueError
            When the table does not suit the overlay, or the sums do not fit the lanes.
        ThcError
            With JOB_OPEN when the job is open already: its table may be in use.
        """
        self._require_open("open a job")
        self._check_table(table, job)
        check_sums(table.granularity, workers, lane_bits)
        entries = [*table.entries, *[0] * (16 - len(table.entries))]
        self._write("job_select", job=job)
        self._write(
            "job_limits",
            workers=workers,
            granularity=table.granularity,
            wide=int(lane_bits == 16),
        )
        for start in range(0, 16, 4):
            self._write(
                f"table{start // 4}",
                **{f"entry{start + i}": entries[start + i] for i in range(4)},
            )
        self._command(f"Opening job {job}", open=1)
        self._jobs[job] = table, workers, lane_bits

    @exclusive
    def close_job(self, job: int = 0) -> None:
        """Give the number of ``job`` free; ThcError with JOB_CLOSED when it is not open."""
        self._require_open("close a job")
        self._give_free(job)

    def _give_free(self, job: int) -> None:
        self._write("job_select", job=job)
        self._jobs.pop(job, None)
        self._command(f"Closing job {job}", close=1)

    @exclusive
    def aggregate(
        self,
        contributions: npt.NDArray[np.uint8],
        count: int,
        *,
        job: int = 0,
        timeout_s: float | None = None,
    ) -> npt.NDArray[np.uint16]:
        """Return the sums of ``count`` coordinates over all contributions.

        Parameters
        ----------
        contributions : uint8 array [k, bytes]
            Packed indices (:func:`eyas.interfaces.thc.formats.pack`) of k workers, k up to the
            job's.
        count : int
            Coordinates.
        job : int
            An open job.
        timeout_s : float or None
            How long to wait for each descriptor, in seconds of the board's clock.

        Raises
        ------
        ValueError, TypeError
            When the contributions have the wrong shape or type.
        ThcError, BoardTimeout
            When the overlay ends with an error, or does not end.
        """
        self._require_open("aggregate")
        if job not in self._jobs:
            raise ThcError(f"Aggregating job {job}", ThcCode.JOB_CLOSED)
        _, workers, lane_bits = self._jobs[job]
        data = self._checked(contributions, count, workers)
        self.cycles = 0
        per_word = 8 * self.config.indices_per_byte
        packet = self.config.packet_beats(lane_bits == 16)
        total = -(-count // per_word)
        chunk = max(1, CHUNK_BYTES // (8 * len(data) * packet)) * packet
        sums = np.empty(total * per_word, np.uint16)
        for start in range(0, total, chunk):
            words = min(chunk, total - start)
            part = data[:, 8 * start : 8 * (start + words)]
            place = slice(start * per_word, (start + words) * per_word)
            sums[place] = self._aggregate(part, words, job, lane_bits, timeout_s)
        return sums[:count]

    def _close(self) -> None:
        if not self.board.closed:
            for job in list(self._jobs):
                with suppress(ThcError):  # the board may have been reset
                    self._give_free(job)
        super()._close()

    def _aggregate(
        self,
        data: npt.NDArray[np.uint8],
        words: int,
        job: int,
        lane_bits: int,
        timeout_s: float | None,
    ) -> npt.NDArray[Any]:
        """One descriptor: ``words`` words of each contribution."""
        size = 8 * words
        row_words = 1 if lane_bits == 16 else 2
        rows = -(-words // row_words)
        source = self._buffer("source", len(data) * size)
        output = self._buffer("output", rows * self.config.row_bits // 8)
        into = source.array[: len(data) * size].reshape(len(data), size)
        into[:, : data.shape[1]] = data
        into[:, data.shape[1] :] = 0  # an odd tail, up to a word
        source.flush()
        try:
            self._run(
                f"the sum of {len(data)} contributions to job {job}",
                len(data) * words + rows * self.config.row_bits // 64,
                timeout_s,
                kind=JobKind.AGGREGATE,
                job=job,
                source=source.address,
                count=words,
                output=output.address,
                stride=size,
                workers=len(data),
            )
        except BoardTimeout:
            self._jobs.clear()
            raise
        output.invalidate()
        raw = output.array[: rows * self.config.row_bits // 8]
        return raw.view("<u2" if lane_bits == 16 else "u1")[: words * self.config.lanes]

    def _check_table(self, table: LookupTable, job: int) -> None:
        if not isinstance(table, LookupTable):
            raise TypeError(f"Table must be a LookupTable, not {table!r}")
        if table.bits != self.config.index_bits:
            raise ValueError(
                f"The overlay's indices have {self.config.index_bits} bits, the table is for "
                f"{table.bits}; solve the table for the overlay's bits"
            )
        if not 0 <= job < self.config.jobs:
            raise ValueError(f"A job has a number from 0 to {self.config.jobs - 1}, not {job}")

    def _checked(
        self, contributions: npt.NDArray[np.uint8], count: int, workers: int
    ) -> npt.NDArray[np.uint8]:
        data = np.asarray(contributions)
        if data.dtype != np.uint8:
            raise TypeError(f"Contributions must be packed indices (uint8), not {data.dtype}")
        if count < 1:
            raise ValueError(f"There must be at least 1 coordinate, not {count}")
        size = packed_size(count, self.config.index_bits)
        if data.ndim != 2 or data.shape[1] != size:
            raise ValueError(
                f"{count} coordinates of each worker take shape (workers, {size}), not {data.shape}"
            )
        if not 1 <= len(data) <= workers:
            raise ValueError(
                f"The job was opened for 1 to {workers} contributions, not {len(data)}"
            )
        return data

    def _command(self, what: str, **fields: int) -> None:
        self._write("job_command", **fields)
        for _ in range(POLLS):
            status = self._read("job_status")
            if not status["busy"]:
                break
        else:
            raise BoardTimeout(f"{what.lower()} to end", 0)
        if status["code"] != ThcCode.NONE:
            raise ThcError(what, status["code"])

"""Drivers of the THC overlay: sums of compressed gradients, and the encoder that makes them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.board import Board, Buffer
from drivers.errors import BoardError, BoardTimeout, InterruptLost
from drivers.overlay import OverlayDriver
from drivers.records import RecordReader
from eyas.interfaces.thc import (
    BLOCK_LOG2,
    ENCODER_GRANULARITY,
    MULTIPLIER_BITS,
    LookupTable,
    check_sums,
    packed_size,
)
from eyas.interfaces.thc_config import ThcConfig
from eyas.interfaces.thc_registers import (
    DESCRIPTOR,
    DESCRIPTOR_MAGIC,
    DESCRIPTOR_VERSION,
    ENCODE_WORDS,
    IDENTITY,
    RESULT,
    RESULT_MAGIC,
    THC_REGISTERS,
    VERSION_MAJOR,
    JobKind,
    ThcCode,
)

__all__ = ["ThcAggregator", "ThcEncoder", "ThcError"]

BLOCK = 1 << BLOCK_LOG2
CHUNK_BYTES = 8 << 20
"""Memory that one descriptor's inputs may take; more is cut into several."""
CHUNK_BLOCKS = 4096
RECORD_OFFSET = 128
TAG_OFFSET = DESCRIPTOR.offsets["tag"] // 8
POLLS = 1000
DOORBELL = THC_REGISTERS["doorbell"].offset
INTERRUPT_ENABLE = THC_REGISTERS["interrupt_enable"].offset
INTERRUPT_STATUS = THC_REGISTERS["interrupt_status"].offset
EVERY_CAUSE = THC_REGISTERS["interrupt_status"].pack(done=1, error=1)
RECORD = RecordReader(RESULT, "magic", "code", "tag", "cycles")


class ThcError(BoardError):
    """The overlay refused a command or ended a job with an error.

    Attributes
    ----------
    code : ThcCode or int
        What went wrong; an int where this driver does not know the code.
    """

    def __init__(self, what: str, code: int) -> None:
        known = {int(item): item for item in ThcCode}.get(code)
        self.code: ThcCode | int = code if known is None else known
        if known is None:
            text = f"code {code}, unknown to this driver; take driver and overlay of one release"
        else:
            text = f"{known.name}: {known.text}; {known.remedy}"
        super().__init__(f"{what} was refused with {text}")


class _ThcDriver(OverlayDriver):
    """What both drivers share: one descriptor at a time, memory that is kept."""

    def __init__(self, board: Board) -> None:
        super().__init__(
            board, THC_REGISTERS, name="THC", identity=IDENTITY, version_major=VERSION_MAJOR
        )
        self.config = ThcConfig(**self._read("shape"), **self._read("slot_capacity"))
        self._buffers: dict[str, Buffer] = {}
        self._tag = 0
        self._described: dict[str, int] | None = None
        self.cycles = 0
        """Cycles that the last call's descriptors took."""
        if not self._read("status")["idle"]:
            board.reset()
        self._forget_errors()

    def _close(self) -> None:
        for buffer in self._buffers.values():
            buffer.close()
        self._buffers.clear()

    def counters(self) -> dict[str, int]:
        """Every counter of the overlay, by its register's name; each wraps at 2^32."""
        return self._counters(range(0x40, 0x60))

    def _forget_errors(self) -> None:
        self._write("control", clear_error=1)
        self.board.write_register(INTERRUPT_STATUS, EVERY_CAUSE)

    def _buffer(self, name: str, size: int) -> Buffer:
        """Memory of at least ``size`` bytes, kept from call to call."""
        kept = self._buffers.get(name)
        if kept is not None and kept.nbytes >= size:
            return kept
        if kept is not None:
            del self._buffers[name]
            kept.close()
        self._buffers[name] = self.board.allocate(size)
        return self._buffers[name]

    def _run(self, what: str, cycles: int, timeout_s: float | None, **fields: int) -> None:
        """Have a descriptor worked on; ThcError or BoardTimeout when it does not end well."""
        self._tag = (self._tag + 1) & 0xFFFF
        job = self._buffer("job", RECORD_OFFSET + RESULT.width // 8)
        if fields != self._described:  # else all but the tag stands there since the last time
            descriptor = DESCRIPTOR.pack_bytes(
                {
                    "magic": DESCRIPTOR_MAGIC,
                    "version": DESCRIPTOR_VERSION,
                    "interrupt": 1,
                    "result": job.address + RECORD_OFFSET,
                    **fields,
                }
            )
            job.array[: len(descriptor)] = np.frombuffer(descriptor, np.uint8)
            self._described = fields
        job.array[TAG_OFFSET : TAG_OFFSET + 2].view("<u2")[0] = self._tag
        job.flush()
        board = self.board
        board.write_register(INTERRUPT_ENABLE, EVERY_CAUSE)  # anew: it may have been reset
        board.write_register(DOORBELL, job.address)
        limit = timeout_s or (50 * cycles + 5_000_000) / board.clock_hz
        try:
            board.wait_interrupt(limit, f"{what} to end")
        except BoardTimeout:
            # There is no other way to end what hangs. It closes every job.
            board.reset()
            if self._record(job) is not None:
                raise InterruptLost(what, limit) from None
            raise
        board.write_register(INTERRUPT_STATUS, EVERY_CAUSE)
        record = self._record(job)
        if record is not None and record[0] == ThcCode.NONE:
            self.cycles += record[1]
            return
        code = self._read("error")["code"] or (record[0] if record is not None else ThcCode.NONE)
        self._forget_errors()
        if code != ThcCode.NONE:
            raise ThcError(what, code)
        raise BoardTimeout(f"the record of {what}", limit)

    def _record(self, job: Buffer) -> tuple[int, int] | None:
        """Code and cycles of the job that was rung last; None without its record."""
        job.invalidate()
        magic, code, tag, cycles = RECORD.read(job.array, RECORD_OFFSET)
        return (code, cycles) if magic == RESULT_MAGIC and tag == self._tag else None


class ThcAggregator(_ThcDriver):
    """Adds packed indices on the THC overlay of ``board``, without decompressing them.

    A context manager; leaving it closes its jobs and frees its memory, not the board. After a
    BoardTimeout the overlay has been reset, and every job is closed.

    Parameters
    ----------
    board : Board
        The board that carries the overlay. Its drivers are used one call at a time.

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

    def close_job(self, job: int = 0) -> None:
        """Give the number of ``job`` free; ThcError with JOB_CLOSED when it is not open."""
        self._require_open("close a job")
        self._give_free(job)

    def _give_free(self, job: int) -> None:
        self._write("job_select", job=job)
        self._jobs.pop(job, None)
        self._command(f"Closing job {job}", close=1)

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
            Packed indices (:func:`eyas.interfaces.thc.pack`) of k workers, k up to the job's.
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


class ThcEncoder(_ThcDriver):
    """Encodes gradients on the THC overlay of ``board``, bit for bit as the fixed-point model.

    A context manager; leaving it frees its memory, not the board. After a BoardTimeout the
    overlay has been reset, and every job of an aggregator is closed.

    Parameters
    ----------
    board : Board
        The board that carries the overlay. Its drivers are used one call at a time.

    Attributes
    ----------
    cycles : int
        Cycles that the last :meth:`encode` took.
    """

    def encode(
        self,
        mantissas: npt.NDArray[np.int16],
        multipliers: npt.NDArray[np.integer[Any]],
        table: LookupTable,
        *,
        seed: int,
        step: int,
        worker: int,
        stream: int = 0,
        first: int = 0,
        timeout_s: float | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Return the packed indices of each block, uint8 [blocks, bytes].

        Parameters
        ----------
        mantissas : int16 array [blocks, 1024]
            Coordinates in units of their block's power of two.
        multipliers : integer array [blocks]
            One for each block, 17 bits; 0 for a block of zeros.
        table : LookupTable
            Of the overlay's index bits, granularity up to 63.
        seed, step, worker, stream : int
            What the random bits depend on: 64, 32, 32 and 32 bits.
        first : int
            Number of the first block in its stream.
        timeout_s : float or None
            How long to wait for each descriptor, in seconds of the board's clock.

        Raises
        ------
        ValueError, TypeError
            When an argument has the wrong shape, type or size.
        ThcError, BoardTimeout
            When the overlay ends with an error, or does not end.
        """
        self._require_open("encode")
        words = np.asarray(mantissas)
        factors = np.asarray(multipliers)
        if words.dtype != np.int16:
            raise TypeError(f"Mantissas must be int16, not {words.dtype}")
        if words.ndim != 2 or words.shape[1] != BLOCK or not len(words):
            raise ValueError(f"Mantissas must have shape (blocks, {BLOCK}), not {words.shape}")
        if factors.shape != words.shape[:1] or factors.dtype.kind not in "iu":
            raise ValueError(
                f"There must be {len(words)} integer multipliers, one a block, not "
                f"{factors.dtype} of shape {factors.shape}"
            )
        if factors.min() < 0 or factors.max() >> MULTIPLIER_BITS:
            raise ValueError(f"A multiplier has {MULTIPLIER_BITS} bits, not all of these have")
        if table.bits != self.config.index_bits or table.granularity > ENCODER_GRANULARITY:
            raise ValueError(
                f"The encoder takes tables of {self.config.index_bits} bits and granularities up "
                f"to {ENCODER_GRANULARITY}, not {table.bits} bits and {table.granularity}"
            )
        if first < 0 or first + len(words) > 1 << (35 - BLOCK_LOG2):
            raise ValueError(
                f"Blocks of a stream have numbers below 2^25, not {first} to "
                f"{first + len(words) - 1}"
            )
        entries = int.from_bytes(bytes(table.entries), "little")
        fields = {
            "granularity": table.granularity,
            "seed": seed,
            "step": step,
            "worker": worker + 1,
            "stream": stream,
            "table_low": entries & 0xFFFF_FFFF_FFFF_FFFF,
            "table_high": entries >> 64,
        }
        DESCRIPTOR.pack(fields)  # ValueError for what does not fit, before anything starts
        self.cycles = 0
        indices = np.empty((len(words), packed_size(BLOCK, table.bits)), np.uint8)
        for start in range(0, len(words), CHUNK_BLOCKS):
            chosen = slice(start, start + CHUNK_BLOCKS)
            fields["first"] = first + start
            indices[chosen] = self._encode(words[chosen], factors[chosen], fields, timeout_s)
        return indices

    def _encode(
        self,
        words: npt.NDArray[np.int16],
        factors: npt.NDArray[Any],
        fields: dict[str, int],
        timeout_s: float | None,
    ) -> npt.NDArray[np.uint8]:
        """One descriptor."""
        blocks = len(words)
        size = packed_size(BLOCK, self.config.index_bits)
        source = self._buffer("source", 8 * ENCODE_WORDS * blocks)
        output = self._buffer("output", size * blocks)
        into = source.array[: 8 * ENCODE_WORDS * blocks].view("<i2").reshape(blocks, -1)
        into[:, :4] = factors.astype("<u8")[:, np.newaxis].view("<i2")
        into[:, 4:] = words
        source.flush()
        self._run(
            f"the encoding of {blocks} blocks",
            ENCODE_WORDS * blocks,
            timeout_s,
            kind=JobKind.ENCODE,
            source=source.address,
            count=blocks,
            output=output.address,
            **fields,
        )
        output.invalidate()
        return output.array[: size * blocks].reshape(blocks, size)

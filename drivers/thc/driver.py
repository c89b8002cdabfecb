"""What both drivers of the THC overlay share: one descriptor at a time, memory that is kept."""

from __future__ import annotations

import numpy as np

from drivers.board import Board, Buffer
from drivers.errors import BoardError, BoardTimeout, InterruptLost
from drivers.overlay import OverlayDriver, exclusive
from drivers.records import RecordReader
from eyas.interfaces.thc.config import ThcConfig
from eyas.interfaces.thc.registers import (
    DESCRIPTOR,
    DESCRIPTOR_MAGIC,
    DESCRIPTOR_VERSION,
    IDENTITY,
    RESULT,
    RESULT_MAGIC,
    THC_REGISTERS,
    VERSION_MAJOR,
    ThcCode,
)

__all__ = ["ThcDriver", "ThcError"]

RECORD_OFFSET = 128
TAG_OFFSET = DESCRIPTOR.offsets["tag"] // 8
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


class ThcDriver(OverlayDriver):
    """What both drivers share: one descriptor at a time, memory that is kept."""

    def __init__(self, board: Board) -> None:
        with board.lock:
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

    @exclusive
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

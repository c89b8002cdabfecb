"""A board whose hardware takes no time: for measuring, and counting, what a driver does."""

from __future__ import annotations

from typing import Any

import numpy as np

from drivers.board import Board, Buffer
from drivers.errors import BoardTimeout, OutOfMemory
from drivers.records import RecordReader
from eyas.interfaces.fields import Record, RegisterBlock
from eyas.interfaces.overlays import OverlayDescription

__all__ = ["InstantBoard"]

MEMORY_BASE = 0x1000_0000
PAGE = 4096


class InstantBuffer(Buffer):
    """Memory without caches."""

    def flush(self) -> None:
        pass

    def invalidate(self) -> None:
        pass

    def _free(self) -> None:
        pass


class InstantBoard(Board):
    """Registers and memory that answer at once, and jobs that have ended when they are waited for.

    A job's end is its record, prepared before. Nothing is computed: outputs keep what memory held.

    Parameters
    ----------
    overlay : OverlayDescription
        Whose registers it has.
    descriptor, result : Record
        The overlay's; a record is that of a job that went well.
    magic : int
        Of the record.
    shape : mapping
        Values of the registers that tell what was built, by field.

    Attributes
    ----------
    accesses : int
        Registers read and written so far.
    """

    clock_hz = 100e6

    def __init__(
        self,
        overlay: OverlayDescription,
        descriptor: Record,
        result: Record,
        magic: int,
        shape: dict[str, int],
        memory_bytes: int = 32 << 20,
    ) -> None:
        super().__init__()
        self.accesses = 0
        self._memory = np.zeros(memory_bytes, np.uint8)
        self._free = 0
        self._rung: list[int] = []
        self._registers = _initial(overlay.registers, shape)
        self._doorbell = overlay.registers["doorbell"].offset
        self._cause = overlay.registers["interrupt_status"].offset
        self._job = RecordReader(descriptor, "tag")
        self._result = RecordReader(descriptor, "result")
        self._record = np.frombuffer(result.pack_bytes(magic=magic), np.uint8).copy()
        tag = result.offsets["tag"] // 8
        self._tag = self._record[tag : tag + 2].view("<u2")

    def _read_register(self, offset: int) -> int:
        self.accesses += 1
        return self._registers[offset]

    def _write_register(self, offset: int, value: int) -> None:
        self.accesses += 1
        if offset == self._doorbell:
            self._rung.append(value - MEMORY_BASE)
        elif offset == self._cause:
            self._registers[offset] &= ~value
        else:
            self._registers[offset] = value

    def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> InstantBuffer:
        size = int(np.prod(shape)) * dtype.itemsize
        start = self._free
        left = len(self._memory) - start
        if size > left:
            raise OutOfMemory(size, left, left, len(self._memory))
        self._free += -(-size // PAGE) * PAGE
        memory = self._memory[start : start + size].view(dtype).reshape(shape)
        return InstantBuffer(memory, MEMORY_BASE + start)

    def _wait_interrupt(self, timeout_s: float, waiting_for: str) -> None:
        if not self._rung:
            raise BoardTimeout(waiting_for, timeout_s)
        for start in self._rung:
            self._tag[0] = self._job.read(self._memory, start)[0]
            result = self._result.read(self._memory, start)[0] - MEMORY_BASE
            self._memory[result : result + len(self._record)] = self._record
        self._rung.clear()
        self._registers[self._cause] |= 1

    def _reset(self) -> None:
        self._rung.clear()
        self._registers[self._cause] = 0

    def _close(self) -> None:
        pass


def _initial(registers: RegisterBlock, shape: dict[str, int]) -> dict[int, int]:
    """Every register idle, and what was built."""
    values = {item.offset: item.reset for item in registers.registers}
    for item in registers.registers:
        if set(item.by_name) <= set(shape):
            values[item.offset] = item.pack({name: shape[name] for name in item.by_name})
    values[registers["status"].offset] = registers["status"].pack(idle=1)
    return values

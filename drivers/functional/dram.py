"""The functional board's memory, as the overlay sees it."""

from __future__ import annotations

import mmap
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eyas.interfaces.vision.records import ErrorCode

__all__ = ["MEMORY_BASE", "Dram"]

MEMORY_BASE = 0x1000_0000
"""Physical address of the memory's first byte."""


class _Fault(NamedTuple):
    write: bool
    first: int
    last: int
    code: ErrorCode


class Dram:
    """Bytes from MEMORY_BASE on, and how the memory answers.

    What lies outside is answered with DECERR (:data:`ErrorCode.BUS_DECODE`).

    Parameters
    ----------
    size : int
        Bytes, a multiple of 4096; pages never touched cost nothing.

    Attributes
    ----------
    data : uint8 array [size]
        The memory itself.
    """

    def __init__(self, size: int) -> None:
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.data: npt.NDArray[np.uint8] = np.frombuffer(pages, np.uint8)
        self._faults: list[_Fault] = []

    def read(self, address: int, size: int) -> tuple[ErrorCode, npt.NDArray[np.uint8]]:
        """The answer to a read of ``size`` bytes, and the bytes where it is NONE."""
        start = address - MEMORY_BASE
        code = self._answer(False, address, size)
        return code, self.data[start : start + size] if code == ErrorCode.NONE else self.data[:0]

    def write(self, address: int, values: npt.NDArray[np.uint8]) -> ErrorCode:
        """Write bytes; where the answer is not NONE, nothing."""
        start = address - MEMORY_BASE
        code = self._answer(True, address, len(values))
        if code == ErrorCode.NONE:
            self.data[start : start + len(values)] = values
        return code

    def add_fault(self, write: bool, address: int, size: int, decode: bool) -> None:
        """Answer reads, or writes, of these bytes with an error."""
        code = ErrorCode.BUS_DECODE if decode else ErrorCode.BUS_SLAVE
        self._faults.append(_Fault(write, address, address + size - 1, code))

    def clear_faults(self) -> None:
        """Take every injected error back."""
        self._faults.clear()

    def _answer(self, write: bool, address: int, size: int) -> ErrorCode:
        """The worst answer to any byte of an access."""
        end = address + size
        if not size:
            return ErrorCode.NONE
        if address < MEMORY_BASE or end > MEMORY_BASE + len(self.data):
            return ErrorCode.BUS_DECODE
        met = [
            fault.code
            for fault in self._faults
            if fault.write == write and fault.first < end and fault.last >= address
        ]
        return max(met, default=ErrorCode.NONE)

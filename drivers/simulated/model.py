"""Calls the C functions of ``harness.cpp``: one overlay with its memory, cycle by cycle."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.errors import BoardError, BuildFailed, ProtocolError, RegisterError
from drivers.simulated.memory import MemoryModel

__all__ = ["Model"]

_HANDLE = ctypes.c_void_p
_U64, _U32, _INT = ctypes.c_uint64, ctypes.c_uint32, ctypes.c_int
_PROTOTYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "create": (_HANDLE, (ctypes.c_void_p, _U64, _U64)),
    "destroy": (None, (_HANDLE,)),
    "reset": (None, (_HANDLE,)),
    "error": (ctypes.c_char_p, (_HANDLE,)),
    "set_timing": (None, (_HANDLE, _U64, _U64, _U64, _U64, _U64)),
    "write_register": (_INT, (_HANDLE, _U32, _U32)),
    "read_register": (_INT, (_HANDLE, _U32, ctypes.POINTER(_U32))),
    "interrupt": (_INT, (_HANDLE,)),
    "run": (None, (_HANDLE, _U64, _INT)),
    "run_bare": (None, (_HANDLE, _U64)),
    "counters": (None, (_HANDLE, ctypes.POINTER(_U64))),
    "add_fault": (None, (_HANDLE, _INT, _U64, _U64, _U32)),
    "clear_faults": (None, (_HANDLE,)),
    "lose_interrupts": (None, (_HANDLE, _INT)),
    "trace": (_INT, (_HANDLE, ctypes.c_char_p)),
}
_RESPONSES = {1: "EXOKAY", 2: "SLVERR", 3: "DECERR"}


class Model:
    """One instance of a Verilated overlay; instances share nothing.

    Not for two threads at once. After a ProtocolError only :meth:`reset` and :meth:`close` work.

    Parameters
    ----------
    library : Path
        From :func:`drivers.simulated.build.build_model`.
    memory : ndarray
        Bytes that the overlay reads and writes through its AXI master.
    base : int
        Address of the first one.
    """

    def __init__(self, library: Path, memory: npt.NDArray[np.uint8], base: int) -> None:
        try:
            loaded = ctypes.CDLL(str(library))
        except OSError as error:
            raise BuildFailed(
                f"The simulation model cannot be loaded ({error}); delete {library.parent} to have "
                f"it built again"
            ) from error
        self._call: dict[str, Any] = {}
        for name, (result, arguments) in _PROTOTYPES.items():
            function = loaded[f"board_{name}"]
            function.restype = result
            function.argtypes = arguments
            self._call[name] = function
        self._memory = memory  # outlives the handle
        self._handle = self._call["create"](memory.ctypes.data, base, memory.nbytes)
        self._read_register = self._call["read_register"]
        self._write_register = self._call["write_register"]
        self._word = _U32()
        self._word_reference = ctypes.byref(self._word)
        self._check()

    def close(self) -> None:
        """Destroy the instance, ending a trace. Harmless twice."""
        if self._handle is not None:
            self._call["destroy"](self._handle)
            self._handle = None

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self.close()

    def reset(self) -> None:
        """Hold ``aresetn`` low for 16 cycles; bursts under way are forgotten, memory stays."""
        self._call["reset"](self._handle)
        self._check()

    def set_timing(self, timing: MemoryModel) -> None:
        """Set latency and bandwidth from the next burst on."""
        rate = timing.beats_per_cycle
        self._call["set_timing"](
            self._handle,
            timing.read_latency,
            timing.write_latency,
            rate.numerator if rate else 0,
            rate.denominator if rate else 0,
            timing.outstanding,
        )

    def read_register(self, offset: int) -> int:
        """Return the register at ``offset``; RegisterError where the overlay has none."""
        response = self._read_register(self._handle, offset, self._word_reference)
        if response:
            self._refuse("read", offset, response)
        return self._word.value

    def write_register(self, offset: int, value: int) -> None:
        """Write the register at ``offset``; RegisterError where the overlay has none."""
        response = self._write_register(self._handle, offset, value)
        if response:
            self._refuse("write", offset, response)

    def _refuse(self, action: str, offset: int, response: int) -> None:
        self._check()
        raise RegisterError(action, offset, _RESPONSES.get(response, str(response)))

    @property
    def interrupt(self) -> bool:
        """Whether the interrupt line is high."""
        return bool(self._call["interrupt"](self._handle))

    def run(self, cycles: int, until_interrupt: bool = False) -> None:
        """Run ``cycles`` cycles, or fewer when the interrupt line is awaited and goes high."""
        self._call["run"](self._handle, cycles, until_interrupt)
        self._check()

    def run_bare(self, cycles: int) -> None:
        """Toggle the clock alone: what the model costs without the board. The memory is silent."""
        self._call["run_bare"](self._handle, cycles)

    def counters(self) -> tuple[int, int, int]:
        """Return cycles run, beats read and beats written since the instance was made."""
        values = (_U64 * 3)()
        self._call["counters"](self._handle, values)
        return values[0], values[1], values[2]

    def add_fault(self, write: bool, first: int, last: int, response: int) -> None:
        """Answer reads or writes of the bytes ``first`` to ``last`` with ``response``."""
        self._call["add_fault"](self._handle, write, first, last, response)

    def clear_faults(self) -> None:
        """Take every fault back."""
        self._call["clear_faults"](self._handle)

    def lose_interrupts(self, lose: bool) -> None:
        """While set, the interrupt line is seen low."""
        self._call["lose_interrupts"](self._handle, lose)

    def trace(self, path: Path) -> None:
        """Write a waveform to ``path`` from here on; the library must be built for it."""
        if not self._call["trace"](self._handle, str(path).encode()):
            raise BoardError(f"No waveform can be written to {path}; check the folder")

    def _check(self) -> None:
        message = self._call["error"](self._handle)
        if message:
            raise ProtocolError(message.decode())

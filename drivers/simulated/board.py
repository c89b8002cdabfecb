"""A board whose overlay is RTL that Verilator compiled."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.allocator import ALIGNMENT, Allocator
from drivers.board import Board, Buffer
from drivers.errors import BoardTimeout
from drivers.simulated.build import Progress, Trace, build_model
from drivers.simulated.memory import PYNQ_Z2, MemoryModel
from drivers.simulated.model import Model

__all__ = ["MEMORY_BASE", "SimulatedBoard", "SimulatedBuffer"]

MEMORY_BASE = 0x1000_0000
"""Physical address of the simulated memory's first byte."""

_SLICE = 1 << 18
"""Cycles run in one call while waiting: about a second, so that Ctrl-C is heard."""


class SimulatedBuffer(Buffer):
    """Memory of a simulated board.

    Without caches ``array`` is the overlay's memory itself. With caches it is a copy:
    :meth:`flush` writes it to that memory, :meth:`invalidate` reads it from there.
    """

    def __init__(
        self, memory: npt.NDArray[Any], address: int, allocator: Allocator, caches: bool
    ) -> None:
        super().__init__(memory.copy() if caches else memory, address)
        self._memory = memory
        self._allocator = allocator
        self._caches = caches

    def flush(self) -> None:
        if self._caches:
            self._memory[...] = self.array

    def invalidate(self) -> None:
        if self._caches:
            self.array[...] = self._memory

    def _free(self) -> None:
        self._allocator.free(self.address)


class SimulatedBoard(Board):
    """A board whose overlay is simulated RTL, cycle by cycle, in this process.

    The same calls on the same board take the same cycles each time. Simulated time passes only
    inside :meth:`read_register`, :meth:`write_register`, :meth:`wait_interrupt`, :meth:`reset` and
    :meth:`run`. Boards are independent of each other. Threads may share a board: each access to its
    simulation is alone, under :attr:`lock`.

    Parameters
    ----------
    verilog : str
        The design; its top module has the ports ``aclk``, ``aresetn``, ``s_axi_*`` (AXI4-Lite,
        32 bit), ``m_axi_*`` (AXI4, 64 bit, IDs of 1 bit) and ``interrupt``.
    top : str
        Name of the top module.
    parameters : mapping or None
        Verilog parameters of the top module.
    dram_bytes : int
        Size of the memory, from MEMORY_BASE on; pages never touched cost nothing.
    memory : MemoryModel
        Latency and bandwidth.
    clock_hz : float
        Clock by which timeouts are counted.
    caches : bool
        Model a processor's caches between ``Buffer.array`` and memory: a driver that forgets a
        flush or an invalidate then fails as it would on hardware.
    trace : path or None
        Write a waveform there, FST for ``.fst`` and VCD for any other suffix; needs a model of its
        own, which is several times slower.
    progress : callable or None
        Called with each step of the model's build, when the model is not in the cache.

    Attributes
    ----------
    memory : MemoryModel
        As set last.

    A breach of the bus protocol by the overlay raises ProtocolError; then :meth:`reset`.
    """

    def __init__(
        self,
        verilog: str,
        *,
        top: str,
        parameters: Mapping[str, int] | None = None,
        dram_bytes: int = 64 << 20,
        memory: MemoryModel = PYNQ_Z2,
        clock_hz: float = 100e6,
        caches: bool = False,
        trace: str | Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        if dram_bytes < ALIGNMENT or dram_bytes % ALIGNMENT or dram_bytes > 0xF000_0000:
            raise ValueError(
                f"dram_bytes must be a multiple of {ALIGNMENT} up to 0xf0000000, not {dram_bytes}"
            )
        if not clock_hz > 0:
            raise ValueError(f"A clock must have a positive frequency, not {clock_hz}")
        self.clock_hz = clock_hz
        self._caches = caches
        library = build_model(
            verilog, top=top, parameters=parameters, trace=_kind(trace), progress=progress
        )
        pages = mmap.mmap(-1, dram_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._dram = np.frombuffer(pages, np.uint8)
        self._allocator = Allocator(MEMORY_BASE, dram_bytes)
        self._model = Model(library, self._dram, MEMORY_BASE)
        self.set_memory(memory)
        if trace is not None:
            self._model.trace(Path(trace))

    # What every board does.

    def _read_register(self, offset: int) -> int:
        with self.lock:
            return self._model.read_register(offset)

    def _write_register(self, offset: int, value: int) -> None:
        with self.lock:
            self._model.write_register(offset, value)

    def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> SimulatedBuffer:
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        address = self._allocator.allocate(size)
        start = address - MEMORY_BASE
        memory = self._dram[start : start + size]
        memory[:] = 0
        return SimulatedBuffer(
            memory.view(dtype).reshape(shape), address, self._allocator, self._caches
        )

    def _wait_interrupt(self, timeout_s: float, waiting_for: str) -> None:
        limit = max(1, round(timeout_s * self.clock_hz))
        end = self.cycles + limit
        while not self._model.interrupt:
            left = end - self.cycles
            if left <= 0:
                raise BoardTimeout(waiting_for, timeout_s, f"{limit} cycles")
            self._model.run(min(left, _SLICE), until_interrupt=True)

    def _reset(self) -> None:
        self._model.reset()

    def _close(self) -> None:
        self._model.close()

    # What only a simulated board offers.

    @property
    def cycles(self) -> int:
        """Clock cycles since the board was made."""
        return self._counters()[0]

    @property
    def read_beats(self) -> int:
        """64-bit beats that the overlay has read from memory."""
        return self._counters()[1]

    @property
    def write_beats(self) -> int:
        """64-bit beats that the overlay has written to memory."""
        return self._counters()[2]

    def _counters(self) -> tuple[int, int, int]:
        self._require_open("count cycles")
        with self.lock:
            return self._model.counters()

    def run(self, cycles: int) -> None:
        """Let ``cycles`` cycles pass."""
        self._require_open("run")
        for start in range(0, cycles, _SLICE):
            with self.lock:
                self._model.run(min(_SLICE, cycles - start))

    def run_bare(self, cycles: int) -> None:
        """Toggle the overlay's clock ``cycles`` times and do nothing else, for benchmarks.

        The memory answers no access in the meantime.
        """
        self._require_open("run")
        with self.lock:
            self._model.run_bare(cycles)

    def set_memory(self, memory: MemoryModel) -> None:
        """Change latency and bandwidth."""
        self._require_open("set the memory's speed")
        self._model.set_timing(memory)
        self.memory = memory

    def inject_read_error(self, address: int, size: int, *, decode: bool = False) -> None:
        """Answer reads of these bytes with SLVERR, or with DECERR, and no data."""
        self._inject(False, address, size, decode)

    def inject_write_error(self, address: int, size: int, *, decode: bool = False) -> None:
        """Answer writes of these bytes with SLVERR, or with DECERR, and store nothing there."""
        self._inject(True, address, size, decode)

    def _inject(self, write: bool, address: int, size: int, decode: bool) -> None:
        self._require_open("inject an error")
        if size < 1:
            raise ValueError(f"An error needs at least 1 byte to happen at, not {size}")
        self._model.add_fault(write, address, address + size - 1, 3 if decode else 2)

    def lose_interrupts(self, lose: bool = True) -> None:
        """Hide the interrupt line from :meth:`wait_interrupt`, until called with False."""
        self._require_open("lose interrupts")
        self._model.lose_interrupts(lose)

    def clear_faults(self) -> None:
        """Take every injected error and lost interrupt back."""
        self._require_open("clear faults")
        self._model.clear_faults()
        self._model.lose_interrupts(False)


def _kind(trace: str | Path | None) -> Trace:
    """The format of a waveform's file."""
    if trace is None:
        return None
    return "fst" if Path(trace).suffix.lower() == ".fst" else "vcd"

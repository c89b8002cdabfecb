"""A PYNQ-Z2 whose overlays are simulated RTL, as a device of PYNQ.

What PYNQ code does on the board it does here, in one process on any machine: ``Overlay``,
``register_map``, ``MMIO``, ``allocate``, ``Interrupt``, ``Clocks``, and our drivers::

    Device.active_device = SimulatedPynqZ2()
    engine = Overlay(str(write_stand_in("vision", folder))).vision_0

:mod:`drivers.simulated.pynq.run` does so for a whole script. Needs PYNQ (3.1.2 or
4.0.0), which needs numpy 1.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pynq.ps
from pynq import Clocks
from pynq.buffer import PynqBuffer
from pynq.interrupt import _InterruptController
from pynq.pl_server.device import Device
from pynqmetadata.frontends import Metadata

from drivers.errors import (
    BoardTimeout,
    NoBoard,
    OutOfMemory,
    OverlayFileMissing,
    RegisterError,
    WrongOverlay,
)
from drivers.real.pynq_waiting import INTERRUPT_ID
from drivers.simulated.board import SimulatedBoard, SimulatedBuffer
from drivers.simulated.pynq.slcr import SLCR, SLCR_SIZE, SystemRegisters
from drivers.simulated.switch import switch_board
from drivers.simulated.thc import thc_board
from drivers.simulated.vision import vision_board
from eyas.interfaces.overlays import OVERLAYS, REGISTER_BASE
from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.vision.config import SMALL_VISION

try:
    from pynqmetadata.views.runtime import RuntimeMetadataParser  # PYNQ 4
except ImportError:
    from pynq.metadata.runtime_metadata_parser import RuntimeMetadataParser

__all__ = ["BOARDS", "SMALL_BOARDS", "SMALL_SWITCH", "BoardFactory", "SimulatedPynqZ2"]

BoardFactory = Callable[[], SimulatedBoard]

SMALL_SWITCH = SwitchConfig(slots=16, slot_bytes=64, jobs=8, ingress_beats=64, egress_rows=16)
"""A switch with room for a few sums."""

# With caches: a driver that forgets a flush or an invalidate fails here as it does on the board.
BOARDS: Mapping[str, BoardFactory] = {
    "vision": partial(vision_board, caches=True),
    "thc": partial(thc_board, caches=True),
    "switch": partial(switch_board, caches=True),
}
"""What makes the board of each overlay."""
SMALL_BOARDS: Mapping[str, BoardFactory] = {
    **BOARDS,
    "vision": partial(vision_board, SMALL_VISION, caches=True),
    "switch": partial(switch_board, SMALL_SWITCH, caches=True),
}
"""The same with a small vision array and a small switch, which build in seconds."""

STEP = 1 << 14
"""Cycles between two looks at other tasks of the event loop, while an interrupt is waited for."""
STEP_PAUSE_S = 1e-4
"""What those tasks get between two such steps, at least."""

_numbers = itertools.count()


class SimulatedPynqZ2(Device):  # type: ignore[misc]  # PYNQ is untyped
    """A PYNQ-Z2 with simulated overlays, one at a time.

    Simulated time passes in register accesses, and while an interrupt or the clock is waited for.
    Threads may use drivers and registers; loading another overlay is for one alone. Each overlay
    has a memory of its own: a buffer does not outlive a change of overlay.

    Parameters
    ----------
    boards : mapping or None
        Overlay to what makes its board; by default :data:`BOARDS`. Made when first loaded.

    Attributes
    ----------
    board : SimulatedBoard
        The overlay that is loaded, for counters and faults; NoBoard before the first one.
    clock : object
        The board's time in simulated seconds, ``now()`` and ``sleep(seconds)``.
    """

    capabilities = {"REGISTER_RW": True}
    arch = "armv7l"
    name = "Pynq-Z2 (simulated)"

    def __init__(self, boards: Mapping[str, BoardFactory] | None = None) -> None:
        super().__init__(f"simulated-{os.getpid()}-{next(_numbers)}")
        if pynq.__version__.startswith("3.0."):
            pynq.ps.CPU_ARCH = self.arch  # later ones ask the device whose clocks they set
        self._factories = BOARDS if boards is None else boards
        self._boards: dict[str, SimulatedBoard] = {}
        self._loaded: str | None = None
        self._system = SystemRegisters(self._reset_overlay, self._set_clock)
        self.clock = _SimulatedClock(self)
        self.bitfile_name = None

    # What PYNQ asks of a device.

    def get_bitfile_metadata(self, bitfile_name: str, partial: bool = False) -> Any:
        """Read the hardware description beside the bitstream."""
        path = Path(bitfile_name).with_suffix(".hwh")
        if not path.exists():
            raise OverlayFileMissing(path)
        if hasattr(Clocks, "_real_instance"):
            del Clocks._real_instance  # PYNQ keeps the clocks of the first device for ever
        return RuntimeMetadataParser(Metadata(input=path))

    def download(self, bitstream: Any, parser: Any = None) -> None:
        """Load the overlay that the hardware description names, fresh from reset."""
        types = [str(entry.get("type")) for entry in parser.ip_dict.values()]
        found = [name for name, item in OVERLAYS.items() if item.vlnv in types]
        if not found:
            raise WrongOverlay(
                f"{bitstream.bitfile_name} holds none of {', '.join(sorted(self._factories))}; "
                f"the simulated PYNQ-Z2 has no other overlay"
            )
        self.load(found[0])
        self.post_download(bitstream, parser, self.name)

    def load(self, name: str) -> None:
        """Put the overlay ``name`` on the board, fresh from reset."""
        if name not in self._factories:
            raise WrongOverlay(
                f"The simulated PYNQ-Z2 has no overlay {name!r}; it has "
                f"{', '.join(sorted(self._factories))}"
            )
        if name not in self._boards:
            self._boards[name] = self._factories[name]()
        self._loaded = name
        self.board.reset()
        self._set_clock(self._system.fclk0_hz)
        # PYNQ looks here for the line of the processor's interrupt controller, then in /proc.
        _InterruptController._uio_devices[INTERRUPT_ID] = _Interrupts(self)

    @property
    def board(self) -> SimulatedBoard:
        """The overlay that is loaded."""
        if self._loaded is None:
            raise NoBoard("The simulated PYNQ-Z2 carries no overlay yet; load one with Overlay(…)")
        return self._boards[self._loaded]

    def run(self, cycles: int) -> bool:
        """Let ``cycles`` cycles pass, fewer when the interrupt comes; return whether it is there.

        When it was there before, all of them pass.
        """
        board = self.board
        with board.lock:
            before = board.cycles
            try:
                board.wait_interrupt(cycles / board.clock_hz, "time to pass")
            except BoardTimeout:
                return False
            if board.cycles == before:
                board.run(cycles)
            return True

    def read_registers(self, address: int, length: int) -> bytes:
        """Read words of the overlay, or of the system's control registers."""
        _require_words(address, length)
        return b"".join(
            self._read(at).to_bytes(4, "little") for at in range(address, address + length, 4)
        )

    def write_registers(self, address: int, data: bytes) -> None:
        """Write words likewise."""
        _require_words(address, len(data))
        for start in range(0, len(data), 4):
            self._write(address + start, int.from_bytes(data[start : start + 4], "little"))

    def allocate(
        self, shape: Any, dtype: npt.DTypeLike, cacheable: bool = True, **options: Any
    ) -> PynqBuffer:
        """Return a buffer in the simulated DRAM; RuntimeError, as on a board, when it is full."""
        dimensions = shape if isinstance(shape, (tuple, list)) else (shape,)
        try:
            memory = self.board.allocate(tuple(dimensions), dtype)
        except OutOfMemory as error:
            raise RuntimeError(f"BO allocation failed: {error}") from error
        assert isinstance(memory, SimulatedBuffer)
        array = memory.array if cacheable else memory._memory  # the latter is what RTL sees
        buffer = _SimulatedMemory(
            array.shape, array.dtype, buffer=array, device=self, device_address=memory.address,
            bo=memory, coherent=not cacheable,
        )  # fmt: skip
        buffer.memory = self  # PYNQ's mark of what owns its memory; a view has none
        return buffer

    def flush(self, bo: SimulatedBuffer, offset: int, ptr: int, size: int) -> None:
        """Write the processor's cache back: the whole buffer, as the board's driver does."""
        bo.flush()

    def invalidate(self, bo: SimulatedBuffer, offset: int, ptr: int, size: int) -> None:
        """Read the buffer anew."""
        bo.invalidate()

    def close(self) -> None:
        """Destroy the simulations; loading an overlay makes new ones."""
        for board in self._boards.values():
            board.close()
        self._boards.clear()
        self._loaded = None

    # Inside.

    def _read(self, address: int) -> int:
        if SLCR <= address < SLCR + SLCR_SIZE:
            return self._system.read(address - SLCR)
        board = self.board
        with board.lock:
            return board.read_register(self._offset("read", address))

    def _write(self, address: int, value: int) -> None:
        if SLCR <= address < SLCR + SLCR_SIZE:
            self._system.write(address - SLCR, value)
        else:
            board = self.board
            with board.lock:
                board.write_register(self._offset("write", address), value)

    def _offset(self, action: str, address: int) -> int:
        size = OVERLAYS[self._loaded].registers.size if self._loaded else 0
        if not REGISTER_BASE <= address < REGISTER_BASE + size:
            raise RegisterError(action, address, "nothing: no register is at this address")
        return address - REGISTER_BASE

    def _reset_overlay(self) -> None:
        if self._loaded is not None:
            self.board.reset()

    def _set_clock(self, hertz: float) -> None:
        if self._loaded is not None:
            self.board.clock_hz = hertz


def _require_words(address: int, length: int) -> None:
    if address < 0 or address % 4 or length < 1 or length % 4:
        raise ValueError(
            f"Registers are accessed by words of 4 bytes, not {length} bytes at {address:#x}"
        )


class _SimulatedMemory(PynqBuffer):  # type: ignore[misc]  # PYNQ is untyped
    """A buffer that is not unmapped, but given back to the simulated DRAM."""

    freed: bool

    def freebuffer(self) -> None:
        """Free the memory, where this is no view. Harmless twice."""
        if hasattr(self, "memory") and not self.freed:
            self.freed = True
            self.bo.close()


class _SimulatedClock:
    """The board's time."""

    def __init__(self, device: SimulatedPynqZ2) -> None:
        self._device = device

    def now(self) -> float:
        board = self._device.board
        return board.cycles / board.clock_hz

    def sleep(self, seconds: float) -> None:
        """Let time pass; until the interrupt, when it comes meanwhile."""
        self._device.run(max(1, round(seconds * self._device.board.clock_hz)))


class _Interrupts:
    """The interrupt line, where PYNQ expects a UIO device: time passes while somebody waits."""

    def __init__(self, device: SimulatedPynqZ2) -> None:
        self._device = device
        self._waiting: list[Any] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def add_event(self, event: Any, number: int) -> None:
        """Set ``event`` when the line is high."""
        loop = asyncio.get_running_loop()
        if not self._waiting or self._loop is not loop:
            self._loop = loop
            loop.call_soon(self._step)
        self._waiting.append(event)

    def _step(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop or not self._waiting:
            return
        if self._device.run(STEP):
            waiting, self._waiting = self._waiting, []
            for event in waiting:
                event.set()
        else:
            loop.call_later(STEP_PAUSE_S, self._step)

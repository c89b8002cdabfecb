"""An overlay on a PYNQ-Z2 as a board: PYNQ's MMIO, ``allocate``, clocks and interrupt.

PYNQ 3.0.1 to 3.1.2 on the board itself; the same code over PYNQ.remote, and on the simulated
PYNQ-Z2 of :mod:`drivers.simulated.pynq.device`. PYNQ is imported when a board is opened.
"""

from __future__ import annotations

import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from drivers.board import Board, Buffer
from drivers.errors import (
    BoardTimeout,
    BufferFreed,
    EyasError,
    NoBoard,
    OutOfMemory,
    OverlayFileMissing,
    OverlayNotLoaded,
    RegisterError,
    WrongOverlay,
)
from drivers.real.board_lock import BoardLock
from drivers.real.pynq_finding import find_device, require_pynq, require_root
from drivers.real.pynq_waiting import InterruptLine, find_clock, find_interrupt
from eyas.interfaces.overlays import CLOCK_HZ, OVERLAYS, REGISTER_BASE, OverlayDescription

__all__ = ["PynqBoard", "PynqMemory", "require_pynq"]

ARCHITECTURE = "armv7l"
"""What PYNQ calls a Zynq-7000."""
SLCR, SLCR_SIZE = 0xF800_0000, 0x1000
"""The processing system's control registers."""
SLCR_UNLOCK, SLCR_KEY = 0x008, 0xDF0D
FPGA_RST_CTRL, FCLK0_RESET = 0x240, 1
"""Holding the bit keeps the overlay in reset."""

POLL_S = 50e-6
"""Between two looks while jobs are ended."""
ABORT_S = 0.01
"""How long jobs under way may take to end before a reset."""


class PynqMemory(Buffer):
    """A buffer of ``pynq.allocate``.

    ``flush`` and ``invalidate`` are PYNQ's; on memory that is not cached they do nothing.
    """

    def __init__(self, memory: Any) -> None:
        # The plain array: slices of PYNQ's own class cost microseconds each.
        super().__init__(memory.view(np.ndarray), int(memory.device_address))
        self._memory = memory

    def flush(self) -> None:
        self._allocated().flush()

    def invalidate(self) -> None:
        self._allocated().invalidate()

    def _free(self) -> None:
        self._memory.freebuffer()
        self._memory = None

    def _allocated(self) -> Any:
        if self._memory is None:
            raise BufferFreed
        return self._memory


class PynqBoard(Board):
    """One of our overlays behind PYNQ.

    Use :meth:`open`, or take the driver that PYNQ makes itself: ``Overlay("vision.bit").vision_0``.
    One process uses an overlay at a time; a second board of the same process takes the place of
    the first, which is closed. (Running a notebook's cell again does that.)

    Parameters
    ----------
    mmio : pynq.MMIO
        The overlay's registers.
    overlay : OverlayDescription
        What the overlay is.
    interrupt : pynq.Interrupt or None
        Awaited where this thread has an event loop that is not running; else the overlay's status
        is polled.
    lock : BoardLock or None
        When the caller holds the overlay's lock already.

    Attributes
    ----------
    cacheable : bool
        Whether :meth:`allocate` gives cached memory, as it does at first. Memory that is not
        cached needs no flush and no invalidate, and the processor reads it slowly.
    device : pynq.Device
        Where the overlay runs.

    Raises
    ------
    NoBoard
        When the device is no Zynq-7000.
    BoardBusy
        When another process uses the overlay.
    """

    _in_use: weakref.WeakValueDictionary[str, PynqBoard] = weakref.WeakValueDictionary()
    _opening = threading.RLock()
    """One thread at a time: PYNQ finds devices and loads bitstreams without a lock of its own."""

    def __init__(
        self,
        mmio: Any,
        overlay: OverlayDescription,
        *,
        interrupt: Any = None,
        lock: BoardLock | None = None,
    ) -> None:
        super().__init__()
        pynq = require_pynq()
        self.device = mmio.device
        architecture = getattr(self.device, "arch", ARCHITECTURE)
        if architecture != ARCHITECTURE:
            raise NoBoard(
                f"The overlays run on a Zynq-7000 ({ARCHITECTURE}), the device is {architecture}; "
                f"use a PYNQ-Z2"
            )
        self.overlay = overlay
        self.cacheable = True
        with self._opening:
            self._lock = lock or self._claim(self.device, mmio.base_addr)
            self._in_use[self._lock.name] = self
        try:
            self._mmio = mmio
            # On the board the registers are an array in memory; elsewhere only MMIO's methods do.
            self._words = mmio.array if isinstance(mmio.array, np.ndarray) else None
            self._offsets = {item.offset for item in overlay.registers.registers}
            self._slcr = pynq.MMIO(SLCR, SLCR_SIZE, device=self.device)
            self._clock = find_clock(self.device)
            self._line = InterruptLine(interrupt, self._clock)
            try:
                self.clock_hz = pynq.Clocks.fclk0_mhz * 1e6
            except RuntimeError:  # PYNQ does not know the clocks of this device
                self.clock_hz = float(CLOCK_HZ)
            self._status = overlay.registers["interrupt_status"].offset
            self._enable = overlay.registers["interrupt_enable"].offset
            self._enabled = self._read_register(self._enable)
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, bitstream: str | Path, *, device: Any = None, download: bool = True) -> PynqBoard:
        """Load an overlay and return its board.

        Parameters
        ----------
        bitstream : path
            ``vision.bit``, with ``vision.hwh`` beside it.
        device : pynq.Device or None
            By default PYNQ's active device.
        download : bool
            False leaves what the board carries as it is.

        Raises
        ------
        NoBoard, OverlayFileMissing, BoardBusy
            Before anything is loaded; NoBoard says why there is no device.  PYNQ's own
            ``Overlay(…)`` loads first and asks later: where several processes use a board, open it
            here.
        OverlayNotLoaded, WrongOverlay
            When PYNQ cannot load it, or it is another release's.
        """
        path = Path(bitstream).absolute()
        pynq = require_pynq()
        for file in (path, path.with_suffix(".hwh")):
            if not file.exists():
                raise OverlayFileMissing(file)
        with cls._opening:
            return cls._open(pynq, path, device or find_device(pynq), download)

    @classmethod
    def _open(cls, pynq: Any, path: Path, device: Any, download: bool) -> PynqBoard:
        lock = cls._claim(device, REGISTER_BASE)
        try:
            overlay = cls._loaded(pynq, path, device=device, download=download)
            description = cls._described(overlay, path)
            entry = overlay.ip_dict[description.instance]
            mmio = pynq.MMIO(entry["phys_addr"], entry["addr_range"], device=device)
            return cls(
                mmio,
                description,
                interrupt=find_interrupt(pynq, device, description),
                lock=lock,
            )
        except BaseException as error:
            lock.release()
            require_root(error)
            raise

    @staticmethod
    def _loaded(pynq: Any, path: Path, **options: Any) -> Any:
        try:
            return pynq.Overlay(str(path), **options)
        except EyasError:
            raise
        except Exception as error:  # PYNQ's parsers and loaders raise whatever meets them
            require_root(error)
            reason = f"{type(error).__name__}: {error}"
            raise OverlayNotLoaded(path, " ".join(reason.split())) from error

    @staticmethod
    def _described(overlay: Any, path: Path) -> OverlayDescription:
        """Which of our overlays this is; WrongOverlay when none, or of another version."""
        types = {name: entry.get("type") for name, entry in overlay.ip_dict.items()}
        for description in OVERLAYS.values():
            found = types.get(description.instance)
            if found == description.vlnv:
                return description
            if found:
                raise WrongOverlay(
                    f"{path.name} holds {found}, this release's driver is for {description.vlnv}; "
                    f"take driver and overlay of one release"
                )
        raise WrongOverlay(
            f"{path.name} holds none of {', '.join(sorted(OVERLAYS))}, but "
            f"{', '.join(sorted(types)) or 'nothing'}; load one of Eyas's bitstreams"
        )

    @classmethod
    def _claim(cls, device: Any, address: int) -> BoardLock:
        """The right to use the overlay; an older board of this process gives it up."""
        where = getattr(device, "ip_addr", "") or ""
        name = f"{device.tag}{where}-{address:08x}"
        older = cls._in_use.get(name)
        if older is not None:
            older.close()
        return BoardLock(name)

    # What every board does.

    def _read_register(self, offset: int) -> int:
        self._require_register("read", offset)
        if self._words is not None:
            return int(self._words[offset >> 2])
        # PYNQ.remote of 3.1.2 gives signed numbers.
        return int(self._mmio.read(offset)) & 0xFFFF_FFFF

    def _write_register(self, offset: int, value: int) -> None:
        self._require_register("write", offset)
        if self._words is not None:
            self._words[offset >> 2] = value
        else:
            self._mmio.write(offset, value)
        if offset == self._enable:
            self._enabled = value

    def _require_register(self, action: str, offset: int) -> None:
        # On the board an access that the overlay refuses ends the process: none is made.
        if offset not in self._offsets:
            raise RegisterError(action, offset, "nothing, for it has none there")

    def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> PynqMemory:
        try:
            buffer = PynqMemory(
                require_pynq().allocate(shape, dtype, target=self.device, cacheable=self.cacheable)
            )
        except (RuntimeError, MemoryError) as error:
            raise OutOfMemory(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize) from error
        buffer.array[...] = 0
        buffer.flush()
        return buffer

    def _wait_interrupt(self, timeout_s: float, waiting_for: str) -> None:
        if self._line_is_high():
            return
        end = self._clock.now() + timeout_s
        while True:
            self._line.wait_a_while()
            late = self._clock.now() >= end  # before the look, so that there is one after the end
            if self._line_is_high():
                return
            if late:
                raise BoardTimeout(waiting_for, timeout_s)

    def interrupt_arrives(self) -> bool | None:
        self._require_open("wait for the interrupt")
        return self._line.wait_a_while()

    def _line_is_high(self) -> bool:
        return bool(self._read_register(self._status) & self._enabled)

    def _reset(self) -> None:
        """FCLK_RESET0 of the processing system, held for a moment.

        An overlay that owes a memory port data when it is reset can leave that port stuck until the
        board restarts: jobs under way are ended first, where the overlay can.
        """
        registers = self.overlay.registers
        if "abort" in registers["control"].by_name:
            self._write_register(registers["control"].offset, registers["control"].pack(abort=1))
            end = self._clock.now() + ABORT_S
            status = registers["status"]
            while self._clock.now() < end:
                if status.unpack(self._read_register(status.offset))["idle"]:
                    break
                self._clock.sleep(POLL_S)
        self._slcr.write(SLCR_UNLOCK, SLCR_KEY)
        held = int(self._slcr.read(FPGA_RST_CTRL))
        for value in (held | FCLK0_RESET, held & ~FCLK0_RESET):
            self._slcr.write(FPGA_RST_CTRL, value)
            self._slcr.read(FPGA_RST_CTRL)  # the write has arrived when this is answered
        self._enabled = 0

    def _close(self) -> None:
        self._lock.release()

"""What every driver asks of a board, whichever overlay it carries.

A driver is written against :class:`Board` alone, so that the same code runs on the simulated
overlay and on a real one.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from drivers.errors import BoardClosed, BufferFreed

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Board", "Buffer"]


class Buffer(ABC):
    """Memory that the processor and the overlay share; given by :meth:`Board.allocate`.

    The processor's caches stand between the two: call :meth:`flush` after writing ``array`` and
    before the overlay reads, :meth:`invalidate` after the overlay has written and before reading
    ``array``. A context manager; leaving it frees the memory.

    Attributes
    ----------
    address : int
        Physical address, as the overlay counts; a multiple of 4096.
    """

    address: int

    def __init__(self, array: npt.NDArray[Any], address: int) -> None:
        self._array: npt.NDArray[Any] | None = array
        self.address = address

    @property
    def array(self) -> npt.NDArray[Any]:
        """The memory as a NumPy array; BufferFreed once it was freed."""
        if self._array is None:
            raise BufferFreed
        return self._array

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.array.nbytes

    @abstractmethod
    def flush(self) -> None:
        """Make what the processor wrote visible to the overlay."""

    @abstractmethod
    def invalidate(self) -> None:
        """Make what the overlay wrote visible to the processor."""

    @abstractmethod
    def _free(self) -> None:
        """Give the memory back; called once."""

    def close(self) -> None:
        """Free the memory. Views of ``array`` must not be used any more. Harmless twice."""
        if self._array is not None:
            self._array = None
            self._free()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Board(ABC):
    """One overlay with its registers, its memory and its interrupt.

    A context manager; leaving it closes the board. Every method raises BoardClosed afterwards.
    A subclass implements the methods that begin with an underscore.

    Threads may share a board through its drivers, whose calls come one after the other
    (:class:`drivers.overlay.OverlayDriver`), and so do waits, resets, allocations and closing.
    Registers are read and written without the lock, a word at a time, as hardware allows; a thread
    that does so itself, or on a simulated board, takes ``lock``.

    Attributes
    ----------
    clock_hz : float
        Frequency of the overlay's clock, by which timeouts are counted.
    lock : threading.RLock
        Take it for calls that belong together, as ``with board.lock:``; a thread that has it may
        call anything.
    """

    clock_hz: float

    def __init__(self) -> None:
        self._closed = False
        # The board's and not a driver's: drivers of one overlay share registers and interrupt.
        self.lock = threading.RLock()

    def read_register(self, offset: int) -> int:
        """Return the 32-bit register at byte ``offset``.

        Raises RegisterError when the overlay has none there.
        """
        self._require_open("read a register")
        return self._read_register(self._checked_offset(offset))

    def write_register(self, offset: int, value: int) -> None:
        """Write the 32-bit register at byte ``offset``.

        Raises RegisterError when the overlay has none there.
        """
        self._require_open("write a register")
        if not 0 <= value <= 0xFFFF_FFFF:
            raise ValueError(f"A register holds 0 to 2^32 - 1, not {value}")
        self._write_register(self._checked_offset(offset), int(value))

    def allocate(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike = np.uint8) -> Buffer:
        """Return zeroed memory shared with the overlay; OutOfMemory when there is none left."""
        dimensions = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        if any(size < 1 for size in dimensions):
            raise ValueError(f"Every dimension of a buffer must be at least 1, not {dimensions}")
        with self.lock:
            self._require_open("allocate memory")  # another thread may have closed it
            return self._allocate(dimensions, np.dtype(dtype))

    def wait_interrupt(self, timeout_s: float, waiting_for: str) -> None:
        """Return when the overlay's interrupt line is high; at once if it already is.

        The line stays high until software clears its cause in the overlay.

        Parameters
        ----------
        timeout_s : float
            Seconds of the board's clock: on a simulated board, ``timeout_s · clock_hz`` cycles.
        waiting_for : str
            What the caller waits for, named in BoardTimeout.
        """
        with self.lock:
            self._require_open(f"wait for {waiting_for}")
            if not (timeout_s > 0 and math.isfinite(timeout_s)):
                raise ValueError(f"A timeout must be a positive number of seconds, not {timeout_s}")
            self._wait_interrupt(timeout_s, waiting_for)

    def interrupt_arrives(self) -> bool | None:
        """Whether the processor gets the interrupt whose cause stands in the overlay now.

        :meth:`wait_interrupt` may look at the overlay where an interrupt is lost; this does not.
        None where there is no interrupt to be had, and the overlay is looked at all the time.
        """
        self._require_open("wait for the interrupt")
        return True

    def reset(self) -> None:
        """Bring the overlay to its state after power-on; buffers keep place and contents."""
        with self.lock:
            self._require_open("reset")
            self._reset()

    def close(self) -> None:
        """Release the board, once a call of another thread is over. Harmless twice."""
        with self.lock:
            if not self._closed:
                self._closed = True
                self._close()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _require_open(self, action: str) -> None:
        if self._closed:
            raise BoardClosed(action)

    @staticmethod
    def _checked_offset(offset: int) -> int:
        if offset < 0 or offset % 4:
            raise ValueError(f"A register's offset must be a multiple of 4, not {offset}")
        return int(offset)

    @abstractmethod
    def _read_register(self, offset: int) -> int: ...

    @abstractmethod
    def _write_register(self, offset: int, value: int) -> None: ...

    @abstractmethod
    def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Buffer: ...

    @abstractmethod
    def _wait_interrupt(self, timeout_s: float, waiting_for: str) -> None: ...

    @abstractmethod
    def _reset(self) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...

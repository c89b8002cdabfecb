"""Places buffers in the memory of a board that this process plays."""

from __future__ import annotations

from drivers.errors import OutOfMemory

__all__ = ["ALIGNMENT", "Allocator"]

ALIGNMENT = 4096
"""Every region starts on a multiple of this, as pages do on a board."""


class Allocator:
    """First fit in one range of addresses.

    Parameters
    ----------
    base : int
        First address, a multiple of ALIGNMENT.
    size : int
        Bytes, a multiple of ALIGNMENT.
    """

    def __init__(self, base: int, size: int) -> None:
        self._base = base
        self._size = size
        self._used: list[tuple[int, int]] = []  # (start, end), in order

    def allocate(self, size: int) -> int:
        """Return the address of a free region of ``size`` bytes; OutOfMemory when none is left."""
        wanted = -(-size // ALIGNMENT) * ALIGNMENT
        for index, (start, end) in enumerate(self._gaps()):
            if end - start >= wanted:
                self._used.insert(index, (start, start + wanted))
                return start
        gaps = [end - start for start, end in self._gaps()]
        raise OutOfMemory(size, largest=max(gaps), free=sum(gaps), total=self._size)

    def free(self, address: int) -> None:
        """Give back the region that starts at ``address``."""
        for index, (start, _) in enumerate(self._used):
            if start == address:
                del self._used[index]
                return
        raise ValueError(f"No region starts at {address:#x}")

    def _gaps(self) -> list[tuple[int, int]]:
        """Return the free ranges in order: before each used range, and after the last one."""
        starts = [self._base, *(end for _, end in self._used)]
        ends = [*(start for start, _ in self._used), self._base + self._size]
        return list(zip(starts, ends, strict=True))

"""One user at a time: a lock file that goes with the process, however that ends."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from pathlib import Path

from drivers.errors import BoardBusy

__all__ = ["BoardLock"]


class BoardLock:
    """The right to use one overlay, held until :meth:`release` or the end of the process.

    Parameters
    ----------
    name : str
        What is locked; the same in every process, such as ``"embedded_xrt0-40000000"``.

    Raises BoardBusy, with the number of the process that holds it.
    """

    _descriptor: int | None = None
    _holder = 0

    def __init__(self, name: str) -> None:
        self.name = name
        safe = re.sub(r"[^A-Za-z0-9.-]", "_", name)
        self.path = Path(tempfile.gettempdir()) / f"eyas-{safe}.lock"
        descriptor = self._open()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise BoardBusy(name, holder, self.path) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor, self._holder = descriptor, os.getpid()

    def _open(self) -> int:
        """The file, of whichever user made it; what it says is left."""
        while True:
            try:
                return os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                pass
            try:  # exclusively: Linux forbids opening another's file in /tmp to create it
                made = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL)
            except FileExistsError:
                continue
            os.fchmod(made, 0o666)  # root and other users exclude each other too
            return made

    def release(self) -> None:
        """Let the next one in. Harmless twice.

        The file stays: removing it would let two processes hold locks on two files of one name.
        """
        if self._descriptor is not None:
            # A forked child shares the lock: without this it would keep it from the next one, and
            # it must not give up what its parent holds.
            if os.getpid() == self._holder:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.release()

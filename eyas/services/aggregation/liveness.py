"""Which workers are alive, whatever they are doing: signs of life in the rendezvous store.

A worker that validates, or waits for its data, takes part in no collective; it is slow and not
dead.  So each worker has a thread that counts in the store, and says so when the process ends.
"""

from __future__ import annotations

import atexit
import contextlib
import enum
import threading
import time

from torch._C._distributed_c10d import Store

__all__ = ["Liveness", "Sign"]

_PERIOD = 0.5
"""Seconds between two signs of life."""
_JOIN = 5.0
"""Seconds in which the thread must end; it waits for nothing but the store's answer."""


class Sign(enum.Enum):
    """What is known of a worker."""

    ABSENT = "has not joined the group"
    SILENT = "gave no sign of life"
    ENDED = "has closed its hook or ended"
    ALIVE = "is alive, but elsewhere"
    WAITING = "waits, as this worker does"


_UNSEEN = (Sign.ABSENT, Sign.SILENT)


class Liveness:
    """This worker's signs of life, and a look at the others'.

    Parameters
    ----------
    store : Store
        Of the workers of one group alone; a connection of its own, on which nothing blocks.
    rank, size : int
        This worker's number and how many there are.
    """

    def __init__(self, store: Store, rank: int, size: int) -> None:
        self._store = store
        self._rank = rank
        self._size = size
        self._stop = threading.Event()
        store.add(f"life/{rank}", 1)
        self._thread = threading.Thread(
            target=_count, args=(store, rank, self._stop), name="eyas-life", daemon=True
        )
        self._thread.start()
        # A daemon thread must not run into the interpreter's end.
        atexit.register(self.close)

    @property
    def joined(self) -> bool:
        """Whether all workers have joined the group."""
        return self._store.check([f"life/{rank}" for rank in range(self._size)])

    @property
    def somebody_left(self) -> bool:
        """Whether a worker has closed its hook or ended, by itself."""
        return self._store.check(["left"])

    def wait(self) -> None:
        """Tell the others that this worker waits for them, and cannot go on."""
        self._store.set(f"waiting/{self._rank}", "1")

    def look(self, grace: float) -> dict[int, Sign]:
        """What the other workers are found to do within ``grace`` seconds.

        Earlier when all of them wait or have ended.  RuntimeError when the store is gone.
        """
        others = [rank for rank in range(self._size) if rank != self._rank]
        first = {rank: self._life(rank) for rank in others}
        signs = {rank: Sign.SILENT if first[rank] else Sign.ABSENT for rank in others}
        last = time.monotonic() + grace
        while True:
            for rank in others:
                if self._store.check([f"waiting/{rank}"]):
                    signs[rank] = Sign.WAITING
                elif self._store.check([f"ended/{rank}"]):
                    signs[rank] = Sign.ENDED
                elif signs[rank] in _UNSEEN and self._life(rank) != first[rank]:
                    signs[rank] = Sign.ALIVE
            settled = all(sign in (Sign.WAITING, Sign.ENDED) for sign in signs.values())
            if settled or time.monotonic() >= last:
                return signs
            time.sleep(0.05)

    def close(self) -> None:
        """Say that this worker takes part no longer; may be called twice."""
        self._stop.set()
        self._thread.join(_JOIN)
        atexit.unregister(self.close)

    def _life(self, rank: int) -> int:
        key = f"life/{rank}"
        return int(self._store.get(key)) if self._store.check([key]) else 0


def _count(store: Store, rank: int, stop: threading.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the store is gone, and with it whoever looks
        while not stop.wait(_PERIOD):
            store.add(f"life/{rank}", 1)
        store.set(f"ended/{rank}", "1")
        store.set("left", "1")

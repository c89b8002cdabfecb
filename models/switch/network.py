"""A network that loses, doubles, delays and reorders packets, the same for the same seed."""

from __future__ import annotations

import enum
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["Fate", "Hop", "LossyNetwork"]


class Hop(enum.Enum):
    """One direction between two participants."""

    TO_SWITCH = "worker to switch"
    TO_WORKER = "switch to worker"
    TO_SERVER = "switch to server"
    FROM_SERVER = "server to switch"


class Fate(enum.IntEnum):
    """What becomes of a packet on a hop."""

    ARRIVES = 0
    LOST = 1
    DOUBLED = 2
    """A copy comes soon."""
    LATE = 3
    """It comes after others that were sent later."""
    ECHOED = 4
    """It arrives, and a copy of it arrives later."""


@dataclass
class LossyNetwork:
    """Decides for each packet on each hop when it arrives: never, once or twice.

    Parameters
    ----------
    seed : int
    loss, duplication, reorder : float
        Shares of packets on each hop, 0 to 1: lost; doubled (half of the copies are delayed);
        delayed.
    quiet_after : float
        From this time on nothing is lost or doubled any more.
    fates : iterable of Fate
        Of the first packets, before chance takes over.
    delay, lateness : float
        A hop takes one to two times ``delay``, what is late up to ``lateness`` more.
    """

    seed: int = 0
    loss: float = 0.0
    duplication: float = 0.0
    reorder: float = 0.0
    quiet_after: float = float("inf")
    fates: Iterable[Fate] = ()
    delay: float = 1.0
    lateness: float = 60.0
    counters: dict[Fate, int] = field(default_factory=lambda: dict.fromkeys(Fate, 0))

    def __post_init__(self) -> None:
        for name in ("loss", "duplication", "reorder"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name.capitalize()} is a share from 0 to 1, not {value}")
        if self.loss + self.duplication + self.reorder > 1:
            raise ValueError("Loss, duplication and reorder together are at most 1")
        self._random = random.Random(self.seed)
        self._fates = iter(self.fates)

    def arrivals(self, now: float) -> list[float]:
        """When a packet that is sent now arrives."""
        fate = self._fate(now)
        self.counters[fate] += 1
        soon, late = self._soon(now), now + self.delay + self.lateness * self._random.random()
        return {
            Fate.ARRIVES: [soon],
            Fate.LOST: [],
            Fate.DOUBLED: [soon, self._soon(now)],
            Fate.LATE: [late],
            Fate.ECHOED: [soon, late],
        }[fate]

    def _soon(self, now: float) -> float:
        return now + self.delay * (1 + self._random.random())

    def _fate(self, now: float) -> Fate:
        if now >= self.quiet_after:
            return Fate.ARRIVES
        told = next(self._fates, None)
        if told is not None:
            return told
        draw = self._random.random()
        for share, fate in (
            (self.loss, Fate.LOST),
            (self.duplication / 2, Fate.DOUBLED),
            (self.duplication / 2, Fate.ECHOED),
            (self.reorder, Fate.LATE),
        ):
            if draw < share:
                return fate
            draw -= share
        return Fate.ARRIVES

"""What the switch remembers: an entry for each job, a record for each slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eyas.interfaces.switch.packet import Lanes
from eyas.interfaces.switch.states import SlotState

__all__ = ["JobEntry", "SlotRecord"]


@dataclass(frozen=True)
class JobEntry:
    """An entry of the job table.

    Attributes
    ----------
    workers, needed : int
        Workers, 1 to 32; contributions that complete a sum: all of them, or a quorum.
    lanes : Lanes
    table : sequence of 16 int
        What a worker's indices stand for; unused with INT32.
    base, size : int
        The job's own slots under SWITCHML: the first, and how many, a power of two.
    """

    enabled: bool = False
    epoch: int = 0
    workers: int = 1
    needed: int = 1
    lanes: Lanes = Lanes.UINT8
    table: Sequence[int] = tuple(range(16))
    base: int = 0
    size: int = 2


@dataclass
class SlotRecord:
    """The record of a slot; the fields of an EMPTY one have no meaning."""

    state: SlotState = SlotState.EMPTY
    job: int = 0
    epoch: int = 0
    seq: int = 0
    priority: int = 0
    bitmap: int = 0
    count: int = 0
    age: int = 0
    collisions: int = 0
    lanes: Lanes = Lanes.UINT8
    coordinates: int = 0

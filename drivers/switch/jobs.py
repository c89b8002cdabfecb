"""A training job's setup on the switch, and the rules it must keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.packet import MAX_WORKERS, Lanes
from eyas.interfaces.switch.states import Policy
from eyas.interfaces.thc.formats import LookupTable, check_sums

__all__ = ["SwitchJob"]

INDEX_BITS = 4


@dataclass(frozen=True)
class SwitchJob:
    """What a job is enabled with.

    Attributes
    ----------
    workers : int
        1 to 32.
    lanes : Lanes
        Width of its sums.
    table : LookupTable or None
        What the workers' indices stand for; None with int32 lanes.
    quorum : int or None
        Contributions after which a sum goes to the server; None: those of all workers.
    epoch : int
        0 to 255.
    partition : (int, int) or None
        The job's own slots under SWITCHML: the first, and how many.
    """

    workers: int
    lanes: Lanes = Lanes.UINT8
    table: LookupTable | None = None
    quorum: int | None = None
    epoch: int = 0
    partition: tuple[int, int] | None = None

    @property
    def needed(self) -> int:
        """Contributions that complete a sum in the switch."""
        return self.workers if self.quorum is None else self.quorum

    def check(self, policy: Policy, config: SwitchConfig, others: Mapping[int, SwitchJob]) -> None:
        """Raise ValueError or TypeError unless the switch can take the job beside ``others``."""
        if not 1 <= self.workers <= MAX_WORKERS:
            raise ValueError(
                f"A job has 1 to {MAX_WORKERS} workers, for each of which the bitmap has a bit, "
                f"not {self.workers}"
            )
        if not 1 <= self.needed <= self.workers:
            raise ValueError(
                f"A quorum of {self.workers} workers is 1 to {self.workers}, not {self.needed}"
            )
        if not 0 <= self.epoch <= 255:
            raise ValueError(f"An epoch is 0 to 255, not {self.epoch}")
        self._check_table()
        if policy is not Policy.SWITCHML:
            if self.partition is not None:
                raise ValueError(
                    f"Slots of a job's own are SWITCHML's; under {policy.name} leave partition out"
                )
            return
        if self.needed < self.workers:
            raise ValueError(
                "SWITCHML has no server that could decide a quorum; leave quorum out, or choose "
                "another policy"
            )
        self._check_partition(config, others)

    def _check_table(self) -> None:
        if self.lanes is Lanes.INT32:
            if self.table is not None:
                raise ValueError("Int32 lanes add values, not indices; leave the table out")
            return
        if not isinstance(self.table, LookupTable):
            raise TypeError(f"{self.lanes.name} lanes need a LookupTable, not {self.table!r}")
        if self.table.bits != INDEX_BITS:
            raise ValueError(
                f"The switch's indices have {INDEX_BITS} bits, the table is for "
                f"{self.table.bits}; solve the table for {INDEX_BITS}"
            )
        check_sums(self.table.granularity, self.workers, 8 * self.lanes.dtype.itemsize)

    def _check_partition(self, config: SwitchConfig, others: Mapping[int, SwitchJob]) -> None:
        if self.partition is None:
            raise ValueError("SWITCHML gives every job slots of its own; name its partition")
        first, size = self.partition
        if size < 2 or size & (size - 1):
            raise ValueError(
                f"A partition is two sets of slots: 2, 4, 8 and so on slots in all, not {size}"
            )
        if first % size:
            raise ValueError(
                f"A partition of {size} slots starts at a multiple of {size}, not at {first}"
            )
        if not 0 <= first <= config.slots - size:
            raise ValueError(
                f"The switch has slots 0 to {config.slots - 1}, the partition is {first} to "
                f"{first + size - 1}"
            )
        for number, other in others.items():
            if other.partition is None:
                continue
            start, length = other.partition
            if first < start + length and start < first + size:
                raise ValueError(
                    f"Slots {first} to {first + size - 1} overlap with job {number}'s, {start} to "
                    f"{start + length - 1}; choose others"
                )

"""Gives the switch overlay's driver the methods that the loop-back system calls on a switch."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from eyas.interfaces.switch.packet import Lanes
from eyas.interfaces.switch.states import Outcome, Policy
from eyas.interfaces.thc.formats import LookupTable
from models.switch.records import JobEntry

if TYPE_CHECKING:
    from drivers.switch.switch import Switch as SwitchDriver

__all__ = ["BoardSwitch"]


class BoardSwitch:
    """The switch overlay, with the methods that :class:`models.switch.system.System` calls.

    Its ageing scan goes by the overlay's own clock, not by :meth:`scan`, which only takes out what
    has left.
    """

    def __init__(self, driver: SwitchDriver) -> None:
        self._driver = driver

    def receive(self, frame: bytes) -> list[bytes]:
        """Post a frame; what leaves until the switch is idle."""
        return self._driver.exchange([frame])

    def scan(self, slot: int) -> list[bytes]:
        """What aged slots made leave."""
        return self._driver.reap()

    def flush(self, job: int) -> list[bytes]:
        """What leaves because a job was closed."""
        return self._driver.reap()

    def configure(self, job: int, entry: JobEntry) -> None:
        """Enable or close a job."""
        if not entry.enabled:
            self._driver.close_job(job)
            return
        self._driver.configure(
            job,
            entry.workers,
            lanes=entry.lanes,
            table=None if entry.lanes is Lanes.INT32 else LookupTable(entry.table),
            quorum=entry.needed if entry.needed < entry.workers else None,
            epoch=entry.epoch,
            partition=(
                (entry.base, entry.size) if self._driver.policy is Policy.SWITCHML else None
            ),
        )

    @property
    def counters(self) -> Counter[tuple[int, Outcome]]:
        """What became of packets, by job and outcome."""
        return Counter(
            {
                (job, outcome): count
                for job in self._driver.jobs
                for outcome, count in self._driver.outcomes(job).items()
            }
        )

"""Switch, servers, workers and a lossy network in one process, which exchange THC's gradients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.packet import Packet, PacketKind
from eyas.interfaces.switch.states import Outcome, Policy, SlotState
from eyas.services.loopback.board_switch import BoardSwitch
from eyas.services.loopback.gradient_job import GradientJob, PreparedJob
from models.switch.golden import GoldenSwitch, SwitchSettings
from models.switch.network import Hop, LossyNetwork
from models.switch.system import System
from models.thc.codec import Codec

if TYPE_CHECKING:
    from drivers.switch.switch import Switch as SwitchDriver

__all__ = ["JobReport", "Loopback", "partition"]

LIMIT = 10_000_000.0
"""Units of virtual time after which something is wrong."""
SCAN_PERIOD = 40.0
"""Between two looks at a slot of the golden switch."""
AGE_LIMIT = 8


@dataclass(frozen=True)
class JobReport:
    """How one training job went; times in units of a hop's delay.

    ``equal``: all workers decoded the same bits, every round.  ``right``: every sum is that of the
    workers of its bitmap, as the PyTorch reference adds them.
    """

    job: int
    priority: int
    workers: int
    rounds: int
    packets: int
    completions: int
    preemptions: int
    evictions: int
    passed: int
    resends: int
    reminders: int
    queries: int
    finished: float
    error: float
    equal: bool
    right: bool

    def as_dict(self) -> dict[str, object]:
        """The fields by name."""
        return asdict(self)


def partition(slots: int, jobs: int) -> int:
    """Slots of each job under SWITCHML: the largest power of two that all can have."""
    size = 1 << max(0, (slots // jobs).bit_length() - 1)
    if slots < 2 * jobs:
        raise ValueError(
            f"Under switchml each of {jobs} jobs needs 2 slots of its own: {slots} are too few"
        )
    return size


@dataclass
class Loopback:
    """Sends the gradients of several training jobs through one switch.

    Parameters
    ----------
    jobs : sequence of GradientJob
    slots : int
        A power of two, 1 to 256 (RTL: to what it has).
    policy : Policy
    network : LossyNetwork
    codec : Codec
    window : int
        W of each worker; at most half of a job's slots under SWITCHML.
    epoch : int
        Of all jobs' packets; another one than a driver's last.
    driver : drivers.switch.switch.Switch or None
        The RTL; None: the golden switch.  Its jobs are closed at the end.
    progress : callable or None
        Told of results delivered, and how many there will be.

    Attributes
    ----------
    prepared : list of PreparedJob
        The jobs with what was delivered.
    reports : list of JobReport
        After :meth:`run`, by job.
    history : list of (time, slot, job or −1)
        Who holds which slot from when on (golden switch only).
    deliveries : list of (time, job)
        When a worker got a result.
    """

    jobs: Sequence[GradientJob]
    slots: int = 4
    policy: Policy = Policy.ESA
    network: LossyNetwork = field(default_factory=LossyNetwork)
    codec: Codec = field(default_factory=Codec.default)
    window: int = 4
    epoch: int = 0
    driver: SwitchDriver | None = None
    progress: Callable[[int, int], None] | None = None
    prepared: list[PreparedJob] = field(default_factory=list, init=False)
    reports: list[JobReport] = field(default_factory=list, init=False)
    history: list[tuple[float, int, int]] = field(default_factory=list, init=False)
    deliveries: list[tuple[float, int]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if not 1 <= self.slots <= 256 or self.slots & (self.slots - 1):
            raise ValueError(f"Slots are a power of two from 1 to 256, not {self.slots}")
        if not self.jobs:
            raise ValueError("There is no job to run")
        self._own = 2
        if self.policy is Policy.SWITCHML:
            self._own = partition(self.slots, len(self.jobs))

    def run(self) -> list[JobReport]:
        """Run all jobs to their end.

        Raises
        ------
        ValueError
            For sums that do not fit their lanes, and other settings that cannot work.
        models.switch.system.Stuck
            When a job does not end, which is a fault of ours.
        """
        self.prepared = prepared = [
            PreparedJob(number, source, self.codec, self.policy, self.window, self._own, self.epoch)
            for number, source in enumerate(self.jobs)
        ]
        switch = self._switch()
        system = System(switch, self.slots, self.network, scan_period=SCAN_PERIOD, tap=self._tap)
        self._system = system
        self._total = sum(len(items) for each in prepared for items in each.job.contributions)
        for each in prepared:
            system.add(each.job)
        system.run(LIMIT)
        counters = switch.counters
        for each in prepared:
            terms = each.job.terms
            switch.configure(terms.job, replace(terms.entry, enabled=False))
        self.reports = [self._report(each, system, counters) for each in prepared]
        return self.reports

    def _switch(self) -> GoldenSwitch | BoardSwitch:
        if self.driver is not None:
            self.driver.set_policy(self.policy, slots=self.slots)
            self.driver.clear_counters()
            return BoardSwitch(self.driver)
        return _Watched(
            SwitchConfig(slots=max(2, self.slots), jobs=32),
            SwitchSettings(
                self.policy, slots_log2=self.slots.bit_length() - 1, age_limit=AGE_LIMIT
            ),
            watcher=self._watch,
        )

    def _report(
        self, each: PreparedJob, system: System, counters: Counter[tuple[int, Outcome]]
    ) -> JobReport:
        job, number = each.job, each.job.terms.job
        rounds, workers = range(len(each.source.gradients)), range(job.terms.entry.workers)
        return JobReport(
            job=number,
            priority=each.source.priority,
            workers=len(workers),
            rounds=len(rounds),
            packets=system.sent[number, Hop.TO_SWITCH, PacketKind.DATA],
            completions=counters[number, Outcome.COMPLETED],
            preemptions=counters[number, Outcome.PREEMPTED],
            evictions=counters[number, Outcome.EVICTED],
            passed=counters[number, Outcome.PASSED],
            resends=sum(worker.resends for worker in job.workers),
            reminders=job.server.counters["reminders"],
            queries=job.server.counters["queries"],
            finished=round(job.ended_at or 0.0, 3),
            error=sum(each.error(step) for step in rounds) / len(rounds),
            equal=all(
                torch.equal(each.decode(0, step), each.decode(worker, step))
                for step in rounds
                for worker in workers
            ),
            right=all(each.exact(worker, step) for step in rounds for worker in workers),
        )

    def _tap(self, now: float, hop: Hop, packet: Packet) -> None:
        if self.progress is not None:
            jobs = self._system.jobs.values()
            self.progress(sum(len(log) for job in jobs for log in job.delivered), self._total)
        if hop is Hop.TO_WORKER and packet.kind is PacketKind.RESULT:
            self.deliveries.append((now, packet.job))

    def _watch(self, slot: int, owner: int) -> None:
        self.history.append((self._system.now, slot, owner))


class _Watched(GoldenSwitch):
    """A golden switch that tells who holds a slot after each packet and look."""

    def __init__(
        self, config: SwitchConfig, settings: SwitchSettings, watcher: Callable[[int, int], None]
    ) -> None:
        super().__init__(config, settings)
        self._watcher = watcher
        self._owners: dict[int, int] = {}

    def receive(self, frame: bytes) -> list[bytes]:
        out = super().receive(frame)
        self._tell()
        return out

    def scan(self, slot: int, flush: int | None = None) -> list[bytes]:
        out = super().scan(slot, flush)
        self._tell()
        return out

    def _tell(self) -> None:
        if self.event is None:
            return
        record = self.records[self.event.slot]
        owner = record.job if record.state is SlotState.BUSY else -1
        if self._owners.get(self.event.slot, -1) != owner:
            self._owners[self.event.slot] = owner
            self._watcher(self.event.slot, owner)

"""Switch, servers, workers and network in one process, in virtual time."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import count
from typing import Protocol

from eyas.interfaces.switch.packet import Packet, PacketKind
from models.switch.network import Hop, LossyNetwork
from models.switch.records import JobEntry
from models.switch.server import Server
from models.switch.terms import JobEnded, JobTerms
from models.switch.worker import Delivery, Worker

__all__ = ["Contribution", "Job", "Stuck", "Switch", "System", "upstream"]


_parse = lru_cache(maxsize=256)(Packet.from_bytes)
"""Copies of a packet are parsed once."""


class Switch(Protocol):
    """What the system needs of a switch; the golden switch and the RTL behind a driver have it."""

    def receive(self, frame: bytes) -> list[bytes]:
        """Work on a frame; what leaves."""

    def scan(self, slot: int) -> list[bytes]:
        """Look at a slot; what leaves."""

    def flush(self, job: int) -> list[bytes]:
        """Empty a job's slots; what leaves."""

    def configure(self, job: int, entry: JobEntry) -> None:
        """Set an entry of the job table."""


class Stuck(RuntimeError):
    """Jobs did not end in the time they were given."""


@dataclass(frozen=True)
class Contribution:
    """What a worker submits: payload, coordinates, priority."""

    payload: bytes
    coordinates: int
    priority: int = 128


@dataclass
class Job:
    """A job in the system: its terms, what each worker contributes, when each starts.

    ``delivered`` has each worker's results, in the order in which they came.
    """

    terms: JobTerms
    contributions: Sequence[Sequence[Contribution]]
    starts: Sequence[float] = ()
    workers: list[Worker] = field(init=False)
    server: Server = field(init=False)
    delivered: list[list[Delivery]] = field(init=False)
    ended_at: float | None = None

    def __post_init__(self) -> None:
        workers = self.terms.entry.workers
        if len(self.contributions) != workers:
            raise ValueError(f"{workers} workers contribute, not {len(self.contributions)}")
        self.starts = self.starts or (0.0,) * workers
        self.workers = [Worker(self.terms, number) for number in range(workers)]
        self.server = Server(self.terms)
        self.delivered = [[] for _ in range(workers)]

    @property
    def over(self) -> bool:
        """Every worker has finished, or knows that the job ended."""
        return all(worker.finished or worker.ended for worker in self.workers)

    @property
    def ended(self) -> JobEnded | None:
        """Why the job ended early."""
        return next((worker.ended for worker in self.workers if worker.ended), None)


def upstream(packet: Packet) -> bool:
    """Whether a packet that leaves the switch goes to the server as well as, or instead of, to
    workers."""
    if packet.kind is PacketKind.RESULT:
        return not packet.from_server
    return packet.kind not in (PacketKind.QUERY, PacketKind.BYE_ACK)


class System:
    """Runs jobs through a switch and a network until all are over.

    Parameters
    ----------
    switch : Switch
        Its jobs are configured here.
    slots : int
        Slots that the ageing scan looks at.
    network : LossyNetwork
    scan_period : float
        Time between two looks; 0: no scan.
    tap : callable or None
        Called with each packet that leaves: time, hop, packet.

    Attributes
    ----------
    now : float
        The time, in units of the network's delay.
    jobs : dict of int to Job
    sent : Counter of (job, Hop, PacketKind)
    """

    def __init__(
        self,
        switch: Switch,
        slots: int,
        network: LossyNetwork,
        scan_period: float = 0.0,
        tap: Callable[[float, Hop, Packet], None] | None = None,
    ) -> None:
        self.switch = switch
        self.now = 0.0
        self.jobs: dict[int, Job] = {}
        self.sent: Counter[tuple[int, Hop, PacketKind]] = Counter()
        self._slots = slots
        self._network = network
        self._scan_period = scan_period
        self._tap = tap
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._awake: dict[object, float] = {}
        if scan_period:
            self._at(scan_period, partial(self._scan, 0))

    def add(self, job: Job) -> None:
        """Enable a job and let its workers start."""
        number = job.terms.job
        if number in self.jobs and not self.jobs[number].over:
            raise ValueError(f"Job {number} is running: replace it")
        self.jobs[number] = job
        self.switch.configure(number, replace(job.terms.entry, enabled=True))
        for worker, start in enumerate(job.starts):
            self._at(self.now + start, partial(self._start, job, worker))

    def replace(self, job: Job) -> None:
        """Change a running job: stop it, flush its slots, enable it in its new epoch."""
        number = job.terms.job
        old = self.jobs[number]
        if old.terms.epoch == job.terms.epoch:
            raise ValueError(
                f"Job {number} changes, so its epoch must change from {job.terms.epoch}"
            )
        self.switch.configure(number, replace(old.terms.entry, enabled=False))
        self._leave_switch(self.switch.flush(number))
        del self.jobs[number]
        self.add(job)

    def run(self, until: float) -> None:
        """Go on until all jobs are over; Stuck when they are not by ``until``."""
        if not self.advance(until):
            names = ", ".join(str(n) for n, job in self.jobs.items() if not job.over)
            raise Stuck(f"after {until:g} units of time these jobs are not over: {names}")

    def advance(self, until: float) -> bool:
        """Go on until then, or until all jobs are over; returns whether they are."""
        while not all(job.over for job in self.jobs.values()):
            if not self._events or self._events[0][0] > until:
                return False
            self.now, _, event = heapq.heappop(self._events)
            event()
            self._note_ends()
        return True

    def _note_ends(self) -> None:
        for job in self.jobs.values():
            if job.ended_at is None and job.over:
                job.ended_at = self.now

    def _at(self, time: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), event))

    def _start(self, job: Job, worker: int) -> None:
        for item in job.contributions[worker]:
            job.workers[worker].submit(item.payload, item.coordinates, item.priority)
        job.workers[worker].close()
        self._attend(job, job.workers[worker], [])

    def _attend(self, job: Job, who: Worker | Server, out: list[bytes]) -> None:
        """Send what a worker or server has to send, and call it again at its deadline."""
        if self.jobs.get(job.terms.job) is not job:
            return
        out = out + who.poll(self.now)
        hop = Hop.FROM_SERVER
        if isinstance(who, Worker):
            hop = Hop.TO_SWITCH
            while who.deliveries:
                job.delivered[who.worker].append(who.deliveries.popleft())
        for data in out:
            self._send(hop, data, partial(self._to_switch, data))
        deadline = who.deadline
        if deadline is not None and self._awake.get(who, -1.0) != deadline:
            self._awake[who] = deadline
            self._at(deadline, partial(self._wake, job, who, deadline))

    def _wake(self, job: Job, who: Worker | Server, deadline: float) -> None:
        if self._awake.get(who) == deadline:
            del self._awake[who]
            self._attend(job, who, [])

    def _send(self, hop: Hop, data: bytes, arrive: Callable[[], None]) -> None:
        packet = _parse(data)
        self.sent[packet.job, hop, packet.kind] += 1
        if self._tap is not None:
            self._tap(self.now, hop, packet)
        for time in self._network.arrivals(self.now):
            self._at(time, arrive)

    def _scan(self, slot: int) -> None:
        self._leave_switch(self.switch.scan(slot))
        self._at(self.now + self._scan_period, partial(self._scan, (slot + 1) % self._slots))

    def _to_switch(self, data: bytes) -> None:
        self._leave_switch(self.switch.receive(data))

    def _to_server(self, number: int, data: bytes) -> None:
        job = self.jobs[number]
        self._attend(job, job.server, job.server.receive(data, self.now))

    def _to_worker(self, number: int, worker: int, data: bytes) -> None:
        job = self.jobs[number]
        if worker < len(job.workers):
            self._attend(job, job.workers[worker], job.workers[worker].receive(data, self.now))

    def _leave_switch(self, packets: Sequence[bytes]) -> None:
        """Copy a packet that leaves the switch to everyone that it is for."""
        for data in packets:
            packet = _parse(data)
            if upstream(packet):
                self._send(Hop.TO_SERVER, data, partial(self._to_server, packet.job, data))
            receivers = packet.destinations if packet.kind is PacketKind.RESULT else 0
            if packet.kind in (PacketKind.QUERY, PacketKind.BYE_ACK):
                receivers = 1 << packet.worker
            for worker in range(receivers.bit_length()):
                if receivers >> worker & 1:
                    self._send(
                        Hop.TO_WORKER, data, partial(self._to_worker, packet.job, worker, data)
                    )

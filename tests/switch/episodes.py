"""Random episodes: jobs, a switch and a network that does its worst; and what must hold in each."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from hypothesis import strategies as st

from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.packet import Lanes, Packet, PacketKind
from eyas.interfaces.switch.states import Outcome, Policy
from eyas.interfaces.thc.formats import pack
from models.switch.golden import GoldenSwitch, SwitchSettings
from models.switch.network import Fate, Hop, LossyNetwork
from models.switch.records import JobEntry
from models.switch.system import Contribution, Job, Switch, System
from models.switch.terms import JobTerms

CONFIG = SwitchConfig(slots=16, slot_bytes=32, jobs=4, ingress_beats=16, egress_rows=8)
QUIET_AFTER = 500.0
"""When losses stop."""
LIMIT = 20_000.0
"""When every job must be over."""
OWN_SLOTS = 4
"""Of each job under SWITCHML."""

_LANES_MOST = {Lanes.UINT8: 255, Lanes.UINT16: 65535}


@dataclass(frozen=True)
class JobShape:
    """What an episode says of a job."""

    workers: int
    packets: int
    needed: int
    window: int
    first: int
    lanes: Lanes
    priority: int
    skew: tuple[float, ...]


@dataclass(frozen=True)
class Episode:
    """All that decides how an episode goes."""

    policy: Policy
    slots_log2: int
    decay_after: int
    age_limit: int
    jobs: tuple[JobShape, ...]
    seed: int
    loss: float
    duplication: float
    reorder: float
    fates: tuple[Fate, ...] = ()
    lone_result: bool = False
    """All copies of the switch's first results are lost but one."""
    changes_at: float | None = None
    """When job 0 is stopped and starts again in another epoch."""

    @property
    def settings(self) -> SwitchSettings:
        """What software sets in the switch."""
        return SwitchSettings(
            self.policy, self.decay_after, self.slots_log2, self.seed & 0xFFFF, self.age_limit
        )


@st.composite
def episodes(draw: st.DrawFn, policies: tuple[Policy, ...] = tuple(Policy)) -> Episode:
    """Any episode; small ones first."""
    policy = draw(st.sampled_from(policies))
    shapes = []
    for _ in range(draw(st.integers(1, 3))):
        workers = draw(st.integers(1, 4))
        quorum = policy is not Policy.SWITCHML and draw(st.booleans())
        shapes.append(
            JobShape(
                workers,
                packets=draw(st.integers(1, 14 if policy is Policy.SWITCHML else 7)),
                needed=draw(st.integers(1, workers)) if quorum else workers,
                window=draw(st.integers(1, 2 if policy is Policy.SWITCHML else 4)),
                first=draw(st.sampled_from((0, 1, (1 << 32) - 2, (1 << 31) - 1, (1 << 32) - 9))),
                lanes=draw(st.sampled_from(Lanes)),
                priority=draw(st.sampled_from((1, 100, 100, 255))),
                skew=tuple(draw(st.sampled_from((0.0, 0.0, 7.0, 90.0))) for _ in range(workers)),
            )
        )
    return Episode(
        policy,
        slots_log2=draw(st.integers(0, 2)),
        decay_after=draw(st.sampled_from((0, 1, 3))),
        age_limit=draw(st.sampled_from((0, 1, 8))),
        jobs=tuple(shapes),
        seed=draw(st.integers(0, (1 << 32) - 1)),
        loss=draw(st.sampled_from((0.0, 0.05, 0.3))),
        duplication=draw(st.sampled_from((0.0, 0.1, 0.3))),
        reorder=draw(st.sampled_from((0.0, 0.1, 0.3))),
        fates=tuple(draw(st.lists(st.sampled_from(Fate), max_size=24))),
        lone_result=draw(st.booleans()),
        changes_at=draw(st.sampled_from((None, None, 10.0, 60.0))),
    )


@dataclass
class LoneResult(LossyNetwork):
    """Loses all copies but one of the switch's own results, as long as losses last."""

    lone: bool = False
    told: Packet | None = None
    hop: Hop | None = None
    seen: set[tuple[int, int, int]] = field(default_factory=set)

    def tell(self, now: float, hop: Hop, packet: Packet) -> None:
        """What is sent next."""
        self.told, self.hop = packet, hop

    def arrivals(self, now: float) -> list[float]:
        packet = self.told
        if not self.lone or now >= self.quiet_after or packet is None:
            return super().arrivals(now)
        if packet.kind is not PacketKind.RESULT or packet.from_server:
            return super().arrivals(now)
        key = (packet.job, packet.epoch, packet.seq)
        if self.hop is Hop.TO_WORKER and key not in self.seen:
            self.seen.add(key)
            return [now + self.delay]
        return []


@lru_cache(maxsize=4096)
def values_of(seed: int, terms: JobTerms, worker: int, number: int) -> np.ndarray:
    """What a worker adds to a key, as integers."""
    place = f"{seed} {terms.job} {terms.epoch} {worker} {number}"
    rng = random.Random(place)
    coordinates = random.Random(f"{seed} {terms.job} {terms.epoch} {number}").randint(1, 5)
    if terms.entry.lanes is Lanes.INT32:
        most = ((1 << 31) - 1) // terms.entry.workers
        return np.array(
            [rng.choice((rng.randint(-most, most), most, -most)) for _ in range(coordinates)]
        )
    return np.array([terms.entry.table[rng.randrange(16)] for _ in range(coordinates)])


@lru_cache(maxsize=4096)
def sums_of(seed: int, terms: JobTerms, bitmap: int, number: int) -> np.ndarray:
    """What the workers of a bitmap sum up to, each once."""
    members = [w for w in range(terms.entry.workers) if bitmap >> w & 1]
    total = sum(values_of(seed, terms, worker, number) for worker in members)
    return np.minimum(total, _LANES_MOST.get(terms.entry.lanes, 1 << 31))


def terms_of(episode: Episode, job: int, epoch: int) -> JobTerms:
    """The terms of an episode's job in an epoch."""
    shape = episode.jobs[job]
    entries = random.Random(f"{episode.seed} {job} {epoch}").choices(range(256), k=16)
    entry = JobEntry(
        epoch=epoch,
        workers=shape.workers,
        needed=shape.needed,
        lanes=shape.lanes,
        table=tuple(sorted(entries)),
        base=job * OWN_SLOTS,
        size=OWN_SLOTS,
    )
    return JobTerms(
        job, entry, episode.policy, shape.window, shape.first, timeout=16.0, dead=10 * LIMIT
    )


def job_of(episode: Episode, job: int, epoch: int) -> Job:
    """An episode's job with its contributions."""
    shape, terms = episode.jobs[job], terms_of(episode, job, epoch)
    contributions = [
        [_contribution(episode, terms, worker, number) for number in range(shape.packets)]
        for worker in range(shape.workers)
    ]
    return Job(terms, contributions, shape.skew)


def _contribution(episode: Episode, terms: JobTerms, worker: int, number: int) -> Contribution:
    values = values_of(episode.seed, terms, worker, number)
    priority = episode.jobs[terms.job].priority
    if terms.entry.lanes is Lanes.INT32:
        return Contribution(values.astype("<i4").tobytes(), len(values), priority)
    indices = np.array([terms.entry.table.index(value) for value in values])
    return Contribution(pack(indices, 4).tobytes(), len(values), priority)


class Violation(AssertionError):
    """The invariant does not hold."""


def check_packet(seed: int, terms: JobTerms, packet: Packet) -> None:
    """Whatever carries sums has each of its workers' contributions once."""
    if packet.kind not in (PacketKind.PARTIAL, PacketKind.RESULT, PacketKind.ANSWER):
        return
    number = terms.number(packet.seq, 0)
    expected = sums_of(seed, terms, packet.bitmap, number)
    if not np.array_equal(packet.sums(), expected):
        raise Violation(f"{packet.kind.name} of key {number}: {packet.sums()}, not {expected}")


def check_job(seed: int, job: Job, packets: int) -> None:
    """Each worker has each key once, all the same bits, of the workers they say."""
    terms = job.terms
    if job.ended is not None:
        raise Violation(f"{job.ended}")
    for number in range(packets):
        found = [[d for d in log if d.number == number] for log in job.delivered]
        if any(len(copies) != 1 for copies in found):
            raise Violation(f"job {terms.job}, key {number}: {[len(c) for c in found]} deliveries")
        first = found[0][0]
        if bin(first.bitmap).count("1") < terms.entry.needed or first.bitmap & ~terms.everyone:
            raise Violation(f"job {terms.job}, key {number}: bitmap {first.bitmap:b}")
        expected = sums_of(seed, terms, first.bitmap, number)
        for worker, (delivery,) in enumerate(found):
            if delivery.bitmap != first.bitmap or delivery.included != bool(
                first.bitmap >> worker & 1
            ):
                raise Violation(f"job {terms.job}, key {number}: replicas differ")
            if not np.array_equal(delivery.sums, expected):
                raise Violation(
                    f"job {terms.job}, key {number}, worker {worker}: {delivery.sums}, "
                    f"not {expected}"
                )


@dataclass
class Seen:
    """What happened in episodes: shows that they are worth something."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    server: Counter[str] = field(default_factory=Counter)
    fates: Counter[Fate] = field(default_factory=Counter)
    kinds: Counter[PacketKind] = field(default_factory=Counter)
    resends: int = 0
    episodes: int = 0


def run_episode(
    episode: Episode,
    seen: Seen | None = None,
    make_switch: Callable[[SwitchConfig, SwitchSettings], Switch] = GoldenSwitch,
) -> System:
    """Run one, and check the invariant in every packet and at the end."""
    network = LoneResult(
        episode.seed, episode.loss, episode.duplication, episode.reorder,
        QUIET_AFTER, episode.fates, lone=episode.lone_result,
    )  # fmt: skip
    terms: dict[tuple[int, int], JobTerms] = {}
    results: dict[tuple[int, int, int], tuple[int, bytes]] = {}

    def tap(now: float, hop: Hop, packet: Packet) -> None:
        network.tell(now, hop, packet)
        check_packet(episode.seed, terms[packet.job, packet.epoch], packet)
        if packet.kind in (PacketKind.RESULT, PacketKind.ANSWER):
            said = (packet.bitmap, packet.payload)
            if results.setdefault((packet.job, packet.epoch, packet.seq), said) != said:
                raise Violation(f"two results for job {packet.job}, seq {packet.seq}")

    switch = make_switch(CONFIG, episode.settings)
    scanned = CONFIG.slots if episode.policy is Policy.SWITCHML else 1 << episode.slots_log2
    system = System(switch, scanned, network, scan_period=8.0, tap=tap)
    for number in range(len(episode.jobs)):
        job = job_of(episode, number, epoch=255)
        terms[number, 255] = job.terms
        system.add(job)
    if episode.changes_at is not None and not system.advance(episode.changes_at):
        job = job_of(episode, 0, epoch=0)
        terms[0, 0] = job.terms
        system.replace(job)
    system.run(LIMIT)
    for number, shape in enumerate(episode.jobs):
        check_job(episode.seed, system.jobs[number], shape.packets)
    if seen is not None:
        _note(seen, system, switch, network)
    return system


def _note(seen: Seen, system: System, switch: Switch, network: LossyNetwork) -> None:
    for (_, outcome), times in getattr(switch, "counters", {}).items():
        seen.outcomes[outcome] += times
    for job in system.jobs.values():
        seen.server += job.server.counters
        seen.resends += sum(worker.resends for worker in job.workers)
    for (_, _, kind), times in system.sent.items():
        seen.kinds[kind] += times
    seen.fates += Counter(network.counters)
    seen.episodes += 1


def random_episode(seed: int, policies: tuple[Policy, ...] = tuple(Policy)) -> Episode:
    """An episode by its seed alone, for hunts that need many and quickly."""
    rng = random.Random(seed)
    policy = rng.choice(policies)
    shapes = []
    for _ in range(rng.randint(1, 3)):
        workers = rng.randint(1, 4)
        quorum = policy is not Policy.SWITCHML and rng.random() < 0.4
        shapes.append(
            JobShape(
                workers,
                packets=rng.randint(1, 14 if policy is Policy.SWITCHML else 7),
                needed=rng.randint(1, workers) if quorum else workers,
                window=rng.randint(1, 2 if policy is Policy.SWITCHML else 4),
                first=rng.choice((0, 1, (1 << 32) - 2, (1 << 31) - 1, (1 << 32) - 9)),
                lanes=rng.choice(list(Lanes)),
                priority=rng.choice((1, 100, 100, 255)),
                skew=tuple(rng.choice((0.0, 0.0, 7.0, 90.0)) for _ in range(workers)),
            )
        )
    return Episode(
        policy,
        slots_log2=rng.randint(0, 2),
        decay_after=rng.choice((0, 1, 3)),
        age_limit=rng.choice((0, 1, 8)),
        jobs=tuple(shapes),
        seed=seed,
        loss=rng.choice((0.0, 0.05, 0.3)),
        duplication=rng.choice((0.0, 0.1, 0.3)),
        reorder=rng.choice((0.0, 0.1, 0.3)),
        lone_result=rng.random() < 0.3,
        changes_at=rng.choice((None, None, 10.0, 60.0)),
    )


def calm(episode: Episode) -> Episode:
    """The same jobs on a network without faults."""
    return replace(episode, loss=0.0, duplication=0.0, reorder=0.0, fates=(), lone_result=False)

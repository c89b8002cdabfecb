"""Every state that a small system can come to, whatever the network does with so many faults.

Two workers, one slot, the real switch, server and workers.  Packets under way have no order.  Time
does not pass: a timer may run out whenever nothing is under way, and a few times earlier.  Each
part is a pure function of its frozen state and what comes, so that its steps are computed once.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.packet import Lanes, Packet, PacketKind
from eyas.interfaces.switch.states import Policy, SlotState
from models.switch.golden import GoldenSwitch, SwitchSettings
from models.switch.records import JobEntry, SlotRecord
from models.switch.server import Server
from models.switch.system import upstream
from models.switch.terms import JobTerms
from models.switch.worker import Worker

NEVER = 1e9
WORKERS = 2
SERVER, SWITCH = WORKERS, WORKERS + 1
"""Addresses, and places in a state; a worker's is its number."""

State = tuple[tuple[bytes, ...], tuple[tuple[int, bytes], ...], tuple[int, ...]]
"""Frozen parts (workers, server, switch); packets under way, sorted; faults left."""


class Broken(AssertionError):
    """A state that must not be."""


@dataclass(frozen=True)
class Small:
    """A small system: what is searched."""

    policy: Policy = Policy.ESA
    keys: int = 1
    needed: int = WORKERS
    losses: int = 1
    copies: int = 0
    early: int = 0
    """Timers that run out with packets under way."""
    evictions: int = 0
    most: int = 400_000

    def __str__(self) -> str:
        faults = f"{self.losses} lost, {self.copies} copied, {self.early} early"
        return (
            f"{self.policy.name}, {self.keys} keys, {self.needed} of {WORKERS}, {faults}, "
            f"{self.evictions} evicted"
        )

    @property
    def terms(self) -> JobTerms:
        """All waits alike, and no end for want of progress."""
        entry = JobEntry(True, 1, WORKERS, self.needed, Lanes.INT32, size=4)
        return JobTerms(
            0, entry, self.policy, window=2, first=(1 << 32) - 1, timeout=2.0, dead=1e12,
            doublings=0,
        )  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What a search came to."""

    states: int
    steps: int
    ends: int


def search(small: Small) -> Found:
    """All reachable states; Broken where the invariant does not hold, or no end can be reached."""
    _step.cache_clear()
    start = _start(small)
    numbers: dict[State, int] = {start: 0}
    queue = deque([start])
    before: list[list[int]] = [[]]
    ends: list[int] = []
    steps = 0
    while queue:
        state = queue.popleft()
        number = numbers[state]
        if _check(small, state):
            ends.append(number)
        for following, faulty in _following(state):
            steps += 1
            if following not in numbers:
                if len(numbers) >= small.most:
                    raise MemoryError(f"more than {small.most} states")
                numbers[following] = len(numbers)
                before.append([])
                queue.append(following)
            if not faulty:
                before[numbers[following]].append(number)
    ending = set(ends)
    back = list(ends)
    while back:
        for number in before[back.pop()]:
            if number not in ending:
                ending.add(number)
                back.append(number)
    if len(ending) != len(numbers):
        stuck = next(state for state, number in numbers.items() if number not in ending)
        raise Broken(f"no end can be reached from {_told(stuck)}")
    return Found(len(numbers), steps, len(ends))


def value(worker: int, number: int) -> int:
    """What a worker adds."""
    return (worker + 1) * 10 ** (2 * number)


def _start(small: Small) -> State:
    switch = GoldenSwitch(
        SwitchConfig(slots=4, slot_bytes=32, jobs=2, ingress_beats=16, egress_rows=8),
        SwitchSettings(small.policy, slots_log2=0, age_limit=1),
    )
    switch.configure(0, small.terms.entry)
    parts: list[Any] = []
    packets: list[tuple[int, bytes]] = []
    for number in range(WORKERS):
        worker = Worker(small.terms, number)
        for key in range(small.keys):
            # The later key is the more urgent: under ESA it takes the slot over.
            worker.submit(np.array([value(number, key)], "<i4").tobytes(), 1, 100 + key)
        worker.close()
        packets += [(SWITCH, data) for data in worker.poll(0.0)]
        parts.append(worker)
    parts += [Server(small.terms), switch]
    frozen = tuple(_freeze(part) for part in parts)
    return (
        frozen,
        tuple(sorted(packets)),
        (small.losses, small.copies, small.early, small.evictions),
    )


def _following(state: State) -> Iterator[tuple[State, bool]]:
    """States one step on, and whether the step takes a fault."""
    parts, packets, (losses, copies, early, evictions) = state
    for place, (address, data) in enumerate(packets):
        if place and packets[place - 1] == (address, data):
            continue
        rest = packets[:place] + packets[place + 1 :]
        yield _after(parts, rest, address, data, (losses, copies, early, evictions)), False
        if losses:
            yield (parts, rest, (losses - 1, copies, early, evictions)), True
        if copies:
            more = tuple(sorted((*packets, (address, data))))
            yield (parts, more, (losses, copies - 1, early, evictions)), True
    if not packets or early:
        left = (losses, copies, early - bool(packets), evictions)
        for address in (*range(WORKERS), SERVER):
            for timer in _timers(parts[address]):
                yield _after(parts, packets, address, timer, left), bool(packets)
    if evictions:
        left = (losses, copies, early, evictions - 1)
        yield _after(parts, packets, SWITCH, "age", left), True


def _after(
    parts: tuple[bytes, ...],
    packets: tuple[tuple[int, bytes], ...],
    address: int,
    event: bytes | str | int,
    left: tuple[int, ...],
) -> State:
    part, out = _step(parts[address], event)
    changed = (*parts[:address], part, *parts[address + 1 :])
    return changed, tuple(sorted((*packets, *out))), left


@cache
def _step(frozen: bytes, event: bytes | str | int) -> tuple[bytes, tuple[tuple[int, bytes], ...]]:
    """A part after a packet or a timer, and what it sends."""
    part = pickle.loads(frozen)
    if isinstance(part, GoldenSwitch):
        if isinstance(event, bytes):
            leaving = part.receive(event)
        else:
            part.records[0].age = 255
            leaving = part.scan(0)
        return _freeze(part), tuple(copy for data in leaving for copy in _copies(data))
    if isinstance(event, bytes):
        known = set(part._results) if isinstance(part, Worker) else set()
        out = part.receive(event, 0.0)
        if isinstance(part, Worker):
            numbers = [delivery.number for delivery in part.deliveries]
            if known & set(numbers) or len(numbers) > 1:
                raise Broken(f"delivered again: {numbers}")
    else:
        timer = _timer(part, event)
        timer.due = 0.0
        out = part.poll(0.0)
    return _freeze(part), tuple((SWITCH, data) for data in out)


def _copies(data: bytes) -> Iterator[tuple[int, bytes]]:
    packet = Packet.from_bytes(data)
    if upstream(packet):
        yield SERVER, data
    receivers = packet.destinations if packet.kind is PacketKind.RESULT else 0
    if packet.kind in (PacketKind.QUERY, PacketKind.BYE_ACK):
        receivers = 1 << packet.worker
    for worker in range(WORKERS):
        if receivers >> worker & 1:
            yield worker, data


@cache
def _timers(frozen: bytes) -> tuple[int | str, ...]:
    part = pickle.loads(frozen)
    if isinstance(part, Worker):
        if part.finished:
            return ()
        return (*part._timers, *(("bye",) if part._bye is not None else ()))
    if part.finished:
        return ()
    return tuple(number for number, key in part._keys.items() if key.final is None)


def _timer(part: Any, name: int | str) -> Any:
    if name == "bye":
        return part._bye
    return part._timers[name] if isinstance(part, Worker) else part._keys[name]


def _freeze(part: Any) -> bytes:
    """A part without what only counts, its timers standing still."""
    if isinstance(part, GoldenSwitch):
        part.counters.clear()
        part.faults.clear()
        part.event = None
        for slot, record in enumerate(part.records):
            record.age = record.collisions = 0
            if record.state is SlotState.EMPTY:
                part.records[slot] = SlotRecord()
            if record.state is SlotState.EMPTY or (
                record.state is SlotState.DONE and part.settings.policy is not Policy.SWITCHML
            ):
                part.values[slot] = 0
    else:
        part._progress = 0.0
        for name in _timers_of(part):
            _timer(part, name).due = NEVER
    if isinstance(part, Worker):
        part.deliveries.clear()
        part.resends = 0
        part._timers = dict(sorted(part._timers.items()))
        part._results = dict(sorted(part._results.items()))
        if part._bye is not None:
            part._bye.wait = 0.0
    if isinstance(part, Server):
        part.counters.clear()
        part._keys = dict(sorted(part._keys.items()))
    # Twice: what was one object and what was two equal ones look alike after that.
    return pickle.dumps(pickle.loads(pickle.dumps(part)))


def _timers_of(part: Any) -> list[int | str]:
    if isinstance(part, Worker):
        return [*part._timers, *(("bye",) if part._bye is not None else ())]
    return list(part._keys)


def _check(small: Small, state: State) -> bool:
    """Whether the system has ended; Broken where results are wrong or differ."""
    known = [_known(part) for part in state[0][:WORKERS]]
    for number in range(small.keys):
        said = {results[number] for results, _ in known if number in results}
        if len(said) > 1:
            raise Broken(f"two results of key {number}: {said}")
        for bitmap, sums in said:
            expected = sum(value(w, number) for w in range(WORKERS) if bitmap >> w & 1)
            if sums != expected or bin(bitmap).count("1") < small.needed:
                raise Broken(f"key {number}: {sums} of {bitmap:b}, not {expected}")
    ended = all(finished for _, finished in known)
    if ended and any(len(results) != small.keys for results, _ in known):
        raise Broken("ended without all results")
    return ended


@cache
def _known(frozen: bytes) -> tuple[dict[int, tuple[int, int]], bool]:
    worker = pickle.loads(frozen)
    results = {
        number: (packet.bitmap, int(packet.sums()[0])) for number, packet in worker._results.items()
    }
    return results, worker.finished


def _told(state: State) -> str:
    packets = [(to, Packet.from_bytes(data).kind.name) for to, data in state[1]]
    workers = [(_known(part), _timers(part)) for part in state[0][:WORKERS]]
    return f"workers {workers}, under way {packets}, faults left {state[2]}"

"""The golden switch: what the RTL must do, packet for packet and state for state."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from eyas.interfaces.switch.actions import COIN_TAPS, SCAN, Action, Decision, Flag, Output, Relation
from eyas.interfaces.switch.config import DEFAULT_SWITCH, SwitchConfig
from eyas.interfaces.switch.lookup import DECISIONS, decide
from eyas.interfaces.switch.packet import (
    HEADER_BYTES,
    Packet,
    PacketError,
    PacketFault,
    PacketKind,
)
from eyas.interfaces.switch.states import COUNTED_OUTCOMES, Outcome, Policy, SlotState
from models.switch.classify import classify
from models.switch.hashing import shared_slot, static_slot
from models.switch.records import JobEntry, SlotRecord
from models.switch.sums import add_sums, contribution

__all__ = ["Event", "GoldenSwitch", "SwitchSettings"]


@dataclass(frozen=True)
class SwitchSettings:
    """What software sets while no job is enabled.

    Attributes
    ----------
    policy : Policy
    decay_after : int
        Collisions after which a slot loses half of its priority, 1 to 255; 0: never.
    slots_log2 : int or None
        Slots in use by shared memory, as a power of two; None: all.
    salt : int
        16 bits into the hash.
    age_limit : int
        Looks at an untouched slot after which the next one evicts or retires it, 1 to 255; 0:
        never.
    """

    policy: Policy = Policy.ESA
    decay_after: int = 8
    slots_log2: int | None = None
    salt: int = 0
    age_limit: int = 0


@dataclass(frozen=True)
class Event:
    """The outcome of a packet, or of a look at a slot (``scan``)."""

    scan: bool
    slot: int
    job: int
    outcome: Outcome


@dataclass
class GoldenSwitch:
    """A switch; frames in, packets out.

    Attributes
    ----------
    counters : Counter of (job, Outcome)
    faults : Counter of PacketFault or "JOB"
        Invalid frames, and packets of jobs beyond the table.
    event : Event or None
        Of the last frame or look; None where a frame was invalid.
    """

    config: SwitchConfig = DEFAULT_SWITCH
    settings: SwitchSettings = SwitchSettings()
    jobs: dict[int, JobEntry] = field(default_factory=dict)
    counters: Counter[tuple[int, Outcome]] = field(default_factory=Counter)
    faults: Counter[PacketFault | str] = field(default_factory=Counter)
    event: Event | None = None

    def __post_init__(self) -> None:
        self.records = [SlotRecord() for _ in range(self.config.slots)]
        self.values = np.zeros((self.config.slots, self.config.slot_bytes), np.int64)
        self._lfsr = 1

    def configure(self, job: int, entry: JobEntry) -> None:
        """Set an entry of the job table; flush the job's slots before its epoch is raised."""
        self.jobs[job] = entry

    def receive(self, frame: bytes) -> list[bytes]:
        """Work on a frame; at most one packet leaves."""
        self.event = None
        try:
            packet = Packet.from_bytes(frame)
        except PacketError as error:
            self.faults[error.fault] += 1
            return []
        if packet.coordinates * packet.lanes.dtype.itemsize > self.config.slot_bytes:
            self.faults[PacketFault.LENGTH] += 1
            return []
        if packet.job >= self.config.jobs:
            self.faults["JOB"] += 1
            return []
        entry = self.jobs.get(packet.job, JobEntry())
        slot = self.slot_of(packet.job, packet.seq)
        record = self.records[slot]
        relation, flags = classify(packet, entry, record, self._lfsr)
        if packet.kind == PacketKind.DATA and relation == Relation.BUSY_OTHER:
            self._lfsr = self._lfsr >> 1 ^ (COIN_TAPS if self._lfsr & 1 else 0)
        decision = DECISIONS[decide(self.settings.policy, packet.kind, relation, flags)]
        leaves = self._act(slot, decision, packet)
        self._count(False, slot, packet.job, decision)
        if decision.output is Output.SAME:
            leaves = [bytes(frame[: HEADER_BYTES + len(packet.payload)])]
        return leaves

    def scan(self, slot: int, flush: int | None = None) -> list[bytes]:
        """Look at a slot, for age or because job ``flush`` is being flushed."""
        record = self.records[slot]
        limit = self.settings.age_limit
        relation = (Relation.EMPTY, Relation.BUSY_SAME, Relation.DONE_SAME)[record.state]
        flags = (limit != 0 and record.age >= limit) << Flag.AGED
        flags |= (record.job == flush) << Flag.FLUSH
        decision = DECISIONS[decide(self.settings.policy, SCAN, relation, flags)]
        record.age = min(record.age + 1, 255)
        leaves = self._act(slot, decision, None)
        self._count(True, slot, record.job, decision)
        return leaves

    def flush(self, job: int) -> list[bytes]:
        """Look at every slot; those of ``job`` are evicted or retired."""
        return [packet for slot in range(self.config.slots) for packet in self.scan(slot, job)]

    def slot_of(self, job: int, seq: int) -> int:
        """The slot that a key maps to."""
        if self.settings.policy is Policy.SWITCHML:
            entry = self.jobs.get(job, JobEntry())
            return static_slot(seq, entry.base, entry.size) % self.config.slots
        log2 = self.settings.slots_log2
        slots = self.config.slots if log2 is None else 1 << log2
        return shared_slot(job, seq, self.settings.salt, slots)

    def sums(self, slot: int) -> npt.NDArray[np.generic]:
        """What a slot holds, a value a coordinate."""
        record = self.records[slot]
        return self.values[slot, : record.coordinates].astype(record.lanes.dtype)

    def _count(self, scan: bool, slot: int, job: int, decision: Decision) -> None:
        if decision.outcome in COUNTED_OUTCOMES:
            self.counters[job, decision.outcome] += 1
        self.event = Event(scan, slot, job, decision.outcome)

    def _act(self, slot: int, decision: Decision, packet: Packet | None) -> list[bytes]:
        """Change slot and record; returns the sums that leave: those before a SWAP, else after."""
        record = self.records[slot]
        leaves = []
        action, touched = decision.action, False
        if action in (Action.READ, Action.SWAP):
            leaves.append(self._sums_packet(slot, decision.output, packet))
        if packet is not None and action in (Action.CLAIM, Action.SWAP):
            self.records[slot] = record = SlotRecord(
                SlotState.BUSY, packet.job, packet.epoch, packet.seq, packet.priority,
                1 << packet.worker, 1, 0, 0, packet.lanes, packet.coordinates,
            )  # fmt: skip
            self.values[slot, : packet.coordinates] = self._contribution(packet)
        elif packet is not None and action is Action.ADD:
            record.bitmap |= 1 << packet.worker
            record.count += 1
            record.priority = max(record.priority, packet.priority)
            touched = True
            held = self.values[slot, : packet.coordinates]
            held[:] = add_sums(held, self._contribution(packet), packet.lanes)
        if decision.decays:
            self._decay(record)
        if decision.state is not None:
            touched |= decision.state != record.state
            record.state = decision.state
        if touched:
            record.age = 0
        if action in (Action.CLAIM, Action.ADD) and decision.output is not Output.NONE:
            leaves.append(self._sums_packet(slot, decision.output, packet))
        return leaves

    def _decay(self, record: SlotRecord) -> None:
        after = self.settings.decay_after
        record.collisions = min(record.collisions + 1, 255)
        if after and record.collisions >= after:
            record.collisions = 0
            record.priority >>= 1

    def _contribution(self, packet: Packet) -> npt.NDArray[np.int64]:
        return contribution(packet, self.jobs[packet.job].table)

    def _sums_packet(self, slot: int, output: Output, packet: Packet | None) -> bytes:
        """The packet that carries what the slot holds."""
        record = self.records[slot]
        leaving = Packet(
            kind=PacketKind.PARTIAL if output is Output.PARTIAL else PacketKind.RESULT,
            job=record.job,
            epoch=record.epoch,
            seq=record.seq,
            priority=record.priority,
            lanes=record.lanes,
            bitmap=record.bitmap,
            count=record.count,
            coordinates=record.coordinates,
            payload=self.sums(slot).tobytes(),
        )
        if output is Output.COPY and packet is not None:
            leaving = replace(leaving, destinations=1 << packet.worker)
        elif output is Output.RESULT:
            workers = self.jobs[record.job].workers
            leaving = replace(leaving, destinations=(1 << workers) - 1)
        return leaving.to_bytes()

"""Random jobs and packets for the switch: few slots, few keys, every kind, every fault."""

import random
from dataclasses import dataclass, field

from cocotb_tests.switch.frames import spoil
from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.packet import (
    HEADER_BYTES,
    MAX_WORKERS,
    Lanes,
    Packet,
    PacketFault,
    PacketKind,
)
from eyas.interfaces.switch.states import Policy
from models.switch.golden import SwitchSettings
from models.switch.records import JobEntry

__all__ = ["Traffic"]

_KINDS = {
    PacketKind.DATA: 60,
    PacketKind.RESEND: 8,
    PacketKind.PARTIAL: 1,
    PacketKind.RESULT: 6,
    PacketKind.REMINDER: 4,
    PacketKind.QUERY: 2,
    PacketKind.ANSWER: 2,
    PacketKind.BYE: 1,
    PacketKind.BYE_ACK: 1,
}
_WITH_INDICES = (PacketKind.DATA, PacketKind.RESEND)
_WITH_SUMS = (PacketKind.PARTIAL, PacketKind.RESULT, PacketKind.ANSWER)


@dataclass
class Traffic:
    """An episode: settings, jobs, and packets for as long as they are asked for.

    Attributes
    ----------
    config : SwitchConfig
    rng : random.Random
        Decides everything.
    policy : Policy or None
        None: any.
    faults : float
        Share of frames that are damaged.
    """

    config: SwitchConfig
    rng: random.Random
    policy: Policy | None = None
    faults: float = 0.08
    jobs: dict[int, JobEntry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = self.rng
        most = self.config.slots.bit_length() - 1
        self.settings = SwitchSettings(
            policy=rng.choice(list(Policy)) if self.policy is None else self.policy,
            decay_after=rng.choice((0, 1, 2, 5, 255)),
            slots_log2=rng.randint(0, min(2, most)),
            salt=rng.getrandbits(16),
            age_limit=rng.choice((0, 1, 2, 3, 20)),
        )
        self.first_seq = rng.choice((0, 5, (1 << 31) - 4, (1 << 32) - 4))
        self.keys = rng.choice((1, 2, 6, 12))
        self.longest = rng.choice((4, 16, self.config.slot_bytes))  # bytes of sums
        for job in rng.sample(range(self.config.jobs), min(self.config.jobs, rng.randint(1, 3))):
            self.jobs[job] = self.entry()

    def entry(self) -> JobEntry:
        """An entry of the job table."""
        rng = self.rng
        workers = rng.choice((1, 2, 3, 4, MAX_WORKERS))
        size = rng.choice([size for size in (2, 4) if size <= self.config.slots])
        return JobEntry(
            enabled=rng.random() < 0.95,
            epoch=rng.getrandbits(8),
            workers=workers,
            needed=rng.choice((workers, workers, rng.randint(1, workers))),
            lanes=rng.choice(list(Lanes)),
            table=tuple(sorted(rng.randint(0, 255) for _ in range(16))),
            base=size * rng.randrange(self.config.slots // size),
            size=size,
        )

    def raise_epoch(self) -> int:
        """Give a job its next epoch; return its number."""
        job = self.rng.choice(list(self.jobs))
        old, new = self.jobs[job], self.entry()
        self.jobs[job] = JobEntry(**{**vars(new), "epoch": (old.epoch + 1) & 255})
        return job

    def packet(self) -> Packet:
        """A good packet, most of the time one that its job has a use for."""
        rng = self.rng
        strange = rng.random() < 0.04
        job = rng.choice(list(self.jobs)) if not strange else rng.randrange(self.config.jobs)
        entry = self.jobs.get(job, JobEntry())
        kind = rng.choices(list(_KINDS), list(_KINDS.values()))[0]
        lanes = entry.lanes if rng.random() < 0.98 else rng.choice(list(Lanes))
        worker = rng.randrange(entry.workers if rng.random() < 0.98 else MAX_WORKERS)
        most = max(1, self.longest // lanes.dtype.itemsize)
        coordinates = most if rng.random() < 0.97 else rng.randint(1, most)
        bitmap, payload = 0, b""
        if kind in _WITH_INDICES:
            bitmap = 1 << worker
            size = 4 * coordinates if lanes is Lanes.INT32 else -(-coordinates // 2)
            payload = rng.randbytes(size)
            if lanes is Lanes.INT32 and rng.random() < 0.2:  # lanes that saturate
                payload = rng.choice((b"\xff\xff\xff\x7f", b"\0\0\0\x80")) * coordinates
        elif kind in _WITH_SUMS:
            bitmap = rng.randint(1, (1 << entry.workers) - 1)
            payload = rng.randbytes(coordinates * lanes.dtype.itemsize)
        else:
            coordinates = 0
        return Packet(
            kind,
            job,
            entry.epoch if rng.random() < 0.97 else rng.getrandbits(8),
            seq=(self.first_seq + rng.randrange(self.keys)) % (1 << 32),
            worker=worker,
            base=rng.getrandbits(32),
            priority=rng.choice((1, 2, 8, 200, 255)),
            lanes=lanes,
            bitmap=bitmap,
            destinations=rng.getrandbits(32) if kind == PacketKind.RESULT else 0,
            from_server=rng.getrandbits(1),
            count=bin(bitmap).count("1"),
            coordinates=coordinates,
            payload=payload,
        )

    def frame(self) -> bytes:
        """A packet's bytes, now and then padded, damaged, cut off, or none at all."""
        rng = self.rng
        frame = self.packet().to_bytes()
        chance = rng.random()
        if chance < self.faults:
            damage = rng.randrange(4)
            if damage == 0:
                return rng.randbytes(rng.choice((1, 7, 8, 31, HEADER_BYTES, 80)))
            if damage == 1:
                return self.packet().with_changes(job=rng.randint(self.config.jobs, 255)).to_bytes()
            return spoil(rng, frame, rng.choice(list(PacketFault)))
        if chance > 0.9:
            frame += rng.randbytes(rng.choice((1, 7, 8, 28)))
        return frame

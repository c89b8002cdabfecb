"""Short ways to make packets, and a golden switch of one job to put them into."""

from __future__ import annotations

import numpy as np

from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.packet import Lanes, Packet, PacketKind
from eyas.interfaces.switch.states import Outcome, Policy
from models.switch.golden import GoldenSwitch, SwitchSettings
from models.switch.records import JobEntry

CONFIG = SwitchConfig(slots=16, slot_bytes=32, jobs=8, ingress_beats=16, egress_rows=8)
EPOCH = 7


class Bench:
    """A golden switch with jobs of int32 lanes, each with 4 slots of its own under SWITCHML."""

    def __init__(self, policy: Policy, workers: int = 2, jobs: int = 2, **settings: int) -> None:
        self.switch = GoldenSwitch(CONFIG, SwitchSettings(policy, **settings))
        for job in range(jobs):
            self.entry(job, workers=workers, needed=workers)

    def entry(self, job: int, workers: int, needed: int) -> None:
        """Enable a job."""
        self.switch.configure(
            job,
            JobEntry(True, EPOCH, workers, needed, Lanes.INT32, base=4 * job, size=4),
        )

    def send(self, packet: Packet) -> Packet | None:
        """What leaves for a packet."""
        leaves = self.switch.receive(packet.to_bytes())
        assert len(leaves) <= 1
        return Packet.from_bytes(leaves[0]) if leaves else None

    @property
    def outcome(self) -> Outcome | None:
        """Of the last packet."""
        return self.switch.event and self.switch.event.outcome


def data(
    worker: int,
    seq: int,
    values: tuple[int, ...],
    *,
    job: int = 0,
    kind: PacketKind = PacketKind.DATA,
    priority: int = 100,
    epoch: int = EPOCH,
) -> Packet:
    """A contribution."""
    return Packet(
        kind, job, epoch, seq, worker, 0, priority, Lanes.INT32, 1 << worker, 0, 0, 1,
        len(values), np.array(values, "<i4").tobytes(),
    )  # fmt: skip


def result(seq: int, workers: int, values: tuple[int, ...], *, job: int = 0) -> Packet:
    """The server's result."""
    everyone = (1 << workers) - 1
    return Packet(
        PacketKind.RESULT, job, EPOCH, seq, 0, 0, 1, Lanes.INT32, everyone, everyone, 1, workers,
        len(values), np.array(values, "<i4").tobytes(),
    )  # fmt: skip


def colliding(bench: Bench, seq: int, job: int, other: int) -> int:
    """A sequence number of job ``other`` whose slot is that of ``seq`` in ``job``."""
    slot = bench.switch.slot_of(job, seq)
    return next(number for number in range(1000) if bench.switch.slot_of(other, number) == slot)

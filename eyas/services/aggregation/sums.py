"""The sums of one training job: those that lack workers, and results that are kept for a while.

No sockets and no clock here: packets and times go in, packets come out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from eyas.interfaces.switch.packet import Lanes, Packet, PacketKind
from eyas.services.aggregation.training_job import TrainingJob
from eyas.services.aggregation.units import Unit

__all__ = ["LEAD", "WINDOW", "Addressed", "JobSums"]

Addressed = tuple[int, Packet]
"""A worker, and what goes to it."""

WINDOW = 256
"""Packets without a result that a worker may have under way."""
LEAD = 4 * WINDOW
"""How many packets a worker may be ahead of the slowest; what is further is dropped."""
_PATIENCE = 0.05
"""Seconds that a quorum waits for the rest."""
_KINDS = (PacketKind.DATA, PacketKind.RESEND)
_WRAP = 1 << 32
_HALF = _WRAP // 2


@dataclass
class _Sum:
    """A sum under way: each worker's payload, until all are there."""

    coordinates: int
    since: float
    payloads: dict[int, bytes] = field(default_factory=dict)


class JobSums:
    """Adds each worker's contribution to a sequence number exactly once.

    A sum is complete when all workers are in it, or, with a ``quorum``, when so many are and
    ``patience`` seconds have passed since the first: then the result's bitmap says who is in, and
    whoever comes later is answered with that result.  Results are kept until all workers are past
    them.

    Parameters
    ----------
    job : TrainingJob
    unit : Unit
        Adds; configured for the job already.
    quorum : int or None
        Contributions that may do; None: all.
    patience : float
        Seconds, from the first contribution on, that a quorum waits for the rest.
    """

    def __init__(
        self, job: TrainingJob, unit: Unit, quorum: int | None = None, patience: float = _PATIENCE
    ) -> None:
        self.job = job
        self._unit = unit
        self._quorum = job.workers if quorum is None else quorum
        if not 1 <= self._quorum <= job.workers:
            raise ValueError(f"A quorum of {job.workers} workers is 1 to that, not {quorum}")
        self._patience = patience
        self._lanes = Lanes.UINT8 if job.lane_bits == 8 else Lanes.UINT16
        self._sums: dict[int, _Sum] = {}
        self._ready: list[int] = []
        self._results: dict[int, Packet] = {}
        self._bases = [0] * job.workers
        self._least = 0

    @property
    def buffered_bytes(self) -> int:
        """Payloads of the sums under way and of the results that are kept."""
        payloads = (data for entry in self._sums.values() for data in entry.payloads.values())
        results = (packet.payload for packet in self._results.values())
        return sum(map(len, payloads)) + sum(map(len, results))

    def take(self, packet: Packet, now: float) -> list[Addressed]:
        """What is answered at once; ValueError when the packet breaks the job's rules.

        A sum that is complete now comes with the next :meth:`finish`.
        """
        if packet.kind not in _KINDS or packet.worker >= self.job.workers:
            raise ValueError(f"an unexpected {packet.kind.name} of worker {packet.worker}")
        if packet.lanes is not self._lanes:
            raise ValueError(f"lanes {packet.lanes.name}, where the job has {self._lanes.name}")
        if (packet.job, packet.epoch) != (0, 0):
            raise ValueError(f"a packet of job {packet.job}, epoch {packet.epoch}, not of job 0, 0")
        if not _before(packet.seq, (packet.base + WINDOW) % _WRAP):
            raise ValueError(
                f"packet {packet.seq} is beyond the window of {WINDOW} from {packet.base} on"
            )
        if not _before(packet.base, (self._least + LEAD + 1) % _WRAP):
            raise ValueError(f"packet {packet.base} cannot have a result yet")
        self._advance(packet.worker, packet.base)
        result = self._results.get(packet.seq)
        if result is not None:
            return [(packet.worker, result)]
        if _before(packet.seq, self._least):
            return []  # a late copy of what all have
        if not _before(packet.seq, (self._least + LEAD) % _WRAP):
            return []  # as if it were lost: it comes again when the slowest has caught up
        entry = self._sums.setdefault(packet.seq, _Sum(packet.coordinates, now))
        if entry.coordinates != packet.coordinates:
            raise ValueError(
                f"worker {packet.worker} has {packet.coordinates} coordinates in packet "
                f"{packet.seq}, another one {entry.coordinates}"
            )
        entry.payloads.setdefault(packet.worker, packet.payload)
        if len(entry.payloads) == self.job.workers and packet.seq not in self._ready:
            self._ready.append(packet.seq)
        return []

    def finish(self, now: float) -> list[Addressed]:
        """Add whatever is complete, and what a quorum has waited for, in as few calls as can be."""
        ready, self._ready = self._ready, []
        if self._quorum < self.job.workers:
            ready += [
                seq
                for seq, entry in self._sums.items()
                if self._quorum <= len(entry.payloads) < self.job.workers
                and now - entry.since >= self._patience
            ]
        groups: dict[tuple[int, ...], list[int]] = {}
        for seq in ready:
            groups.setdefault(tuple(sorted(self._sums[seq].payloads)), []).append(seq)
        return [out for workers, seqs in groups.items() for out in self._add(workers, seqs)]

    def overdue(self, now: float, timeout: float) -> Iterator[tuple[int, list[int]]]:
        """Sums under way for longer than ``timeout``: number, and the workers missing."""
        for seq, entry in self._sums.items():
            if now - entry.since > timeout:
                yield seq, [w for w in range(self.job.workers) if w not in entry.payloads]

    def _add(self, workers: tuple[int, ...], seqs: list[int]) -> Iterator[Addressed]:
        """Sum packets that the same workers sent, as one stretch of coordinates."""
        entries = [self._sums.pop(seq) for seq in seqs]
        # Two indices a byte: each packet begins a byte, an odd one ends with an index of padding.
        lengths = [2 * len(entry.payloads[workers[0]]) for entry in entries]
        stretches = [b"".join(entry.payloads[worker] for entry in entries) for worker in workers]
        sums = self._unit.add(stretches, sum(lengths)).astype(self._lanes.dtype)
        start = 0
        for seq, entry, length in zip(seqs, entries, lengths, strict=True):
            result = Packet(
                PacketKind.RESULT,
                job=0,
                epoch=0,
                seq=seq,
                lanes=self._lanes,
                bitmap=sum(1 << worker for worker in workers),
                destinations=(1 << self.job.workers) - 1,
                count=len(workers),
                coordinates=entry.coordinates,
                payload=sums[start : start + entry.coordinates].tobytes(),
            )
            start += length
            self._results[seq] = result
            for worker in range(self.job.workers):
                yield worker, result

    def _advance(self, worker: int, base: int) -> None:
        """A worker has all results below ``base``; forget those that all have."""
        if not _before(self._bases[worker], base):
            return
        self._bases[worker] = base
        least = min(self._bases, key=_Serial)
        if least == self._least:
            return
        self._least = least
        for seq in [seq for seq in self._results if _before(seq, least)]:
            del self._results[seq]


def _before(a: int, b: int) -> bool:
    """Whether serial number ``a`` is less than ``b``; numbers wrap at 2^32."""
    return a != b and (b - a) % _WRAP < _HALF


class _Serial:
    """Orders serial numbers."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __lt__(self, other: _Serial) -> bool:
        return _before(self.number, other.number)

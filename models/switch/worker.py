"""A worker: contributions in, exactly one result for each key out, whatever the network does."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eyas.interfaces.switch.packet import Lanes, Packet, PacketError, PacketKind
from models.switch.sums import INT32_MOST
from models.switch.terms import JobEnded, JobTerms

__all__ = ["Delivery", "Worker"]


@dataclass(frozen=True)
class Delivery:
    """A result: packet ``number`` of the job, and the sums of the workers in ``bitmap``.

    Where ``included`` is False the sum was made without this worker, whose contribution belongs
    back into its error feedback.
    """

    number: int
    bitmap: int
    included: bool
    sums: npt.NDArray[np.generic]


@dataclass(frozen=True)
class _Contribution:
    payload: bytes
    coordinates: int
    priority: int


@dataclass
class _Timer:
    due: float
    wait: float


class Worker:
    """One worker of one job, without sockets or clocks: bytes and the time in, bytes out.

    Packets are numbered from 0 on in the order in which they are submitted, which is the same on
    all workers.  Number s is sent while s < base + W, base being the lowest without a result;
    results are kept down to base − W for those whose copy was lost.  DATA goes out once; what is
    sent again is a RESEND.

    Parameters
    ----------
    terms : JobTerms
    number : int
        This worker: 0 to workers − 1.

    Attributes
    ----------
    deliveries : deque of Delivery
        Results, each once, in the order in which they came; the user takes them out.
    base : int
        The lowest packet without a result.
    resends : int
    finished : bool
        All workers have all results, and this one knows it.
    ended : JobEnded or None
        The job ended early.
    """

    def __init__(self, terms: JobTerms, number: int) -> None:
        if not 0 <= number < terms.entry.workers:
            raise ValueError(f"This job's workers are 0 to {terms.entry.workers - 1}, not {number}")
        self.terms = terms
        self.worker = number
        self.deliveries: deque[Delivery] = deque()
        self.base = 0
        self.resends = 0
        self.finished = False
        self.ended: JobEnded | None = None
        self._closed = False
        self._submitted = 0
        self._next = 0
        self._contributions: dict[int, _Contribution] = {}
        self._results: dict[int, Packet] = {}
        self._timers: dict[int, _Timer] = {}
        self._bye: _Timer | None = None
        self._progress = 0.0

    def submit(self, payload: bytes, coordinates: int, priority: int = 128) -> int:
        """Hand over the next packet's contribution; returns its number.  Poll afterwards.

        Raises
        ------
        ValueError
            After :meth:`close`, for a priority out of 1 to 255, or for int32 values so great that
            their sum could stop at a lane's end: such sums depend on the order of the workers.
        """
        if self._closed:
            raise ValueError("This worker is closed: it takes no more contributions")
        if not 1 <= priority <= 255:
            raise ValueError(f"A packet's priority is 1 to 255, not {priority}")
        if self.terms.entry.lanes is Lanes.INT32:
            limit = INT32_MOST // self.terms.entry.workers
            most = np.abs(np.frombuffer(payload, "<i4").astype(np.int64)).max(initial=0)
            if most > limit:
                raise ValueError(
                    f"A value of {most} could overflow the sum: with "
                    f"{self.terms.entry.workers} workers the greatest is {limit}; scale down"
                )
        number = self._submitted
        self._submitted += 1
        if number >= self.base and number not in self._results:
            self._contributions[number] = _Contribution(payload, coordinates, priority)
        return number

    def close(self) -> None:
        """Say that nothing more will be submitted.  Poll afterwards."""
        self._closed = True

    @property
    def deadline(self) -> float | None:
        """When to poll if nothing arrives before; None: not at all."""
        if self.finished or self.ended:
            return None
        dues = [timer.due for timer in self._timers.values()]
        if self._bye is not None:
            dues.append(self._bye.due)
        return min(dues) if dues else None

    def poll(self, now: float) -> list[bytes]:
        """What is to be sent now: new contributions, those unanswered for too long, BYE."""
        if self.finished or self.ended:
            return []
        if not self._timers and self._bye is None:
            self._progress = now
        elif now - self._progress >= 2 * self.terms.dead:
            self.ended = JobEnded(self.terms.job, self.terms.seq(self.base), 0)
            return []
        out = []
        while self._next < min(self.base + self.terms.window, self._submitted):
            if self._next in self._contributions:
                wait = self.terms.timeout
                self._timers[self._next] = _Timer(now + wait, wait)
                out.append(self._packet(PacketKind.DATA, self._next))
            self._next += 1
        for number, timer in self._timers.items():
            if timer.due <= now:
                timer.wait = self.terms.longer(timer.wait, self.terms.timeout)
                timer.due = now + timer.wait
                out.append(self._packet(PacketKind.RESEND, number))
        if self._closed and self.base >= self._submitted:
            out += self._say_bye(now)
        return out

    def receive(self, data: bytes, now: float) -> list[bytes]:
        """Work on a packet, and poll."""
        try:
            packet = Packet.from_bytes(data)
        except PacketError:
            return []
        if (packet.job, packet.epoch) != (self.terms.job, self.terms.epoch):
            return []
        out = []
        if packet.kind is PacketKind.RESULT:
            self._deliver(packet, now)
        elif packet.kind is PacketKind.QUERY:
            out = self._answer(self.terms.number(packet.seq, self.base), now)
        elif packet.kind is PacketKind.BYE_ACK and not self.finished:
            if packet.destinations:
                self.ended = JobEnded(self.terms.job, packet.seq, packet.destinations)
            else:
                self.finished = True
        return out + self.poll(now)

    def _deliver(self, packet: Packet, now: float) -> None:
        number = self.terms.number(packet.seq, self.base)
        if number < self.base or number in self._results:
            return
        self._progress = now
        self._results[number] = packet
        self._contributions.pop(number, None)
        self._timers.pop(number, None)
        included = bool(packet.bitmap >> self.worker & 1)
        self.deliveries.append(Delivery(number, packet.bitmap, included, packet.sums()))
        while self.base in self._results:
            self.base += 1
            self._results.pop(self.base - self.terms.window - 1, None)

    def _answer(self, number: int, now: float) -> list[bytes]:
        """Answer a QUERY with the result or, without one, with the contribution again."""
        if self.finished or self.ended:
            return []
        result = self._results.get(number)
        if result is not None:
            answer = result.with_changes(
                kind=PacketKind.ANSWER, worker=self.worker, destinations=0, from_server=0
            )
            return [answer.to_bytes()]
        if number in self._timers:
            self._timers[number].due = now + self._timers[number].wait
            return [self._packet(PacketKind.RESEND, number)]
        return []

    def _say_bye(self, now: float) -> list[bytes]:
        if self._bye is None:
            self._bye = _Timer(now, self.terms.timeout / 2)
        if self._bye.due > now:
            return []
        self._bye.wait = self.terms.longer(self._bye.wait, self.terms.timeout)
        self._bye.due = now + self._bye.wait
        return [
            Packet(
                PacketKind.BYE,
                self.terms.job,
                self.terms.epoch,
                seq=self.terms.seq(self.base),
                base=self.terms.seq(self.base),
                worker=self.worker,
            ).to_bytes()
        ]

    def _packet(self, kind: PacketKind, number: int) -> bytes:
        if kind is PacketKind.RESEND:
            self.resends += 1
        mine = self._contributions[number]
        return Packet(
            kind,
            self.terms.job,
            self.terms.epoch,
            seq=self.terms.seq(number),
            base=self.terms.seq(self.base),
            worker=self.worker,
            priority=mine.priority,
            lanes=self.terms.entry.lanes,
            bitmap=1 << self.worker,
            count=1,
            coordinates=mine.coordinates,
            payload=mine.payload,
        ).to_bytes()

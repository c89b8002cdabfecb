"""The server: completes sums that the switch could not hold, and repairs losses of the network."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eyas.interfaces.switch.packet import Packet, PacketError, PacketKind
from models.switch.sums import add_sums, contribution
from models.switch.terms import JobEnded, JobTerms

__all__ = ["Server"]

LEAD = 4
"""Windows by which a quorum's finals may be ahead of the slowest worker."""

_CONTRIBUTIONS = (PacketKind.DATA, PacketKind.RESEND)


@dataclass
class _Key:
    """A sum under way, or final."""

    bitmap: int = 0
    sums: npt.NDArray[np.int64] | None = None
    priority: int = 1
    final: Packet | None = None
    due: float = 0.0
    wait: float = 0.0
    reminded: bool = False


class Server:
    """The aggregation fallback of one job, without sockets or clocks: bytes and the time in,
    bytes out; all that leaves goes to the switch.

    Contributions and partial sums of a key are added where they have no worker in common; a sum
    that holds all workers of the present one, and more, replaces it.  With all workers, or as many
    as the quorum needs, the sum is final and never changes: the server alone decides a quorum.  In
    a job that needs all workers the switch may have sent the same sum itself; when contributions
    stay away, the server asks the workers for a copy of it (QUERY).

    Parameters
    ----------
    terms : JobTerms

    Attributes
    ----------
    finished : bool
        All workers have all results.
    ended : JobEnded or None
        The job ended because nothing moved.
    counters : Counter of str
        Sums made, adopted, REMINDERs, QUERYs, discarded fragments.
    """

    def __init__(self, terms: JobTerms) -> None:
        self.terms = terms
        self.finished = False
        self.ended: JobEnded | None = None
        self.counters: Counter[str] = Counter()
        self._keys: dict[int, _Key] = {}
        self._newest = -1
        self._floor = 0
        self._bases = [0] * terms.entry.workers
        self._byes = 0
        self._progress = 0.0

    @property
    def deadline(self) -> float | None:
        """When to poll if nothing arrives before; None: not at all."""
        if not self._waiting:
            return None
        dues = [key.due for key in self._keys.values() if key.final is None]
        return min([*dues, self._progress + self.terms.dead])

    def poll(self, now: float) -> list[bytes]:
        """What is to be sent now: REMINDERs and QUERYs for what is late; the job's end."""
        if not self._waiting:
            return []
        if now - self._progress >= self.terms.dead:
            return self._end()
        out = []
        for number, key in self._keys.items():
            if key.final is None and key.due <= now:
                out += self._remind(number, key)
                key.due = now + key.wait
        return out

    def receive(self, data: bytes, now: float) -> list[bytes]:
        """Work on a packet, and poll."""
        try:
            packet = Packet.from_bytes(data)
        except PacketError:
            return []
        if (packet.job, packet.epoch) != (self.terms.job, self.terms.epoch):
            return []
        if packet.bitmap & ~self.terms.everyone or packet.worker >= self.terms.entry.workers:
            return []
        if self.ended is not None:
            from_worker = packet.kind in (*_CONTRIBUTIONS, PacketKind.BYE)
            return [self._bye_ack(packet.worker)] if from_worker else []
        if not self._waiting:
            self._progress = now
        if packet.kind is PacketKind.BYE:
            return self._bye(packet, now) + self.poll(now)
        out = []
        if packet.kind in _CONTRIBUTIONS or packet.count:
            number = self.terms.number(packet.seq, max(self._newest, 0))
            if number >= self._floor and not self.finished:
                out = self._take(packet, number, now)
                self._see(packet, number, now)
                out += self._settle(now)
                self._purge()
        return out + self.poll(now)

    @property
    def _waiting(self) -> bool:
        """Whether something is outstanding; a worker that owes nothing need not send anything."""
        if self.finished or self.ended is not None:
            return False
        return bool(self._byes) or any(key.final is None for key in self._keys.values())

    def _take(self, packet: Packet, number: int, now: float) -> list[bytes]:
        """Work on sums or a contribution of a key that is not past."""
        if packet.lanes is not self.terms.entry.lanes:
            return []
        key = self._keys.get(number)
        if key is None:
            wait = self.terms.reminder
            key = self._keys[number] = _Key(due=now + wait, wait=wait)
        if packet.kind in _CONTRIBUTIONS:
            if key.final is not None:
                return [self._result(key.final, 1 << packet.worker)]
            self._merge(key, packet, contribution(packet, self.terms.entry.table))
        elif packet.kind is PacketKind.PARTIAL:
            if key.final is None:
                self._merge(key, packet, packet.sums().astype(np.int64))
        elif key.final is None:
            return self._adopt(key, packet, now)
        return []

    def _merge(self, key: _Key, packet: Packet, values: npt.NDArray[np.int64]) -> None:
        if key.sums is None:
            key.bitmap, key.sums = packet.bitmap, values
        elif len(values) != len(key.sums):
            self.counters["discarded"] += 1
            return
        elif not key.bitmap & packet.bitmap:
            key.bitmap |= packet.bitmap
            key.sums = add_sums(key.sums, values, packet.lanes)
        elif key.bitmap & ~packet.bitmap == 0 and key.bitmap != packet.bitmap:
            key.bitmap, key.sums = packet.bitmap, values
        else:
            self.counters["discarded"] += 1
            return
        key.priority = max(key.priority, packet.priority)

    def _adopt(self, key: _Key, packet: Packet, now: float) -> list[bytes]:
        """A copy of a result that the switch made: the final sum."""
        if packet.count < self.terms.entry.needed:
            return []
        held = key.bitmap
        key.final = packet.with_changes(kind=PacketKind.RESULT, from_server=1, worker=0)
        key.sums = None
        self._progress = now
        self.counters["adopted"] += 1
        if packet.kind is PacketKind.ANSWER or held:
            return [self._result(key.final, self.terms.everyone)]
        return []

    def _see(self, packet: Packet, number: int, now: float) -> None:
        """Learn how far a worker is: one that contributed to s has all results up to s − W."""
        self._newest = max(self._newest, number)
        for worker in range(self.terms.entry.workers):
            if packet.bitmap >> worker & 1:
                self._raise_base(worker, number - self.terms.window + 1, now)
        if packet.kind in _CONTRIBUTIONS:
            base = self.terms.number(packet.base, number)
            self._raise_base(packet.worker, base, now)

    def _raise_base(self, worker: int, base: int, now: float) -> None:
        if base > self._bases[worker]:
            self._bases[worker] = base
            self._progress = now

    def _settle(self, now: float) -> list[bytes]:
        """Make final what is complete, and not too far ahead of a slow worker."""
        out = []
        limit = min(self._bases) + LEAD * self.terms.window
        for number, key in self._keys.items():
            if key.final is not None or key.sums is None:
                continue
            count = bin(key.bitmap).count("1")
            if count < self.terms.entry.needed or (self.terms.quorum and number >= limit):
                continue
            lanes = self.terms.entry.lanes
            key.final = Packet(
                PacketKind.RESULT,
                self.terms.job,
                self.terms.epoch,
                seq=self.terms.seq(number),
                priority=key.priority,
                lanes=lanes,
                bitmap=key.bitmap,
                from_server=1,
                count=count,
                coordinates=len(key.sums),
                payload=key.sums.astype(lanes.dtype).tobytes(),
            )
            key.sums = None
            self._progress = now
            self.counters["made"] += 1
            out.append(self._result(key.final, self.terms.everyone))
        return out

    def _purge(self) -> None:
        """Forget keys whose results all workers have: those 2W before the newest, since who sends
        s has the results up to s − W, to which everybody contributed; or, where a quorum goes on
        without them, those before every worker's base."""
        if self.terms.quorum:
            floor = min(self._bases)
        else:
            floor = self._newest - 2 * self.terms.window + 1
        if floor > self._floor:
            self._floor = floor
            for number in [number for number in self._keys if number < floor]:
                del self._keys[number]

    def _remind(self, number: int, key: _Key) -> list[bytes]:
        seq, terms = self.terms.seq(number), self.terms
        out = [Packet(PacketKind.REMINDER, terms.job, terms.epoch, seq=seq)]
        self.counters["reminders"] += 1
        if key.reminded:
            key.wait = terms.longer(key.wait, terms.reminder)
            for worker in range(terms.entry.workers):
                if not key.bitmap >> worker & 1:
                    out.append(
                        Packet(PacketKind.QUERY, terms.job, terms.epoch, seq=seq, worker=worker)
                    )
                    self.counters["queries"] += 1
        key.reminded = True
        return [packet.to_bytes() for packet in out]

    def _bye(self, packet: Packet, now: float) -> list[bytes]:
        if not self._byes >> packet.worker & 1:
            self._byes |= 1 << packet.worker
            self._progress = now
            base = self.terms.number(packet.base, max(self._newest, 0))
            self._raise_base(packet.worker, base, now)
        if self._byes != self.terms.everyone:
            return self._settle(now)
        if self.finished:
            return [self._bye_ack(packet.worker)]
        self.finished = True
        self._keys.clear()
        return self._bye_ack_all()

    def _end(self) -> list[bytes]:
        late = [number for number, key in self._keys.items() if key.final is None]
        if late:
            number = min(late)
            missing = self.terms.everyone & ~self._keys[number].bitmap
        else:
            missing = self.terms.everyone & ~self._byes
            number = min(base for w, base in enumerate(self._bases) if missing >> w & 1)
        self.ended = JobEnded(self.terms.job, self.terms.seq(number), missing)
        self._keys.clear()
        return self._bye_ack_all()

    def _bye_ack_all(self) -> list[bytes]:
        return [self._bye_ack(worker) for worker in range(self.terms.entry.workers)]

    def _bye_ack(self, worker: int) -> bytes:
        """All have finished; or, with ``destinations``, the job ended without those workers."""
        seq, missing = (self.ended.seq, self.ended.missing) if self.ended else (0, 0)
        return Packet(
            PacketKind.BYE_ACK,
            self.terms.job,
            self.terms.epoch,
            seq=seq,
            worker=worker,
            destinations=missing,
        ).to_bytes()

    def _result(self, final: Packet, destinations: int) -> bytes:
        return final.with_changes(destinations=destinations).to_bytes()

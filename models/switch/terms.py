"""What a job's server and workers agree on before they start."""

from __future__ import annotations

from dataclasses import dataclass

from eyas.interfaces.switch.packet import MAX_WORKERS
from eyas.interfaces.switch.states import Policy
from models.switch.records import JobEntry

__all__ = ["JobEnded", "JobTerms", "serial_distance"]

_WRAP = 1 << 32


def serial_distance(seq: int, reference: int) -> int:
    """How far 32-bit serial number ``seq`` comes after ``reference``: −2^31 to 2^31 − 1."""
    return ((seq - reference + _WRAP // 2) % _WRAP) - _WRAP // 2


@dataclass(frozen=True)
class JobEnded:
    """Why a job ended early: nothing arrived of ``seq`` from the workers of the bitmap ``missing``
    (0: the server itself was silent)."""

    job: int
    seq: int
    missing: int

    def __str__(self) -> str:
        who = [str(worker) for worker in range(MAX_WORKERS) if self.missing >> worker & 1]
        what = f"job {self.job} ended: no progress at sequence number {self.seq}, "
        if not who:
            return what + "and nothing heard from the server"
        return what + f"which waits for worker{'s' * (len(who) > 1)} {', '.join(who)}"


@dataclass(frozen=True)
class JobTerms:
    """A job as its server and workers see it.

    Parameters
    ----------
    job : int
        Its number in the job table.
    entry : JobEntry
        What the switch's job table says of it: epoch, workers, needed, lanes, table.
    policy : Policy
        The switch's.
    window : int
        W: packets that a worker may have unanswered, counted from its oldest.  Under SWITCHML at
        most half of the job's own slots.
    first : int
        The sequence number of the first packet.
    timeout : float
        RTO: a contribution unanswered for so long is sent again; at least four times what an
        answer takes, skew of the workers included.
    dead : float
        After so long without progress the server ends the job.
    doublings : int
        How often a wait doubles while nothing comes.
    """

    job: int
    entry: JobEntry
    policy: Policy = Policy.ESA
    window: int = 8
    first: int = 0
    timeout: float = 16.0
    dead: float = 4000.0
    doublings: int = 3

    def __post_init__(self) -> None:
        entry = self.entry
        if not 1 <= entry.workers <= MAX_WORKERS:
            raise ValueError(f"A job has 1 to {MAX_WORKERS} workers, not {entry.workers}")
        if not 1 <= entry.needed <= entry.workers:
            raise ValueError(f"A quorum is 1 to {entry.workers} workers, not {entry.needed}")
        if self.window < 1:
            raise ValueError(f"A window is at least one packet, not {self.window}")
        if not 0 <= self.first < _WRAP:
            raise ValueError(f"A sequence number has 32 bits, unlike {self.first}")
        if self.timeout <= 0 or self.dead < 2 * self.timeout:
            raise ValueError(
                f"The timeout must be positive and at most half of the time after which a job is "
                f"dead; they are {self.timeout} and {self.dead}"
            )
        if self.policy is Policy.SWITCHML:
            if 2 * self.window > entry.size:
                raise ValueError(
                    f"Under SWITCHML a window is at most half of the job's {entry.size} slots, "
                    f"not {self.window}"
                )
            if self.quorum:
                raise ValueError("Under SWITCHML all workers are needed: there is no quorum")

    @property
    def epoch(self) -> int:
        """The job's epoch."""
        return self.entry.epoch

    @property
    def everyone(self) -> int:
        """The bitmap of all workers."""
        return (1 << self.entry.workers) - 1

    @property
    def quorum(self) -> bool:
        """Fewer than all workers are needed."""
        return self.entry.needed < self.entry.workers

    @property
    def reminder(self) -> float:
        """T_rem: what the server waits before it asks for the rest of a sum."""
        return self.timeout / 2

    def seq(self, number: int) -> int:
        """The sequence number of the job's packet ``number``, which counts from 0 on."""
        return (self.first + number) % _WRAP

    def number(self, seq: int, near: int) -> int:
        """The packet of sequence number ``seq`` that is nearest to packet ``near``."""
        return near + serial_distance(seq, self.seq(near))

    def longer(self, wait: float, least: float) -> float:
        """The wait after ``wait``: twice as long, within ``doublings`` of ``least``."""
        return min(2 * wait, least * (1 << self.doublings))

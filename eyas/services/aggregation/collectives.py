"""Collectives among the workers of a group, which end in time and say which worker is missing.

PyTorch's gloo reports a lost peer by address, and only to its neighbours.  Here every worker waits
in short turns and looks between them whether another one has failed; whoever sees a failure looks
which workers give signs of life, and all of them raise the same sentence.
"""

from __future__ import annotations

import pickle
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import Store
from torch.distributed import distributed_c10d

from eyas.services.aggregation.liveness import Liveness, Sign
from eyas.services.aggregation.training_job import DEFAULT_TIMEOUT

__all__ = ["PeerLost", "Peers"]

_TURN = timedelta(milliseconds=500)
"""How often a waiting worker looks whether another one has failed."""

_constructed: Counter[tuple[int, ...]] = Counter()
"""How many Peers this process has made of some ranks: the same number on all of them."""


class PeerLost(RuntimeError):
    """A worker is gone, or too late; the message names it."""


class Peers:
    """The workers of one process group, by collectives of their own.

    The hook's collectives run on connections of their own (gloo), so that they do not mix with
    those that PyTorch or the user starts from other threads.  All workers construct it together.

    Parameters
    ----------
    group : ProcessGroup or None
        Whose ranks take part; the default group's when None.
    timeout : float
        Seconds that a worker waits for a slow one: one that is alive and does not come.
    grace : float
        Seconds in which the others must show a sign of life once a failure was seen.  A failure is
        raised at most ``timeout + grace`` after the last worker came, and within ``grace`` and a
        second where a connection broke because a worker ended.

    Attributes
    ----------
    rank, size : int
        This worker's number in the group, and how many there are.
    ranks : list of int
        Each worker's rank in the world, as messages name it.
    """

    def __init__(
        self,
        group: dist.ProcessGroup | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        grace: float = 5.0,
    ) -> None:
        if not dist.is_initialized():
            raise RuntimeError(
                "There is no process group: call torch.distributed.init_process_group('gloo') first"
            )
        if timeout <= 0 or grace <= 0:
            raise ValueError(f"Timeout and grace must be positive, not {timeout} and {grace}")
        mine, ranks = dist.get_rank(), _ranks(group)
        if mine not in ranks:
            raise ValueError(f"Rank {mine} is not in the process group given to the hook")
        self.timeout = timeout
        self.grace = grace
        self.rank = ranks.index(mine)
        self.size = len(ranks)
        self.ranks = ranks
        self._shared = 0
        # Names that several hooks in one job do not share; alike on all workers.
        _constructed[tuple(ranks)] += 1
        name = f"eyas/{'_'.join(map(str, ranks))}/{_constructed[tuple(ranks)]}/"
        store = distributed_c10d.PrefixStore(name, distributed_c10d._get_default_store())
        # A connection of its own: whoever waits for a key on the other one would hold it up.
        self._store: Store = store.clone()  # type: ignore[attr-defined]
        self._life = Liveness(self._store, self.rank, self.size)
        self._meet()
        try:
            # gloo breaks all connections at its own timeout: it must not come before ours.
            # Not by new_group, whose names depend on the groups that a rank has been in.
            self._gloo: Any = distributed_c10d.ProcessGroupGloo(
                store, self.rank, self.size, timedelta(seconds=2 * timeout + grace)
            )
        except RuntimeError as error:
            self._explain("Connecting the workers", error, late=True)

    def all_reduce_max(self, values: Tensor, what: str) -> None:
        """The largest of all workers' ``values``, in place; ``what`` begins an error's sentence."""
        self._wait(lambda: self._gloo.allreduce([values], dist.ReduceOp.MAX), what)

    def gather(self, values: Tensor, what: str) -> list[Tensor]:
        """All workers' ``values`` on worker 0, an empty list on the others."""
        parts = [torch.empty_like(values) for _ in range(self.size)] if self.rank == 0 else []
        self._wait(lambda: self._gloo.gather(parts, values, 0), what)
        return parts

    def broadcast(self, values: Tensor, what: str) -> None:
        """Worker 0's ``values`` on all workers, in place."""
        self._wait(lambda: self._gloo.broadcast(values, 0), what)

    def all_gather_object(self, value: object, what: str) -> list[Any]:
        """Every worker's ``value`` (small, of built-in types), by rank."""
        data = torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8)
        longest = torch.tensor([data.numel()])
        self.all_reduce_max(longest, what)
        padded = torch.nn.functional.pad(data, (0, int(longest) - data.numel()))
        found = [torch.empty_like(padded) for _ in range(self.size)]
        self._wait(lambda: self._gloo.allgather(found, padded), what)
        return [pickle.loads(part.numpy().tobytes()) for part in found]

    def from_first(self, make: Callable[[], str], what: str, patience: float) -> str:
        """What ``make`` returns on worker 0, on all workers; its error too.

        For what takes longer than a collective may: the others wait ``patience`` seconds.
        """
        self._shared += 1
        key, failed = f"shared/{self._shared}", f"shared/{self._shared}/failed"
        first = f"rank {self.ranks[0]}"
        if self.rank == 0:
            try:
                value = make()
            except Exception as error:
                self._store.set(failed, str(error))
                raise
            self._store.set(key, value)
            return value
        last = time.monotonic() + patience
        while time.monotonic() < last:
            if self._store.check([failed]):
                raise PeerLost(f"{what} failed on {first}: {self._store.get(failed).decode()}")
            if self._store.check([key]):
                return self._store.get(key).decode()
            if self._store.check(["ended/0"]):
                raise PeerLost(f"{what} failed: {first} has ended")
            time.sleep(0.05)
        raise PeerLost(f"{what}: {first} has not done it within {patience:g} s")

    def close(self) -> None:
        """Part from the others; may be called twice."""
        self._life.close()

    def _meet(self) -> None:
        """Wait until all workers have come so far."""
        what, last = "Connecting the workers", time.monotonic() + self.timeout
        try:
            while not self._life.joined:
                late = time.monotonic() > last
                if late or self._somebody_failed():
                    self._explain(what, TimeoutError("a worker has not come"), late)
                time.sleep(0.05)
        except RuntimeError as error:
            if isinstance(error, PeerLost):
                raise
            self._explain(what, error)

    def _wait(self, begin: Callable[[], dist.Work], what: str) -> None:
        began = time.monotonic()
        last = began + self.timeout
        left = float("inf")  # when a worker was seen to have left: what it sent may be under way
        try:
            work = begin()
        except RuntimeError as error:
            self._explain(what, error, new=True)
        while True:
            try:
                work.wait(_TURN)
                return
            except RuntimeError as error:
                if work.is_completed():
                    break  # it failed, or ended just after the turn: asking again tells
                now = time.monotonic()
                if now > last or now > left + self.grace or self._somebody_failed():
                    new = now < began + 2 * _TURN.total_seconds()
                    self._explain(what, error, late=now > last, new=new)
                if self._somebody_left():
                    left = min(left, now)
        try:
            work.wait()
        except RuntimeError as error:
            self._explain(what, error, late=time.monotonic() > last)

    def _somebody_failed(self) -> bool:
        try:
            return self._store.check(["failed"])
        except RuntimeError:
            return True

    def _somebody_left(self) -> bool:
        try:
            return self._life.somebody_left
        except RuntimeError:
            return True

    def _explain(
        self, what: str, error: Exception, late: bool = False, new: bool = False
    ) -> NoReturn:
        """Raise PeerLost with the names of those that are gone, or too late.

        The first worker that knows tells the others, so that all say the same.  A ``new`` one has
        only just come: when the others have given up waiting, it is the late one itself.
        """
        detail = " ".join(str(error).split())
        try:
            if new and self._store.check(["failed"]) and self._store.get("failed") == b"late":
                self._await_verdict({self.rank: Sign.ALIVE}, detail)
            if not self._store.check(["verdict"]):
                self._life.wait()
                if not self._store.check(["failed"]):
                    self._store.set("failed", "late" if late else "broken")
                signs = self._life.look(self.grace)
                late = self._store.get("failed") == b"late"
                if not self._store.check(["verdict"]):
                    self._store.set("verdict", self._verdict(signs, late, detail))
            verdict = self._store.get("verdict").decode()
        except RuntimeError:
            raise PeerLost(
                f"{what} failed and the rendezvous store is gone too: the process that hosts it "
                f"(rank 0, unless torchrun does) has ended ({detail})"
            ) from error
        raise PeerLost(f"{what} failed: {verdict}") from error

    def _await_verdict(self, signs: dict[int, Sign], detail: str) -> None:
        """Stay until the others have looked who is alive; then say it, if nobody has."""
        last = time.monotonic() + 2 * self.grace
        while not self._store.check(["verdict"]):
            if time.monotonic() > last:
                self._store.set("verdict", self._verdict(signs, True, detail))
            time.sleep(0.05)

    def _verdict(self, signs: dict[int, Sign], late: bool, detail: str) -> str:
        """Who is to blame, in the rest of a sentence."""
        found: dict[Sign, list[int]] = {sign: [] for sign in Sign}
        for rank, sign in signs.items():
            found[sign].append(self.ranks[rank])
        gone = []
        if found[Sign.SILENT]:
            names, have = _named(found[Sign.SILENT])
            gone.append(
                f"{names} gave no sign of life within {self.grace:g} s and {have} ended, or cannot "
                f"be reached"
            )
        if found[Sign.ENDED]:
            names, have = _named(found[Sign.ENDED])
            gone.append(f"{names} {have} closed the hook or ended")
        if gone:
            return "; ".join(gone)
        if found[Sign.ABSENT]:
            names, have = _named(found[Sign.ABSENT])
            return (
                f"{names} {have} not constructed a ThcState within {self.timeout:g} s: all ranks "
                f"of the module's process group must"
            )
        if late and found[Sign.ALIVE]:
            names, have = _named(found[Sign.ALIVE])
            return (
                f"{names} {have} not come for {self.timeout:g} s, although alive: slow, or busy "
                f"with something else. Give ThcState a longer timeout if that is normal"
            )
        return f"a connection broke although all {self.size} ranks are alive ({detail})"


def _ranks(group: Any) -> list[int]:
    if not isinstance(group, dist.ProcessGroup | None):
        return []  # what new_group returns on ranks outside
    return dist.get_process_group_ranks(group or dist.group.WORLD)


def _named(ranks: list[int]) -> tuple[str, str]:
    """Ranks as a subject, and the verb that follows."""
    names = ", ".join(map(str, sorted(ranks)))
    return (f"rank {names}", "has") if len(ranks) == 1 else (f"ranks {names}", "have")

"""The other workers, as the hook's thread sees them: collectives that end, and say who is missing.

PyTorch's gloo reports a lost peer by address, and only to its neighbours.  Here every worker waits
in short turns and looks between them whether another one has failed; whoever notices a failure
leaves a sign of life in the rendezvous store, and the error names the workers that left none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import distributed_c10d

__all__ = ["PeerLost", "Peers"]

_TURN = timedelta(milliseconds=500)
"""How often a waiting worker looks whether another one has failed."""


class PeerLost(RuntimeError):
    """A worker is gone, or too late; the message names it."""


class Peers:
    """The workers of one process group, by collectives of their own.

    The hook's collectives run on a group of their own (gloo), so that they do not mix with those
    that PyTorch or the user starts from other threads.  All workers construct it together.

    Parameters
    ----------
    group : ProcessGroup or None
        Whose ranks take part; the default group's when None.
    timeout : float
        Seconds that a collective may take.
    grace : float
        Seconds in which the others must show that they are alive once a failure was seen.  A
        failure is raised at most ``timeout + grace`` after the last worker came, and within
        ``grace`` and a second where a connection broke.
    """

    def __init__(
        self, group: dist.ProcessGroup | None = None, timeout: float = 60.0, grace: float = 5.0
    ) -> None:
        if not dist.is_initialized():
            raise RuntimeError(
                "There is no process group: call torch.distributed.init_process_group('gloo') first"
            )
        if timeout <= 0 or grace <= 0:
            raise ValueError(f"Timeout and grace must be positive, not {timeout} and {grace}")
        ranks = dist.get_process_group_ranks(group or dist.group.WORLD)
        self.timeout = timeout
        self.grace = grace
        self.rank = ranks.index(dist.get_rank())
        self.size = len(ranks)
        self._ranks = ranks
        self._shared = 0
        self._group = dist.new_group(
            ranks,
            backend="gloo",
            timeout=timedelta(seconds=timeout),
            use_local_synchronization=True,
        )
        # Names that several hooks in one job do not share; alike on all workers.
        name = self._group.group_name
        self._store = distributed_c10d.PrefixStore(
            f"eyas/{name}/", distributed_c10d._get_default_store()
        )

    def all_reduce_max(self, values: Tensor, what: str) -> None:
        """The largest of all workers' ``values``, in place; ``what`` begins an error's sentence."""
        self._wait(
            lambda: dist.all_reduce(values, dist.ReduceOp.MAX, self._group, async_op=True), what
        )

    def gather(self, values: Tensor, what: str) -> list[Tensor]:
        """All workers' ``values`` on rank 0, an empty list on the others."""
        root = self.rank == 0
        parts = [torch.empty_like(values) for _ in range(self.size)] if root else []
        self._wait(
            lambda: dist.gather(
                values,
                parts if root else None,
                dst=self._ranks[0],
                group=self._group,
                async_op=True,
            ),
            what,
        )
        return parts

    def broadcast(self, values: Tensor, what: str) -> None:
        """Rank 0's ``values`` on all workers, in place."""
        self._wait(lambda: dist.broadcast(values, self._ranks[0], self._group, async_op=True), what)

    def all_gather_object(self, value: object, what: str) -> list[Any]:
        """Every worker's ``value`` (small, of built-in types), by rank."""
        found: list[Any] = [None] * self.size
        try:
            dist.all_gather_object(found, value, group=self._group)
        except RuntimeError as error:
            self._explain(what, error)
        return found

    def from_first(self, make: Callable[[], str], what: str, patience: float) -> str:
        """What ``make`` returns on rank 0, on all workers; its error too.

        For what takes longer than a collective may: the others wait ``patience`` seconds.
        """
        self._shared += 1
        key, failed = f"shared/{self._shared}", f"shared/{self._shared}/failed"
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
                raise PeerLost(f"{what} failed on rank 0: {self._store.get(failed).decode()}")
            if self._store.check([key]):
                return self._store.get(key).decode()
            time.sleep(0.05)
        raise PeerLost(f"{what}: rank 0 has not done it within {patience:g} s")

    def _wait(self, begin: Callable[[], dist.Work | None], what: str) -> None:
        last = time.monotonic() + self.timeout + _TURN.total_seconds()
        try:
            work = begin()
        except RuntimeError as error:
            self._explain(what, error)
        assert work is not None, "this process is not in the group"
        while True:
            try:
                work.wait(_TURN)
                return
            except RuntimeError as error:
                if work.is_completed():
                    break  # it failed, or ended just after the turn: asking again tells
                if time.monotonic() > last or self._somebody_failed():
                    self._explain(what, error)
        try:
            work.wait()
        except RuntimeError as error:
            self._explain(what, error)

    def _somebody_failed(self) -> bool:
        try:
            return self._store.check(["failed"])
        except RuntimeError:
            return True

    def _explain(self, what: str, error: Exception) -> NoReturn:
        """Raise PeerLost with the names of those that give no sign of life."""
        detail = " ".join(str(error).split())
        missing = set(range(self.size)) - {self.rank}
        try:
            self._store.set(f"alive/{self.rank}", what)
            self._store.set("failed", what)
            last = time.monotonic() + self.grace
            while missing and time.monotonic() < last:
                missing = {rank for rank in missing if not self._store.check([f"alive/{rank}"])}
                time.sleep(0.05)
        except RuntimeError:
            raise PeerLost(
                f"{what} failed and the rendezvous store is gone too: the process that hosts it "
                f"(rank 0, unless torchrun does) has ended ({detail})"
            ) from error
        if not missing:
            raise PeerLost(
                f"{what} failed although all {self.size} ranks are alive: {detail}"
            ) from error
        names = ", ".join(map(str, sorted(missing)))
        one = len(missing) == 1
        raise PeerLost(
            f"{what} failed: rank{'' if one else 's'} {names} gave no sign of life within "
            f"{self.grace:g} s; {'it has' if one else 'they have'} ended or cannot be reached"
        ) from error

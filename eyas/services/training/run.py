"""Data-parallel training in real processes, once with each scheme of exchanging gradients.

The parent hosts the rendezvous and listens; each worker trains on its share of every batch and
reports.  All schemes start from the same weights and see the same pictures in the same order.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch.distributed as dist

from eyas.services.training.worker import Report, Settings, work

__all__ = ["Curve", "Report", "Settings", "TrainingError", "train"]

_SILENCE = 600.0
"""Seconds without any worker's report after which training is given up."""


class TrainingError(RuntimeError):
    """A worker could not go on; the message is the worker's."""


@dataclass
class Curve:
    """Accuracy and bytes of one scheme over the rounds; bytes are those of one worker."""

    points: list[Report] = field(default_factory=list)
    replicas_equal: bool = True
    """Whether all workers had the same weights, bit for bit, at every point."""

    @property
    def last(self) -> Report:
        """The end of training."""
        return self.points[-1]

    def as_dict(self) -> dict[str, Any]:
        """What ``eyas thc train --json`` prints of one scheme."""
        last = self.last
        return {
            "accuracy": last.accuracy,
            "bytes_up": last.traffic["payload_up"],
            "bytes_down": last.traffic["payload_down"],
            "rounds": last.round,
            "total_up": _total(last, "_up"),
            "total_down": _total(last, "_down"),
            "traffic": last.traffic,
            "seconds": round(last.seconds, 1),
            "weights_sha256": last.weights,
            "replicas_equal": self.replicas_equal,
            "curve": [
                {
                    "round": point.round,
                    "accuracy": point.accuracy,
                    "bytes_up": point.traffic["payload_up"],
                    "bytes_down": point.traffic["payload_down"],
                }
                for point in self.points
            ],
        }


def _total(report: Report, direction: str) -> int:
    return sum(count for name, count in report.traffic.items() if name.endswith(direction))


def train(
    settings: Settings, progress: Callable[[Report], None] = lambda report: None
) -> dict[str, Curve]:
    """Train with each scheme in turn; ``progress`` is told what rank 0 reports.

    Raises
    ------
    TrainingError
        With the sentence of the first worker that failed; the others are stopped.
    """
    # One process loads PyTorch, and all workers are copies of it.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["eyas.services.training.worker"])
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    workers: list[tuple[BaseProcess, Connection]] = []
    try:
        for rank in range(settings.workers):
            here, there = context.Pipe(duplex=False)
            process: BaseProcess = context.Process(
                target=work, args=(settings, rank, store.port, there), daemon=True
            )
            process.start()
            there.close()
            workers.append((process, here))
        return _listen(settings.schemes, workers, progress)
    finally:
        for started, connection in workers:
            connection.close()
            started.terminate()
        for started, _ in workers:
            started.join(10)
            if started.is_alive():
                started.kill()
                started.join()


def _listen(
    schemes: Sequence[str],
    workers: Sequence[tuple[BaseProcess, Connection]],
    progress: Callable[[Report], None],
) -> dict[str, Curve]:
    """Collect the workers' reports until all have finished."""
    curves = {scheme: Curve() for scheme in schemes}
    weights: dict[tuple[str, int], str] = {}
    ends = {connection: rank for rank, (_, connection) in enumerate(workers)}
    while ends:
        ready = wait(list(ends), timeout=_SILENCE)
        if not ready:
            silent = ", ".join(map(str, sorted(ends.values())))
            raise TrainingError(f"No word from ranks {silent} for {_SILENCE:g} s")
        for connection in ready:
            assert isinstance(connection, Connection)
            rank = ends[connection]
            try:
                message = connection.recv()
            except EOFError:
                del ends[connection]
                workers[rank][0].join(30)
                if workers[rank][0].exitcode:
                    raise TrainingError(
                        f"Rank {rank} ended without a word (exit code {workers[rank][0].exitcode})"
                    ) from None
                continue
            if isinstance(message, str):
                raise TrainingError(message)
            curve = curves[message.scheme]
            first = weights.setdefault((message.scheme, message.round), message.weights)
            curve.replicas_equal &= first == message.weights
            if rank == 0:
                curve.points.append(message)
                progress(message)
    return curves

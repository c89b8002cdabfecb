"""Real worker processes with a process group, for tests: one set serves many tests."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist

__all__ = ["Failed", "Ranks"]

DEADLINE = 120.0


class Failed:
    """What came instead of an answer: the exception's class and words, and where it was."""

    def __init__(self, error: BaseException) -> None:
        self.kind = type(error).__name__
        self.message = str(error)
        self.trace = "".join(traceback.format_exception(error))

    def __repr__(self) -> str:
        return f"Failed({self.trace})"


class Ranks:
    """``count`` processes; :meth:`run` calls one function on all of them at once."""

    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["eyas.services.training.worker"])
        self._store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self._ends: list[Connection] = []
        self.processes = []
        for rank in range(count):
            here, there = context.Pipe()
            process = context.Process(
                target=_serve, args=(rank, count, self._store.port, there), daemon=True
            )
            process.start()
            there.close()
            self._ends.append(here)
            self.processes.append(process)

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """``function(rank, *arguments)`` of every rank: its answer, Failed, or None if it died."""
        for end in self._ends:
            end.send((function, arguments))
        answers = []
        for rank, end in enumerate(self._ends):
            if not end.poll(DEADLINE):
                raise TimeoutError(f"Rank {rank} did not answer for {DEADLINE:g} s")
            try:
                answers.append(end.recv())
            except EOFError:
                answers.append(None)
        return answers

    def close(self) -> None:
        """End all processes."""
        for end in self._ends:
            end.close()
        for process in self.processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()


def _serve(rank: int, count: int, port: int, end: Connection) -> None:
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port, is_master=False)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=count)
    while True:
        try:
            function, arguments = end.recv()
        except EOFError:
            return
        try:
            answer = function(rank, *arguments)
        except Exception as error:
            answer = Failed(error)
        end.send(answer)

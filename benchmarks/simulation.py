"""How fast the simulated board runs the vision overlay at its default configuration.

``cycles_per_second`` counts the overlay's cycles while the driver puts pictures through it, with
everything that a user has: driver, registers, DRAM at the PYNQ-Z2's speed, interrupts.
``bare_cycles_per_second`` is the same library in the middle of the same job, with nothing but the
clock toggled by a C++ loop. Both are medians of several runs that alternate in one process; outputs
are compared between the two.

The job is FashionNet with weights drawn from a fixed seed, on random pictures.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import numpy as np

from benchmarks.common import main
from drivers.board import Board, Buffer
from drivers.simulated.board import SimulatedBoard
from drivers.simulated.vision import vision_board
from drivers.vision import VisionEngine
from eyas.interfaces.vision.program_file import Program

__all__ = ["measure"]

SEED = 1
PICTURES = 32
RUNS = 7
MARGIN = 200
"""Cycles at a core's end that are not run bare: the output must not be waiting for memory."""


class BareMiddle(Board):
    """A board on which the first stretch of each wait is run without memory and Python.

    Parameters
    ----------
    board : SimulatedBoard
        Does everything else.
    lead : int
        Cycles run as usual at the start of each wait: the job has its input then.
    bare : int
        Cycles run bare after these.

    Attributes
    ----------
    seconds : float
        Time spent in bare cycles.
    cycles : int
        Number of them.
    """

    def __init__(self, board: SimulatedBoard, lead: int, bare: int) -> None:
        super().__init__()
        self.clock_hz = board.clock_hz
        self.seconds = 0.0
        self.cycles = 0
        self._board = board
        self._lead, self._bare = lead, bare

    def _wait_interrupt(self, timeout_s: float, waiting_for: str) -> None:
        self._board.run(self._lead)
        began = time.perf_counter()
        self._board.run_bare(self._bare)
        self.seconds += time.perf_counter() - began
        self.cycles += self._bare
        self._board.wait_interrupt(timeout_s, waiting_for)

    def _read_register(self, offset: int) -> int:
        return self._board.read_register(offset)

    def _write_register(self, offset: int, value: int) -> None:
        self._board.write_register(offset, value)

    def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Buffer:
        return self._board.allocate(shape, dtype)

    def _reset(self) -> None:
        self._board.reset()

    def _close(self) -> None:
        pass


def program() -> Program:
    """The benchmark's network, compiled."""
    import torch

    from eyas.compiler import compile_graph
    from eyas.compiler.importers.torch_import import from_module
    from models.vision.networks import FashionNet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = FashionNet().eval()
    images = pictures(64)
    graph = from_module(
        network, network.real(images[:1]), images, name="fashion", preprocess=network.preprocess
    )
    return compile_graph(graph)


def pictures(count: int) -> np.ndarray:
    """Random pictures of FashionNet's shape."""
    return np.random.default_rng(SEED).integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)


def measure(runs: int = RUNS) -> dict[str, Any]:
    """Return the figures of ``runs`` measurements of each kind."""
    network, images = program(), pictures(PICTURES)
    whole, bare = [], []
    with vision_board() as board, VisionEngine(board) as engine:
        engine.load(network)
        first = engine.infer(images[:1])
        core, job = int(first.core_cycles[0]), int(first.job_cycles[0])
        # What a job takes beside its core comes before and after it: no more than that before.
        lead = job - core
        middle = BareMiddle(board, lead, bare=core - lead - MARGIN)
        with VisionEngine(middle) as bare_engine:
            bare_engine.load(network)
            for _ in range(runs):
                began, cycles = time.perf_counter(), board.cycles
                expected = engine.infer(images).outputs
                whole.append((board.cycles - cycles) / (time.perf_counter() - began))
                # One picture at a time: a wait is then as long as a job.
                middle.seconds, middle.cycles = 0.0, 0
                found = [bare_engine.infer(images[i : i + 1]).outputs for i in range(PICTURES)]
                bare.append(middle.cycles / middle.seconds)
                if not np.array_equal(np.concatenate(found), expected):
                    raise RuntimeError("Outputs of the two kinds of run differ")
    return {
        "cycles_per_second": round(median(whole)),
        "bare_cycles_per_second": round(median(bare)),
        "ratio": round(median(a / b for a, b in zip(whole, bare, strict=True)), 3),
        "core_cycles": core,
        "job_cycles": job,
        "bare_cycles_of_a_job": core - lead - MARGIN,
        "pictures": PICTURES,
        "runs": runs,
    }


if __name__ == "__main__":
    main("simulation", __doc__ or "", measure, RUNS)

"""Python of the drivers, a job: microseconds and register accesses, with hardware of no latency.

The board answers register accesses at once and has a job's record ready as soon as it is waited
for: what is left is the driver, and the stub itself, some microseconds.  ``inference``
is ``VisionEngine.infer`` with one picture of 32 × 32 × 3; ``queued_inference`` one of 64 in a call;
``batch`` is ``ThcAggregator.aggregate`` with 8 workers' 4,096 coordinates.  ``raw`` pictures are
uint8 as a camera gives them, the others int8, quantised already; ``softmax`` is a network that ends
in one.  Processor time, the best of the runs of 20 calls: other programs only add to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.common import main
from benchmarks.instant_board import InstantBoard
from drivers.selftest_steps import DATA
from drivers.thc import ThcAggregator
from drivers.vision import VisionEngine
from eyas.interfaces.overlays import OVERLAYS
from eyas.interfaces.thc import registers as thc_registers
from eyas.interfaces.thc.config import DEFAULT_THC
from eyas.interfaces.thc.formats import LookupTable
from eyas.interfaces.vision import records as vision_program
from eyas.interfaces.vision.config import DEFAULT_VISION
from eyas.interfaces.vision.manifest import SoftmaxEnd
from eyas.interfaces.vision.program_file import Program

__all__ = ["instant_thc", "instant_vision", "measure"]

CALLS = 20
QUEUED = 64
WORKERS = 8
COORDINATES = 4096
TABLE = LookupTable(range(16))
SOFTMAX = SoftmaxEnd(beta=1.0, scale=1 / 256, zero_point=-128)


def instant_vision() -> InstantBoard:
    """The vision overlay without latency."""
    return InstantBoard(
        OVERLAYS["vision"],
        vision_program.DESCRIPTOR,
        vision_program.RESULT,
        vision_program.RESULT_MAGIC,
        DEFAULT_VISION.as_dict(),
    )


def instant_thc() -> InstantBoard:
    """The THC overlay without latency."""
    return InstantBoard(
        OVERLAYS["thc"],
        thc_registers.DESCRIPTOR,
        thc_registers.RESULT,
        thc_registers.RESULT_MAGIC,
        DEFAULT_THC.as_dict(),
    )


def _microseconds(call: Callable[[], Any], runs: int, jobs: int = 1) -> float:
    """Of one job: the best of ``runs`` times many calls."""
    best = float("inf")
    calls = max(1, CALLS // jobs)
    for _ in range(runs):
        start = time.process_time()
        for _ in range(calls):
            call()
        best = min(best, time.process_time() - start)
    return round(best / calls / jobs * 1e6, 1)


def _accesses(board: InstantBoard, call: Callable[[], Any]) -> int:
    before = board.accesses
    call()
    return board.accesses - before


def measure(runs: int) -> dict[str, Any]:
    """Figures by name, the best of ``runs``."""
    program = Program.load(DATA / "network.eyas")
    pictures = np.random.default_rng(1).integers(0, 256, (QUEUED, 32, 32, 3), np.uint8)
    quantised = (pictures ^ 0x80).view(np.int8)
    board = instant_vision()
    engine = VisionEngine(board)
    engine.load(program)
    figures: dict[str, Any] = {
        "microseconds_per_inference": _microseconds(lambda: engine.infer(quantised[:1]), runs),
        "microseconds_per_raw_inference": _microseconds(lambda: engine.infer(pictures[:1]), runs),
        "microseconds_per_queued_inference": _microseconds(
            lambda: engine.infer(quantised), runs, QUEUED
        ),
        "register_accesses_per_job": _accesses(board, lambda: engine.infer(quantised[:1])),
    }
    engine.load(replace(program, manifest=replace(program.manifest, softmax=SOFTMAX)))
    figures["microseconds_per_softmax_inference"] = _microseconds(
        lambda: engine.infer(quantised[:1]), runs
    )
    switch = instant_thc()
    unit = ThcAggregator(switch)
    unit.open(TABLE, WORKERS)
    packed = np.zeros((WORKERS, COORDINATES // 2), np.uint8)
    figures["microseconds_per_batch"] = _microseconds(
        lambda: unit.aggregate(packed, COORDINATES), runs
    )
    figures["register_accesses_per_batch"] = _accesses(
        switch, lambda: unit.aggregate(packed, COORDINATES)
    )
    return figures


if __name__ == "__main__":
    main("driver_overhead", __doc__, measure, runs=100)

"""A board as it is used: latency, throughput and, where rails have sensors, power.

``python -m benchmarks.on_board`` runs on a PYNQ-Z2 with numpy and PYNQ alone, beside
``vision.bit``, ``thc.bit`` and their .hwh. Latencies are a call's wall-clock time: ``infer`` with
one raw picture, ``aggregate`` with 8 workers' 65,536 coordinates; throughput is that of pictures in
a queue. ``hardware_us`` is what the overlay's own cycles take at its clock. Power is the mean while
the queue is full. With --simulated the wall clock is the simulation's: that tries the script, and
only ``hardware_us`` means something.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.common import machine
from drivers.board import Board
from drivers.errors import EyasError
from drivers.open_board import open_board
from drivers.selftest_steps import DATA
from drivers.thc import ThcAggregator
from drivers.vision import VisionEngine
from eyas.interfaces.thc.formats import LookupTable
from eyas.interfaces.vision.program_file import Program, ProgramFileError

__all__ = ["OVERLAYS", "Power", "latencies", "measure_thc", "measure_vision"]

QUEUED = 64
WORKERS, COORDINATES = 8, 65_536
PERCENTILES = (50, 90, 99)
SAMPLE_S = 0.05


class Power:
    """Samples the board's power rails in a thread, between ``with`` and its end.

    Attributes
    ----------
    watts : dict
        Mean by rail; empty where the board has no sensors, as the PYNQ-Z2 itself has none.
    """

    def __init__(self) -> None:
        self.watts: dict[str, float] = {}
        self._sensors = _power_sensors()
        self._samples: dict[str, list[float]] = {name: [] for name in self._sensors}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while True:
            for name, sensor in self._sensors.items():
                self._samples[name].append(float(sensor.value))
            if self._done.wait(SAMPLE_S):
                return

    def __enter__(self) -> Power:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.watts = {
            name: round(float(np.mean(values)), 3) for name, values in self._samples.items()
        }


def _power_sensors() -> dict[str, Any]:
    """Rails with a power sensor; none without PYNQ."""
    try:
        from pynq import get_rails
    except ImportError:
        return {}
    rails = get_rails()
    return {name: rail.power for name, rail in rails.items() if getattr(rail, "power", None)}


def latencies(call: Callable[[], Any], runs: int) -> dict[str, float]:
    """Microseconds of ``runs`` calls: percentiles and the longest."""
    call()  # what is kept from call to call is made
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        found.append((time.perf_counter() - start) * 1e6)
    named = {f"p{part}": round(float(np.percentile(found, part)), 1) for part in PERCENTILES}
    return {**named, "max": round(max(found), 1)}


def measure_vision(
    board: Board, runs: int, program: Program, pictures: np.ndarray | None = None
) -> dict[str, Any]:
    """Figures of the vision overlay with ``program``; noise where there are no ``pictures``."""
    if pictures is None:
        shape = program.manifest.input.shape
        pictures = np.random.default_rng(1).integers(0, 256, (QUEUED, *shape), np.uint8)
    with VisionEngine(board) as engine:
        engine.load(program)
        latency = latencies(lambda: engine.infer(pictures[:1]), runs)
        alone = engine.infer(pictures[:1])
        rounds = max(1, runs // len(pictures))
        with Power() as power:
            start = time.perf_counter()
            for _ in range(rounds):
                queue = engine.infer(pictures)
            taken = time.perf_counter() - start
    queued = rounds * len(pictures)
    microsecond = board.clock_hz / 1e6
    return {
        "program": program.manifest.name,
        "latency_us": latency,
        "hardware_us": round(alone.busy_cycles / microsecond, 1),
        "queued_hardware_us": round(queue.busy_cycles / len(pictures) / microsecond, 1),
        "python_us": round(float(np.median(queue.host_us)), 1),
        "pictures_per_second": round(queued / taken, 1),
        "watts": power.watts,
        "millijoules_per_picture": {
            name: round(watts * taken / queued * 1e3, 3) for name, watts in power.watts.items()
        },
    }


def measure_thc(board: Board, runs: int) -> dict[str, Any]:
    """Figures of the THC overlay: batches of 8 workers."""
    packed = np.random.default_rng(1).integers(0, 256, (WORKERS, COORDINATES // 2), np.uint8)
    with ThcAggregator(board) as unit:
        unit.open(LookupTable(range(16)), WORKERS)
        with Power() as power:
            start = time.perf_counter()
            latency = latencies(lambda: unit.aggregate(packed, COORDINATES), runs)
            taken = time.perf_counter() - start
        cycles = unit.cycles
    return {
        "latency_us": latency,
        "hardware_us": round(cycles / board.clock_hz * 1e6, 1),
        "gradients_per_second": round(WORKERS * (runs + 1) / taken, 1),
        "coordinates_per_second": round(WORKERS * COORDINATES * (runs + 1) / taken),
        "watts": power.watts,
    }


OVERLAYS = ("vision", "thc")
"""What is measured, in this order."""


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.on_board",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overlays", nargs="*", metavar="OVERLAY", help="vision, thc (both)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--simulated", action="store_true", help="try the script without a board")
    where.add_argument("--remote", metavar="ADDRESS", help="a board that serves PYNQ.remote")
    parser.add_argument("--bitstreams", metavar="DIR", default=".", help="where the files are")
    parser.add_argument(
        "--program", metavar="NET.eyas", help="of eyas compile (the self-test's small network)"
    )
    parser.add_argument("--input", metavar="X.npz", help="pictures, array images (noise)")
    parser.add_argument("--runs", type=int, default=1000, help="calls of each kind (1000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    if unknown := set(chosen.overlays) - set(OVERLAYS):
        parser.error(f"there is no overlay {', '.join(sorted(unknown))}; known: vision, thc")
    if chosen.runs < 1:
        parser.error(f"--runs must be at least 1, not {chosen.runs}")
    figures: dict[str, Any] = {}
    try:
        program = Program.load(chosen.program or DATA / "network.eyas")
        pictures = np.load(chosen.input)["images"] if chosen.input else None
        for overlay in chosen.overlays or OVERLAYS:
            with open_board(
                overlay,
                simulated=chosen.simulated,
                remote=chosen.remote,
                bitstreams=chosen.bitstreams,
            ) as board:
                figures["clock_mhz"] = board.clock_hz / 1e6
                figures[overlay] = (
                    measure_vision(board, chosen.runs, program, pictures)
                    if overlay == "vision"
                    else measure_thc(board, chosen.runs)
                )
    except (EyasError, ProgramFileError, OSError, KeyError, ValueError) as error:
        print(f"on_board: {error}", file=sys.stderr)
        return 2
    figures["wall_clock"] = "of the simulation" if chosen.simulated else "of the board"
    figures["machine"] = machine()
    if chosen.json:
        print(json.dumps(figures))
        return 0
    for name, value in figures.items():
        if not isinstance(value, dict):
            print(f"{name:28}{value}")
            continue
        print(name)
        for key, item in value.items():
            if isinstance(item, dict):
                item = ", ".join(f"{part} {amount:g}" for part, amount in item.items()) or "none"
            print(f"    {key:24}{item}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

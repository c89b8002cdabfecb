"""What every benchmark prints beside its figures, and how."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["machine", "main"]


def machine() -> dict[str, Any]:
    """The machine that the figures belong to."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text("utf-8").splitlines()
        name = next((line.split(": ")[1] for line in lines if line.startswith("model name")), name)
    return {
        "processor": name,
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def main(name: str, doc: str, measure: Callable[[int], Mapping[str, Any]], runs: int) -> None:
    """The command line of a benchmark: measures, and prints a table or, for machines, JSON.

    Parameters
    ----------
    name : str
        As in ``python -m benchmarks.NAME``.
    doc : str
        Its help; the first line says what is measured.
    measure : callable
        Takes a number of runs and returns figures by name.
    runs : int
        How many by default.
    """
    parser = argparse.ArgumentParser(f"python -m benchmarks.{name}", description=doc)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--runs", type=int, default=runs, help=f"measurements ({runs})")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error(f"--runs must be at least 1, not {arguments.runs}")
    figures = {**measure(arguments.runs), "machine": machine()}
    if arguments.json:
        print(json.dumps(figures))
        return
    for key, value in figures.items():
        if isinstance(value, Mapping) and key != "machine":
            print(key)
            for name, item in value.items():
                print(f"    {name:44} {item}")
            continue
        shown = f"{value:,}" if isinstance(value, int) else value
        print(f"{key:24} {shown}")

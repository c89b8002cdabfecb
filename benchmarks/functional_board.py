"""How long a picture takes on the functional board, and on the simulated RTL in the same run.

Milliseconds a picture of ``engine.infer``, the driver included, for the published networks on the
default array: the median of several runs that alternate between the boards in one process.  Outputs
are compared between the two, and so are the layers' cycles.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import numpy as np

from benchmarks.common import main
from drivers.functional.vision import functional_board
from drivers.simulated.vision import vision_board
from drivers.vision import VisionEngine
from eyas.compiler import compile_graph
from eyas.compiler.importers.tflite_import import import_tflite
from eyas.data_files import find_data

__all__ = ["measure"]

FILES = {
    "resnet8": "mlperf_tiny/pretrainedResnet_quant.tflite",
    "vww": "mlperf_tiny/vww_96_int8.tflite",
    "kws": "mlperf_tiny/kws_ref_model.tflite",
}
SEED = 1
RUNS = 3
FAST, SLOW = 20, 2
"""Pictures a run on the functional board, and on the RTL."""


def measure(runs: int = RUNS) -> dict[str, Any]:
    """Return the figures of each network."""
    paths = {name: find_data(file) for name, file in FILES.items()}
    absent = [FILES[name] for name, path in paths.items() if path is None]
    if absent:
        raise SystemExit(
            f"Not found: {', '.join(absent)}. Fetch them with 'eyas fetch', or set EYAS_DATA to "
            f"the folder that holds them"
        )
    figures: dict[str, Any] = {}
    with (
        functional_board() as functional,
        vision_board() as rtl,
        VisionEngine(functional) as quick,
        VisionEngine(rtl) as slow,
    ):
        for name, path in paths.items():
            assert path is not None
            figures[name] = _network(path.read_bytes(), name, quick, slow, runs)
    return figures


def _network(
    data: bytes, name: str, quick: VisionEngine, slow: VisionEngine, runs: int
) -> dict[str, Any]:
    graph = import_tflite(data, name)
    program = compile_graph(graph, fold=False)
    shape = graph.tensors[graph.input].shape
    pictures = np.random.default_rng(SEED).integers(-128, 128, (FAST, *shape)).astype(np.int8)
    times: dict[str, list[float]] = {"functional": [], "rtl": []}
    for engine in (quick, slow):
        engine.unload()
        engine.load(program)
    began = time.perf_counter()
    quick.infer(pictures[:1])
    first = time.perf_counter() - began
    for _ in range(runs):
        answers = []
        for kind, engine, count in (("functional", quick, FAST), ("rtl", slow, SLOW)):
            began = time.perf_counter()
            answers.append(engine.infer(pictures[:count]).logits[:SLOW])
            times[kind].append((time.perf_counter() - began) / count * 1e3)
        if not np.array_equal(*answers):
            raise RuntimeError(f"{name}: outputs of the two boards differ")
    cycles = [[item.cycles for item in engine.layer_counters()] for engine in (quick, slow)]
    if cycles[0] != cycles[1]:
        raise RuntimeError(f"{name}: layers' cycles of the two boards differ")
    functional, rtl = (median(times[kind]) for kind in ("functional", "rtl"))
    return {
        "functional_ms": round(functional, 2),
        "rtl_ms": round(rtl, 1),
        "ratio": round(rtl / functional, 1),
        "first_picture_ms": round(first * 1e3, 1),
    }


if __name__ == "__main__":
    main("functional_board", __doc__ or "", measure, RUNS)

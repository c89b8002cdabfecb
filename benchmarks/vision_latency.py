"""Latency of the three MLPerf Tiny networks on the vision overlay, in cycles of the RTL.

``core_cycles`` run from the first instruction to the last result, the picture on chip;
``end_to_end_cycles`` from the doorbell to the interrupt of a picture that runs alone: descriptor,
picture in, compute, output and record out, through the PYNQ-Z2's DRAM as the simulated board
models it; ``sustained_cycles`` are those of one picture in a long queue, where the next one comes
in while this one is computed.  The same stands below ``infinite_bandwidth`` for a memory that
answers at once.  ``roofline_share`` is the part of the array's multiply-accumulates that did the
network's nominal work.  Nothing is folded but in ``vww_folded``.

Runs the published files where they are found (``eyas fetch`` brings them), else networks of the
same shapes with random weights: the cycles are the same but for ``vww_folded``, which needs the
published zeros and is then left out.  Every output is compared with the reference.

No clock frequency is assumed: a peer's milliseconds are turned into cycles of its own clock, where
that is published.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import numpy as np

from benchmarks.common import machine
from eyas.data_files import find_data
from eyas.interfaces.vision.config import DEFAULT_VISION

__all__ = ["PEERS", "measure"]

PEAK = DEFAULT_VISION.macs_per_cycle
SEED = 1
PICTURES = 12
NETWORKS = ("resnet8", "vww", "kws")
TITLES = {
    "resnet8": "ResNet-8, 32 × 32 × 3",
    "vww": "MobileNetV1-0.25 (VWW), 96 × 96 × 3",
    "vww_folded": "the same, constant channels folded",
    "kws": "DS-CNN (KWS), 49 × 10 × 1",
}
PEERS = (
    # network, who, milliseconds, MHz or None, conditions
    ("resnet8", "fpgaConvNet", 0.411, 143, "ZedBoard, same network in int8, times include DMA"),
    ("resnet8", "FINN", 1.51, 100, "PYNQ-Z2, another network: binary CNV"),
    ("resnet8", "hls4ml", 7.64, 100, "PYNQ-Z2, another network"),
    ("vww", "fpgaConvNet", 9.49, 111, "ZedBoard, same network in int8, times include DMA"),
    ("kws", "fpgaConvNet", 0.324, 143, "ZedBoard, same network in int8, times include DMA"),
    ("kws", "FINN", 0.0175, None, "PYNQ-Z2, another network: a 3-bit perceptron"),
)
"""MLPerf Tiny results on the same silicon (xc7z020), as submitted."""


def _models() -> tuple[str, dict[str, bytes]]:
    """Where the files come from, and the files."""
    from eyas.cli.fetch import CATALOGUE, Collection

    paths = {name: find_data(CATALOGUE[Collection(name)][0].path) for name in NETWORKS}
    found = {name: path.read_bytes() for name, path in paths.items() if path is not None}
    if len(found) == len(NETWORKS):
        return "published", found
    from tests.tflite_builder import NETWORKS as BUILDERS

    return "random weights", {name: BUILDERS[name](SEED) for name in NETWORKS}


def _run(program: Any, memory: Any, pictures: np.ndarray) -> tuple[dict[str, Any], list[Any], Any]:
    """Figures, layers and outputs of ``program`` on a board with ``memory``."""
    from drivers.simulated.vision import vision_board
    from drivers.vision import VisionEngine
    from eyas.cli.vision.measure import measure as measure_pictures

    with vision_board(program.config, memory=memory) as board, VisionEngine(board) as engine:
        engine.load(program)
        found = measure_pictures(engine, program, pictures)
        few, many = engine.infer(pictures[:4]), engine.infer(pictures)
    figures = {
        "core_cycles": found.core_cycles,
        "end_to_end_cycles": found.end_to_end_cycles,
        # Without the first picture's way in and the last one's way out.
        "sustained_cycles": round((many.busy_cycles - few.busy_cycles) / (len(pictures) - 4)),
    }
    return figures, found.layers, found.outputs


def measure(names: list[str]) -> dict[str, Any]:
    """Figures by network; ``names`` of :data:`TITLES`."""
    from drivers.simulated.memory import INFINITE, PYNQ_Z2
    from eyas.compiler import compile_graph
    from eyas.compiler.importers.tflite_import import import_tflite
    from models.vision import reference

    source, models = _models()
    results: dict[str, Any] = {"networks": source}
    for name in names:
        folded = name.endswith("_folded")
        if folded and source != "published":
            continue
        network = name.removesuffix("_folded")
        graph = import_tflite(models[network], network)
        program = compile_graph(graph, fold=folded)
        pictures = np.random.default_rng(SEED).integers(
            -128, 128, (PICTURES, *graph.input_tensor.shape), dtype=np.int8
        )
        print(f"{name} ...", file=sys.stderr, flush=True)
        figures, layers, outputs = _run(program, PYNQ_Z2, pictures)
        fast, _, fast_outputs = _run(program, INFINITE, pictures)
        expected = reference.answers(graph, reference.run(graph, pictures))
        macs, peak = graph.macs(), program.config.macs_per_cycle
        per_cycle = macs / figures["core_cycles"]
        results[name] = {
            **figures,
            "macs_per_cycle": round(per_cycle, 1),
            "roofline_share": round(per_cycle / peak, 4),
            "macs": macs,
            "bit_exact": bool(
                np.array_equal(outputs, expected) and np.array_equal(fast_outputs, expected)
            ),
            "infinite_bandwidth": fast,
            "layers": [layer.as_dict() for layer in layers],
        }
    return results


def _print(results: dict[str, Any]) -> None:
    from rich.console import Console

    from eyas.cli.common.console import table
    from eyas.cli.vision.run import LAYER_COLUMNS, layer_rows

    console = Console(width=120)
    for name, title in TITLES.items():
        if name not in results:
            continue
        found = results[name]
        console.print(
            table(
                f"{title} ({results['networks']})", LAYER_COLUMNS, layer_rows(found["layers"], PEAK)
            )
        )
        fast = found["infinite_bandwidth"]
        for what, key in (
            ("core", "core_cycles"),
            ("doorbell to interrupt", "end_to_end_cycles"),
            ("sustained, in a queue", "sustained_cycles"),
        ):
            console.print(
                f"  {what:32} {found[key]:>9,} cycles   infinite bandwidth {fast[key]:>9,}"
            )
        console.print(
            f"  {found['macs']:,} MACs, {found['macs_per_cycle']} a cycle, "
            f"{found['roofline_share']:.1%} of the array's; outputs "
            + ("equal the reference" if found["bit_exact"] else "DIFFER FROM THE REFERENCE")
        )
        for network, who, ms, mhz, conditions in PEERS:
            if network == name:
                cycles = f" = {ms * mhz * 1000:,.0f} cycles at its {mhz} MHz" if mhz else ""
                console.print(f"  peer {who}: {ms} ms{cycles}; {conditions}")
        console.print()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.vision_latency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("networks", nargs="*", help=f"some of {', '.join(TITLES)} (all)")
    arguments = parser.parse_args()
    unknown = set(arguments.networks) - set(TITLES)
    if unknown:
        parser.error(
            f"there is no network {', '.join(sorted(unknown))}; known: {', '.join(TITLES)}"
        )
    results = {**measure(arguments.networks or list(TITLES)), "machine": machine()}
    if arguments.json:
        print(json.dumps(results))
    else:
        _print(results)
    if not all(item["bit_exact"] for item in results.values() if "bit_exact" in item):
        sys.exit(1)


if __name__ == "__main__":
    main()

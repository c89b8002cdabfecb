"""Fashion-MNIST through the RTL: accuracy, and whether every output equals the reference.

Trains FashionNet on all 60,000 pictures (some minutes), quantises it, runs test pictures through
the Verilated overlay of the default array and compares every output with the PyTorch reference.
The data are looked for where the tests look (:mod:`eyas.data_files`).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import numpy as np

from benchmarks.common import machine
from eyas.data_files import fashion_mnist

__all__ = ["measure"]

SEED = 1


def measure(epochs: int, pictures: int) -> dict[str, Any]:
    """Train for ``epochs``, judge on all test pictures, run ``pictures`` of them on the RTL."""
    from drivers.simulated.vision import vision_board
    from drivers.vision import VisionEngine
    from eyas.compiler import compile_graph
    from eyas.compiler.importers.torch_import import from_module
    from models.vision import reference
    from models.vision.graph import quantize_input
    from models.vision.networks import FashionNet, accuracy, train

    try:
        images, labels, test_images, test_labels = fashion_mnist()
    except FileNotFoundError as error:
        sys.exit(str(error))
    network, began = FashionNet(), time.monotonic()
    train(network, images, labels, SEED, epochs)
    trained = time.monotonic() - began
    example = network.real(images[:1])
    graph = from_module(
        network, example, images[:256], name="fashion", preprocess=network.preprocess
    )
    program = compile_graph(graph)
    expected = reference.run(graph, quantize_input(graph, test_images[..., np.newaxis]))
    right = expected.reshape(len(expected), -1).argmax(1) == test_labels
    with vision_board() as board, VisionEngine(board) as engine:
        engine.load(program)
        first = engine.infer(test_images[:1])
        result = engine.infer(test_images[:pictures])
    return {
        "float_accuracy": round(accuracy(network, test_images, test_labels), 4),
        "int8_accuracy": round(float(right.mean()), 4),
        "training_seconds": round(trained),
        "pictures_on_rtl": pictures,
        "bit_exact": bool(np.array_equal(result.outputs, expected[:pictures])),
        "macs": graph.macs(),
        "core_cycles": int(np.median(result.core_cycles)),
        "end_to_end_cycles": first.busy_cycles,
        "sustained_cycles": round(result.busy_cycles / pictures),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.fashion", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--epochs", type=int, default=8, help="epochs of training (8)")
    parser.add_argument("--pictures", type=int, default=500, help="pictures on the RTL (500)")
    arguments = parser.parse_args()
    figures = {**measure(arguments.epochs, arguments.pictures), "machine": machine()}
    if arguments.json:
        print(json.dumps(figures))
        return
    for key, value in figures.items():
        print(f"{key:20} {value}")


if __name__ == "__main__":
    main()

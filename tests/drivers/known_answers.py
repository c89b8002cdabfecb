"""Makes the known programs and answers of ``python -m drivers.selftest``.

``python -m tests.drivers.known_answers`` writes them to ``drivers/selftest_data``; a test checks
that what stands there is what this file makes.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch

from eyas.compiler import compile_graph
from eyas.interfaces.files import write_atomically
from eyas.interfaces.thc.formats import LookupTable, pack
from eyas.interfaces.vision.config import DEFAULT_VISION
from eyas.interfaces.vision.program_file import Program
from models.thc.aggregate import aggregate
from models.vision import reference
from models.vision.graph import (
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    MaxPool2D,
    Tensor,
)

__all__ = ["FOLDER", "answers", "copy_program", "network_program", "write"]

FOLDER = Path(__file__).resolve().parents[2] / "drivers" / "selftest_data"
SEED = 6
PICTURES = 2
TABLE = LookupTable([0, 3, 5, 7, 9, 11, 13, 14, 16, 17, 19, 21, 23, 25, 27, 30])
WORKERS = 8
COORDINATES = 1000


def _network() -> Graph:
    """A network with a layer for each unit of the engine: array, depthwise, add, pools."""
    rng = np.random.default_rng(SEED)

    def weights(*shape: int) -> np.ndarray:
        return rng.integers(-127, 128, shape, np.int8)

    def bias(channels: int) -> np.ndarray:
        return rng.integers(-2000, 2001, channels, np.int32)

    tensors = (
        Tensor("picture", (32, 32, 3), 1 / 255, -128),
        Tensor("edges", (16, 16, 16), 1 / 32, -20),
        Tensor("smooth", (16, 16, 16), 1 / 32, 5),
        Tensor("both", (16, 16, 16), 1 / 16, 0),
        Tensor("pooled", (8, 8, 16), 1 / 16, 0),
        Tensor("means", (2, 2, 16), 1 / 16, 0),
        Tensor("logits", (1, 1, 10), 1 / 2, 3),
    )
    nodes = (
        Conv2D(
            name="edges",
            input="picture",
            output="edges",
            weights=weights(16, 3, 3, 3),
            bias=bias(16),
            weight_scales=np.full(16, 1 / 128, np.float32),
            stride=(2, 2),
            padding=(0, 1, 0, 1),
        ),
        DepthwiseConv2D(
            name="smooth",
            input="edges",
            output="smooth",
            weights=weights(16, 3, 3),
            bias=bias(16),
            weight_scales=np.full(16, 1 / 256, np.float32),
            padding=(1, 1, 1, 1),
        ),
        Add(name="both", input="edges", other="smooth", output="both"),
        MaxPool2D(name="pool", input="both", output="pooled", window=(2, 2), stride=(2, 2)),
        AveragePool2D(name="means", input="pooled", output="means", window=(4, 4), stride=(4, 4)),
        FullyConnected(
            name="classes",
            input="means",
            output="logits",
            weights=weights(10, 64),
            bias=bias(10),
            weight_scales=np.full(10, 1 / 64, np.float32),
        ),
    )
    return Graph(
        name="selftest",
        tensors={tensor.name: tensor for tensor in tensors},
        nodes=nodes,
        input="picture",
        output="logits",
    )


def _copy() -> Graph:
    """Its output is its input: patterns go through the overlay from memory to memory."""
    return Graph(
        name="copy",
        tensors={name: Tensor(name, (32, 32, 8), 1.0, 0) for name in ("from", "to")},
        nodes=(MaxPool2D(name="copy", input="from", output="to", window=(1, 1), stride=(1, 1)),),
        input="from",
        output="to",
    )


def network_program() -> Program:
    """The network for the array that boards carry."""
    return compile_graph(_network(), DEFAULT_VISION)


def copy_program() -> Program:
    """The copy for the same array."""
    return compile_graph(_copy(), DEFAULT_VISION)


def answers() -> dict[str, np.ndarray]:
    """Pictures and their logits; workers' packed indices, their table and their sums."""
    rng = np.random.default_rng(SEED + 1)
    squares = rng.integers(0, 256, (PICTURES, 8, 8, 3), np.uint8)
    pictures = squares.repeat(4, axis=1).repeat(4, axis=2)
    network = _network()
    quantised = (pictures ^ 0x80).view(np.int8)
    packed = pack(rng.integers(0, 16, (WORKERS, COORDINATES)), TABLE.bits)
    return {
        "pictures": pictures,
        "logits": reference.run(network, quantised),
        "table": np.array(TABLE.entries, np.uint8),
        "contributions": packed,
        "sums": aggregate(torch.from_numpy(packed), TABLE, COORDINATES, 8).numpy(),
    }


def write() -> None:
    """Write programs and answers to where the self-test finds them."""
    FOLDER.mkdir(exist_ok=True)
    network_program().save(FOLDER / "network.eyas")
    copy_program().save(FOLDER / "copy.eyas")
    packed = io.BytesIO()
    np.savez_compressed(packed, **answers())
    write_atomically(FOLDER / "answers.npz", packed.getvalue())


if __name__ == "__main__":
    write()

"""Small random networks with every operation of the engine, and what they are made of."""

import numpy as np

from models.vision.graph import AveragePool2D, Conv2D, FullyConnected, Graph, MaxPool2D, Tensor

__all__ = ["OPERATIONS", "operations", "pooled", "strided"]

OPERATIONS = (
    "conv stride 1",
    "conv stride 2",
    "conv padded",
    "conv not padded",
    "max pool",
    "average pool",
    "fully connected",
)


def operations(graph: Graph) -> set[str]:
    """Those of ``OPERATIONS`` that the network holds."""
    found = set()
    for node in graph.nodes:
        if isinstance(node, Conv2D):
            found.add(f"conv stride {node.stride[0]}")
            found.add("conv padded" if any(node.padding) else "conv not padded")
        found |= {
            name
            for kind, name in (
                (MaxPool2D, "max pool"),
                (AveragePool2D, "average pool"),
                (FullyConnected, "fully connected"),
            )
            if isinstance(node, kind)
        }
    return found


def _weighted(rng: np.random.Generator, shape: tuple[int, ...]) -> dict:
    """Weights, bias and scales of a layer; with outputs all over the range of int8."""
    return {
        "weights": rng.integers(-128, 128, shape),
        "bias": rng.integers(-3000, 3000, shape[0]),
        "weight_scales": rng.uniform(0.5, 1.5, shape[0]) / 75 / np.sqrt(np.prod(shape[1:])),
    }


def _graph(name: str, tensors: list[Tensor], nodes: list) -> Graph:
    return Graph(
        name=name,
        tensors={tensor.name: tensor for tensor in tensors},
        nodes=tuple(nodes),
        input=tensors[0].name,
        output=tensors[-1].name,
    )


def pooled(rng: np.random.Generator) -> Graph:
    """Padded convolution at stride 1, maximum, padded convolution at stride 2, fully connected."""
    shapes = [(9, 8, 3), (9, 8, 6), (4, 4, 6), (2, 2, 5), (1, 1, 7)]
    tensors = [
        Tensor(f"t{index}", shape, 0.05, int(rng.integers(-60, 60)))
        for index, shape in enumerate(shapes)
    ]
    # Pooling does not rescale.
    tensors[2] = Tensor("t2", shapes[2], tensors[1].scale, tensors[1].zero_point)
    return _graph(
        "pooled",
        tensors,
        [
            Conv2D(
                name="first", input="t0", output="t1", padding=(1, 1, 1, 1),
                **_weighted(rng, (6, 3, 3, 3)),
            ),
            MaxPool2D(name="maximum", input="t1", output="t2", window=(2, 2), stride=(2, 2)),
            Conv2D(
                name="second", input="t2", output="t3", stride=(2, 2), padding=(0, 1, 0, 1),
                **_weighted(rng, (5, 3, 3, 6)),
            ),
            FullyConnected(name="full", input="t3", output="t4", **_weighted(rng, (7, 20))),
        ],
    )  # fmt: skip


def strided(rng: np.random.Generator) -> Graph:
    """Convolution at stride 2 and one at stride 1 without padding, average, as a map."""
    shapes = [(7, 9, 5), (3, 4, 9), (3, 4, 4), (1, 3, 4)]
    tensors = [
        Tensor(f"t{index}", shape, 0.05, int(rng.integers(-60, 60)))
        for index, shape in enumerate(shapes)
    ]
    tensors[3] = Tensor("t3", shapes[3], tensors[2].scale, tensors[2].zero_point)
    return _graph(
        "strided",
        tensors,
        [
            Conv2D(
                name="first", input="t0", output="t1", stride=(2, 2),
                **_weighted(rng, (9, 3, 3, 5)),
            ),
            Conv2D(name="second", input="t1", output="t2", **_weighted(rng, (4, 1, 1, 9))),
            AveragePool2D(name="average", input="t2", output="t3", window=(3, 2), stride=(1, 1)),
        ],
    )  # fmt: skip

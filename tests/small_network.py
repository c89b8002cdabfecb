"""A network with a layer of each kind that most tests need, small enough for the small array."""

import numpy as np

from models.vision.graph import Conv2D, FullyConnected, Graph, MaxPool2D, Tensor

__all__ = ["small_network"]


def small_network(rng: np.random.Generator) -> Graph:
    """A convolution, a pool and a fully connected layer on 8 × 9 × 3 pictures."""
    tensors = (
        Tensor("in", (8, 9, 3), 0.02, -5),
        Tensor("a", (8, 9, 6), 0.05, 3),
        Tensor("b", (4, 4, 6), 0.05, 3),
        Tensor("c", (1, 1, 7), 0.1, 0),
    )
    nodes = (
        Conv2D(
            name="conv", input="in", output="a", weights=rng.integers(-128, 128, (6, 3, 3, 3)),
            bias=rng.integers(-500, 500, 6), weight_scales=np.full(6, 0.004),
            padding=(1, 1, 1, 1),
        ),
        MaxPool2D(name="pool", input="a", output="b", window=(2, 2), stride=(2, 2)),
        FullyConnected(
            name="full", input="b", output="c", weights=rng.integers(-128, 128, (7, 96)),
            bias=rng.integers(-500, 500, 7), weight_scales=np.full(7, 0.002),
        ),
    )  # fmt: skip
    return Graph(
        name="small", tensors={item.name: item for item in tensors}, nodes=nodes, input="in",
        output="c",
    )  # fmt: skip

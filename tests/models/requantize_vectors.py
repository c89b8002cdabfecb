"""Requantisation as LiteRT's reference kernels do it: vectors for the model and for the RTL.

Each vector is one output value of a 1×1 convolution.  Golden values come from LiteRT alone.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from models.vision.graph import Conv2D, Graph, Tensor
from tests.models.litert import run_graph
from tests.models.tflite_writer import ACTIVATIONS, activation_range

__all__ = ["RequantizeVectors", "vectors"]

CHANNELS = 32
PIXELS = 256


@dataclass(frozen=True)
class RequantizeVectors:
    """One row a vector; all arrays have the same length.

    Attributes
    ----------
    accumulator, bias : int32
        The lane requantises their sum, which wraps at 32 bits.
    multiplier : float64
        The real multiplier: input scale · weight scale / output scale.
    zero_point, activation_min, activation_max : int8
        Added and clamped to after it.
    expected : int8
        What LiteRT computed.
    """

    accumulator: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    zero_point: np.ndarray
    activation_min: np.ndarray
    activation_max: np.ndarray
    expected: np.ndarray

    def __len__(self) -> int:
        return len(self.expected)


def vectors(seed: int, count: int) -> RequantizeVectors:
    """``count`` vectors: around ties, saturated, dead channels, multipliers from 2^-50 to 2^8.

    The same seed and count give the same vectors.
    """
    rng = np.random.default_rng(seed)
    layers = [_layer(rng, index) for index in range(-(-count // (CHANNELS * PIXELS)))]
    chosen = rng.permutation(len(layers) * CHANNELS * PIXELS)[:count]
    return RequantizeVectors(
        **{
            item.name: np.concatenate([getattr(layer, item.name) for layer in layers])[chosen]
            for item in fields(RequantizeVectors)
        }
    )


def _layer(rng: np.random.Generator, index: int) -> RequantizeVectors:
    """Every value of one layer; its accumulators are consecutive integers or random sums."""
    inputs = (1, 8)[index % 2]
    zero_point = int(rng.choice([-128, 127, 0, rng.integers(-128, 128)]))
    pictures = rng.integers(-128, 128, (1, 1, PIXELS, inputs)).astype(np.int8)
    weights = rng.integers(-128, 128, (CHANNELS, 1, 1, inputs))
    if inputs == 1:
        pictures[0, 0, :, 0] = np.arange(-128, 128)
        weights[: CHANNELS // 2] = 1
    source = Tensor("source", (1, PIXELS, inputs), 2.0 ** rng.integers(-8, 3), zero_point)
    target = Tensor("target", (1, PIXELS, CHANNELS), 2.0 ** rng.integers(-8, 3), int(
        rng.choice([-128, 127, 0, rng.integers(-128, 128)])
    ))  # fmt: skip
    multiplier = 2.0 ** rng.uniform(-24, 0, CHANNELS)
    multiplier[0:6] = 2.0 ** rng.integers(-12, 1, 6)  # exact ties
    multiplier[6:9] = 2.0 ** rng.uniform(-50, -28, 3)  # dead channels
    multiplier[9:12] = 2.0 ** rng.uniform(0, 8, 3)  # shifts to the left
    scales = (multiplier * target.scale / source.scale).astype(np.float32)
    multiplier = source.scale * scales.astype(np.float64) / target.scale
    # A bias that puts the accumulators around a tie somewhere in or near the output's range ...
    tie = rng.integers(-300, 300, CHANNELS) + 0.5
    bias = np.clip(np.rint(tie / multiplier), -(2**31), 2**31 - 1).astype(np.int64)
    # ... or anywhere at all.
    bias[-4:] = rng.integers(-(2**31), 2**31, 4)
    bias[-1] = rng.choice([-(2**31), 2**31 - 1])
    low, high = activation_range(ACTIVATIONS[rng.integers(len(ACTIVATIONS))], target)
    node = Conv2D(
        name="layer", input="source", output="target", weights=weights, bias=bias,
        weight_scales=scales, activation_min=low, activation_max=high,
    )  # fmt: skip
    graph = Graph(
        name="requantise",
        tensors={"source": source, "target": target},
        nodes=(node,),
        input="source",
        output="target",
    )
    shape = (PIXELS, CHANNELS)
    accumulator = (pictures[0, 0].astype(np.int64) - zero_point) @ weights[:, 0, 0].T
    return RequantizeVectors(
        accumulator=accumulator.astype(np.int32).ravel(),
        bias=np.broadcast_to(node.bias, shape).ravel(),
        multiplier=np.broadcast_to(multiplier, shape).ravel(),
        zero_point=np.full(shape, target.zero_point, dtype=np.int8).ravel(),
        activation_min=np.full(shape, low, dtype=np.int8).ravel(),
        activation_max=np.full(shape, high, dtype=np.int8).ravel(),
        expected=run_graph(graph, pictures)["target"].ravel(),
    )

"""Random one-layer graphs for Hypothesis, with the corners that int8 arithmetic has."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from models.vision.graph import (
    AveragePool2D,
    Conv2D,
    FullyConnected,
    Graph,
    MaxPool2D,
    Node,
    Tensor,
)
from tests.models.tflite_writer import ACTIVATIONS, activation_range, same_padding

__all__ = [
    "convolutions",
    "fully_connecteds",
    "linear_values",
    "multipliers",
    "pictures_of",
    "pools",
    "scales",
    "seeds",
    "zero_points",
]

zero_points = st.sampled_from([-128, 127, 0, 83, -1]) | st.integers(-128, 127)
scales = st.floats(2**-10, 4, width=32) | st.sampled_from([2.0**-6, 1.0, 0.5])
seeds = st.integers(0, 2**32 - 1)
multipliers = st.sampled_from(["small", "powers of two", "around one", "dead"])


def pictures_of(graph: Graph, count: int, seed: int) -> np.ndarray:
    """int8 pictures: noise, and one each of the least and the greatest value."""
    pictures = np.random.default_rng(seed).integers(-128, 128, (count, *graph.input_tensor.shape))
    pictures[0], pictures[-1] = -128, 127
    return pictures.astype(np.int8)


def _one_layer(source: Tensor, target: Tensor, node: Node) -> Graph:
    return Graph(
        name="one layer",
        tensors={source.name: source, target.name: target},
        nodes=(node,),
        input=source.name,
        output=target.name,
    )


def _weights(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> np.ndarray:
    weights = rng.integers(-128, 128, shape)
    if kind == "extreme":
        weights = rng.choice([-128, 127], shape)
    weights[0] = -128
    weights[-1] *= rng.integers(0, 2)  # now and then a channel without weights
    return weights


def linear_values(
    rng: np.random.Generator, kind: str, channels: int, taps: int, steps: float
) -> dict[str, np.ndarray]:
    """Weight scales and biases such that most outputs are neither saturated nor all the same.

    ``steps`` is output scale / input scale.
    """
    spread = 128 / (128 * 74 * np.sqrt(taps))  # brings random sums into the int8 range
    multiplier = {
        "small": spread * 2.0 ** rng.uniform(-2, 1, channels),
        "powers of two": 2.0 ** np.round(np.log2(spread) + rng.integers(-2, 2, channels)),
        "around one": 2.0 ** rng.uniform(-2, 6, channels),
        "dead": np.where(
            rng.integers(0, 2, channels), spread, 2.0 ** rng.uniform(-60, -29, channels)
        ),
    }[kind]
    bias = np.rint(rng.uniform(-100, 100, channels) / multiplier)
    bias = np.clip(bias, -(2**31), 2**31 - 1).astype(np.int64)
    if rng.integers(0, 4) == 0:
        bias[0] = rng.choice([-(2**31), 2**31 - 1, 2**30 + 12345])
    return {"weight_scales": (multiplier * steps).astype(np.float32), "bias": bias}


@st.composite
def convolutions(draw: st.DrawFn) -> Graph:
    """Kernels 1 to 5, strides 1 and 2, SAME, VALID and other paddings, every activation."""
    window = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    stride = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    size = draw(st.integers(5, 9)), draw(st.integers(5, 9))
    inputs, outputs = draw(st.integers(1, 9)), draw(st.integers(1, 6))
    padding = draw(
        st.sampled_from([
            (0, 0, 0, 0),
            (*same_padding(size[0], window[0], stride[0]),
             *same_padding(size[1], window[1], stride[1])),
            (window[0] // 2, (window[0] - 1) // 2, (window[1] - 1) // 2, window[1] // 2),
        ])
    )  # fmt: skip
    height = (size[0] + padding[0] + padding[1] - window[0]) // stride[0] + 1
    width = (size[1] + padding[2] + padding[3] - window[1]) // stride[1] + 1
    source = Tensor("in", (*size, inputs), draw(scales), draw(zero_points))
    target = Tensor("out", (height, width, outputs), draw(scales), draw(zero_points))
    low, high = activation_range(draw(st.sampled_from(ACTIVATIONS)), target)
    rng = np.random.default_rng(draw(seeds))
    shape = (outputs, *window, inputs)
    values = linear_values(
        rng, draw(multipliers), outputs, window[0] * window[1] * inputs, target.scale / source.scale
    )
    return _one_layer(source, target, Conv2D(
        name="conv", input="in", output="out", stride=stride, padding=padding,
        weights=_weights(rng, shape, draw(st.sampled_from(["random", "extreme"]))),
        activation_min=low, activation_max=high, **values,
    ))  # fmt: skip


@st.composite
def fully_connecteds(draw: st.DrawFn) -> Graph:
    """Up to 4 × 4 × 20 inputs, every activation."""
    shape = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 20))
    taps, outputs = int(np.prod(shape)), draw(st.integers(1, 40))
    source = Tensor("in", shape, draw(scales), draw(zero_points))
    target = Tensor("out", (1, 1, outputs), draw(scales), draw(zero_points))
    low, high = activation_range(draw(st.sampled_from(ACTIVATIONS)), target)
    rng = np.random.default_rng(draw(seeds))
    values = linear_values(rng, draw(multipliers), outputs, taps, target.scale / source.scale)
    # LiteRT converts the rounded float64 to int32, which is undefined beyond its range.
    largest = 2**30 * target.scale / (float(values["weight_scales"].max()) * source.scale)
    largest = min(largest, 2**31 - 1)
    values["bias"] = np.clip(values["bias"], -largest, largest).astype(np.int64)
    return _one_layer(source, target, FullyConnected(
        name="dense", input="in", output="out",
        weights=_weights(rng, (outputs, taps), draw(st.sampled_from(["random", "extreme"]))),
        activation_min=low, activation_max=high, **values,
    ))  # fmt: skip


@st.composite
def pools(draw: st.DrawFn) -> Graph:
    """Maximum pools with SAME, VALID and other paddings; average pools without."""
    kind = draw(st.sampled_from([MaxPool2D, AveragePool2D]))
    window = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    size = draw(st.integers(5, 9)), draw(st.integers(5, 9))
    channels = draw(st.integers(1, 9))
    padding = (0, 0, 0, 0)
    if kind is MaxPool2D:
        padding = draw(
            st.sampled_from([
                padding,
                (*same_padding(size[0], window[0], stride[0]),
                 *same_padding(size[1], window[1], stride[1])),
                (window[0] // 2, 0, 0, window[1] // 2),
            ])
        )  # fmt: skip
    height = (size[0] + padding[0] + padding[1] - window[0]) // stride[0] + 1
    width = (size[1] + padding[2] + padding[3] - window[1]) // stride[1] + 1
    source = Tensor("in", (*size, channels), draw(scales), draw(zero_points))
    target = Tensor("out", (height, width, channels), source.scale, source.zero_point)
    low, high = activation_range(draw(st.sampled_from(ACTIVATIONS)), target)
    return _one_layer(source, target, kind(
        name="pool", input="in", output="out", window=window, stride=stride, padding=padding,
        activation_min=low, activation_max=high,
    ))  # fmt: skip

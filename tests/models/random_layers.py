"""Random graphs of one operation without weights or with weights a channel, for Hypothesis.

Residual additions, depthwise convolutions, margins, means, other scales, softmaxes; what
:mod:`tests.models.random_graphs` has not.
"""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from models.vision.graph import (
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    Graph,
    Mean,
    Node,
    Pad,
    Requantize,
    Tensor,
)
from tests.models.random_graphs import linear_values, multipliers, scales, seeds, zero_points
from tests.models.tflite_writer import ACTIVATIONS, activation_range, same_padding

__all__ = [
    "additions",
    "average_pools",
    "depthwise_convolutions",
    "means",
    "pads",
    "requantizations",
]

sizes = st.integers(1, 9)
simple_ratios = st.sampled_from([0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.5, 3.0])
"""Ratios with ties, if only the float32 scales allow."""


def _graph(*parts: Tensor | Node) -> Graph:
    """Tensors and nodes in order; the first tensor is the input, the last the output."""
    tensors = {item.name: item for item in parts if isinstance(item, Tensor)}
    nodes = tuple(item for item in parts if isinstance(item, Node))
    first, *_, last = tensors
    return Graph(name="random", tensors=tensors, nodes=nodes, input=first, output=last)


@st.composite
def _shapes(draw: st.DrawFn, channels: int = 9) -> tuple[int, int, int]:
    return draw(sizes), draw(sizes), draw(st.integers(1, channels))


@st.composite
def _ratios(draw: st.DrawFn) -> float:
    """Input scale / output scale: simple ones, next to simple ones, any between 2^-6 and 2^4."""
    simple = np.float32(draw(simple_ratios))
    near = np.nextafter(simple, np.float32(draw(st.sampled_from([0, 9]))))
    return draw(st.sampled_from([float(simple), float(near), 2.0 ** draw(st.floats(-6, 4))]))


def _same(
    size: tuple[int, int], window: tuple[int, int], stride: tuple[int, int]
) -> tuple[int, int, int, int]:
    vertical = same_padding(size[0], window[0], stride[0])
    return (*vertical, *same_padding(size[1], window[1], stride[1]))


@st.composite
def depthwise_convolutions(draw: st.DrawFn) -> Graph:
    """Kernels 1 to 5, strides 1 to 3, multipliers 1 to 4, every padding and activation."""
    window = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    size = draw(st.integers(5, 9)), draw(st.integers(5, 9))
    inputs, multiplier = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    outputs = inputs * multiplier
    other = (window[0] // 2, (window[0] - 1) // 2, (window[1] - 1) // 2, window[1] // 2)
    padding = draw(st.sampled_from([(0, 0, 0, 0), _same(size, window, stride), other]))
    height = (size[0] + padding[0] + padding[1] - window[0]) // stride[0] + 1
    width = (size[1] + padding[2] + padding[3] - window[1]) // stride[1] + 1
    source = Tensor("in", (*size, inputs), draw(scales), draw(zero_points))
    target = Tensor("out", (height, width, outputs), draw(scales), draw(zero_points))
    low, high = activation_range(draw(st.sampled_from(ACTIVATIONS)), target)
    rng = np.random.default_rng(draw(seeds))
    weights = rng.integers(-128, 128, (outputs, *window))
    weights[rng.integers(outputs)] = rng.choice([-128, 127, 0])
    values = linear_values(
        rng, draw(multipliers), outputs, window[0] * window[1], target.scale / source.scale
    )
    return _graph(source, target, DepthwiseConv2D(
        name="depthwise", input="in", output="out", stride=stride, padding=padding,
        multiplier=multiplier, weights=weights, activation_min=low, activation_max=high, **values,
    ))  # fmt: skip


@st.composite
def average_pools(draw: st.DrawFn) -> Graph:
    """Average pools with TFLite's SAME, windows up to the whole map and beyond."""
    window = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    height, width, channels = draw(_shapes())
    padding = _same((height, width), window, stride)
    source = Tensor("in", (height, width, channels), draw(scales), draw(zero_points))
    shape = (-(-height // stride[0]), -(-width // stride[1]), channels)
    target = Tensor("out", shape, source.scale, source.zero_point)
    low, high = activation_range(draw(st.sampled_from(ACTIVATIONS)), target)
    return _graph(source, target, AveragePool2D(
        name="pool", input="in", output="out", window=window, stride=stride, padding=padding,
        activation_min=low, activation_max=high,
    ))  # fmt: skip


@st.composite
def additions(draw: st.DrawFn) -> Graph:
    """A map and its own 1 × 1 convolution, or the map twice: of equal scales, and of any others."""
    shape = draw(_shapes())
    first = Tensor("in", shape, draw(scales), draw(zero_points))
    exponent = draw(st.sampled_from([0.0, 1.0, -33.0, -31.0, 25.0]) | st.floats(-12, 12))
    second = Tensor("branch", shape, first.scale * 2**exponent, draw(zero_points))
    greatest = max(first.scale, second.scale)
    gain = draw(st.sampled_from([-18.5, 0.0, 1.0, 10.0, 40.0]) | st.floats(-3, 3))
    target = Tensor("out", shape, greatest * 2**gain, draw(zero_points))
    low, high = activation_range(draw(st.sampled_from(ACTIVATIONS)), target)
    activation = {"activation_min": low, "activation_max": high}
    if draw(st.integers(0, 7)) == 0:
        target = Tensor("out", shape, first.scale * 2**gain, target.zero_point)
        return _graph(first, target, Add(name="add", input="in", other="in", output="out"))
    rng = np.random.default_rng(draw(seeds))
    values = linear_values(rng, "small", shape[2], shape[2], second.scale / first.scale)
    weights = rng.integers(-128, 128, (shape[2], 1, 1, shape[2]))
    conv = Conv2D(name="conv", input="in", output="branch", weights=weights, **values)
    inputs = draw(st.permutations(["in", "branch"]))
    add = Add(name="add", input=inputs[0], other=inputs[1], output="out", **activation)
    return _graph(first, second, target, conv, add)


@st.composite
def pads(draw: st.DrawFn) -> Graph:
    """Margins of 0 to 5 values."""
    shape = draw(_shapes())
    padding = tuple(draw(st.integers(0, 5)) for _ in range(4))
    source = Tensor("in", shape, draw(scales), draw(zero_points))
    outside = (shape[0] + padding[0] + padding[1], shape[1] + padding[2] + padding[3], shape[2])
    target = Tensor("out", outside, source.scale, source.zero_point)
    return _graph(source, target, Pad(name="pad", input="in", output="out", padding=padding))


@st.composite
def requantizations(draw: st.DrawFn) -> Graph:
    """RELU, RELU6, RELU_N1_TO_1 and QUANTIZE, between any scales and zero points."""
    shape = (4, 64, 1)  # all 256 values, in test_reference's pictures
    source = Tensor("in", shape, draw(scales), draw(zero_points))
    target = Tensor("out", shape, source.scale / draw(_ratios()), draw(zero_points))
    name = draw(st.sampled_from(ACTIVATIONS))
    low, high = activation_range(name, target)
    return _graph(source, target, Requantize(
        name="requantize", input="in", output="out", float32_ratio=name != "NONE",
        activation_min=low, activation_max=high,
    ))  # fmt: skip


@st.composite
def means(draw: st.DrawFn) -> Graph:
    """Maps of up to 20 × 20; equal and other scales and zero points."""
    shape = draw(st.integers(1, 20)), draw(st.integers(1, 20)), 32
    source = Tensor("in", shape, draw(scales), draw(zero_points))
    target = Tensor("out", (1, 1, 32), source.scale / draw(_ratios()), draw(zero_points))
    if draw(st.booleans()):
        target = Tensor("out", (1, 1, 32), source.scale, source.zero_point)
    return _graph(source, target, Mean(name="mean", input="in", output="out"))

"""Random networks of a few layers for Hypothesis: everything that the engine promises to run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from models.vision.graph import (
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    MaxPool2D,
    Mean,
    Node,
    Pad,
    Requantize,
    Tensor,
)
from tests.models.random_graphs import linear_values, multipliers, seeds, zero_points

__all__ = ["KINDS", "networks"]

scales = st.floats(2**-8, 0.25, width=32)
WEIGHT_ROWS = 500
"""Rows of weight memory that a network may take, on the smallest of the arrays."""


@dataclass
class Builder:
    """A network that grows layer by layer.

    Parameters
    ----------
    draw : callable
        Hypothesis's.
    tensors, nodes : list
        What there is already; the last tensor is what the next layer reads.
    rows : int
        Rows of weight memory that are left.
    """

    draw: Callable[..., Any]
    tensors: list[Tensor]
    nodes: list[Node] = field(default_factory=list)
    rows: int = WEIGHT_ROWS

    @property
    def last(self) -> Tensor:
        """The tensor that the next layer reads."""
        return self.tensors[-1]

    def target(self, shape: tuple[int, int, int], like: Tensor | None = None) -> Tensor:
        """A new tensor, quantised like ``like`` or in its own way."""
        name = f"t{len(self.tensors)}"
        if like is not None:
            return replace(like, name=name, shape=shape)
        return Tensor(name, shape, self.draw(scales), self.draw(zero_points))

    def enter(self, kind: type[Node], target: Tensor, clamp: bool = True, **values: Any) -> None:
        """Append a node that reads the last tensor and writes ``target``."""
        low, high = -128, 127
        if clamp:
            low, high = self.draw(
                st.sampled_from([(-128, 127), (-128, 127), (-128, 127), (-20, 90), (0, 0)])
            )
        self.nodes.append(
            kind(
                name=f"n{len(self.nodes)}", input=self.last.name, output=target.name,
                activation_min=low, activation_max=high, **values,
            )
        )  # fmt: skip
        self.tensors.append(target)

    def outputs_that_fit(self, taps: int, wanted: int) -> int:
        """Up to ``wanted`` output channels whose weights still fit; these are taken."""
        inputs = self.last.shape[2]
        for outputs in range(wanted, 0, -1):
            # Arrays of 4 × 4, and of 8 × 2.
            four, two = -(-inputs // 4) * -(-outputs // 4), -(-inputs // 2) * -(-outputs // 8)
            if taps * max(four, two) <= self.rows:
                self.rows -= taps * max(four, two)
                return outputs
        return 0

    def graph(self) -> Graph:
        """The network; its output is the last tensor, a vector now and then with a softmax."""
        softmax = None
        if self.last.shape[:2] == (1, 1) and self.draw(st.booleans()):
            softmax = Tensor("softmax", self.last.shape, 1 / 256, -128)
        return Graph(
            name="random",
            tensors={tensor.name: tensor for tensor in self.tensors},
            nodes=tuple(self.nodes),
            input=self.tensors[0].name,
            output=self.last.name,
            softmax=softmax,
        )


def _window(build: Builder, largest: int, strides: list[int]) -> dict[str, Any]:
    """A window with padding that fits the last tensor, and the output's height and width."""
    sides = [_side(build.draw, size, largest, strides) for size in build.last.shape[:2]]
    return {
        "window": tuple(side[0] for side in sides),
        "stride": tuple(side[1] for side in sides),
        "padding": (*sides[0][2], *sides[1][2]),
        "out": tuple(side[3] for side in sides),
    }


def _side(draw: Callable[..., Any], size: int, largest: int, strides: list[int]) -> Any:
    window = draw(st.integers(1, min(largest, size + 2)))
    least = max(0, window - size)
    before = draw(st.integers(0, window - 1))
    after = draw(st.integers(max(0, least - before), max(window - 1, least - before)))
    stride = draw(st.sampled_from(strides))
    return window, stride, (before, after), (size + before + after - window) // stride + 1


def _weights(build: Builder, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    kind = build.draw(st.sampled_from(["random", "extreme", "least", "some filters are zero"]))
    if kind == "least":
        return np.full(shape, -128)
    weights = rng.choice([-128, 127], shape) if kind == "extreme" else None
    weights = rng.integers(-128, 128, shape) if weights is None else weights
    if kind == "some filters are zero":
        weights[rng.random(shape[0]) < 0.6] = 0
    return weights


def _linear(build: Builder, target: Tensor, shape: tuple[int, ...]) -> dict[str, Any]:
    """Weights of ``shape``, biases and scales for a layer that writes ``target``."""
    rng = np.random.default_rng(build.draw(seeds))
    values = linear_values(
        rng, build.draw(multipliers), shape[0], int(np.prod(shape[1:])),
        target.scale / build.last.scale,
    )  # fmt: skip
    return {"weights": _weights(build, rng, shape), **values}


def _conv(build: Builder) -> None:
    inputs = build.last.shape[2]
    largest = 11 if build.draw(st.integers(0, 5)) == 5 else 4
    shape = _window(build, largest, [1, 1, 2, 3, 4])
    outputs = build.draw(st.integers(1, 11))
    outputs = build.outputs_that_fit(int(np.prod(shape["window"])), outputs)
    if not outputs:
        _max_pool(build)
        return
    target = build.target((*shape["out"], outputs))
    build.enter(
        Conv2D, target, stride=shape["stride"], padding=shape["padding"],
        **_linear(build, target, (outputs, *shape["window"], inputs)),
    )  # fmt: skip


def _depthwise(build: Builder) -> None:
    height, width, inputs = build.last.shape
    if build.draw(st.booleans()) and min(height, width) > 1:
        # What the depthwise unit is made for.
        padding = tuple(build.draw(st.integers(0, 2)) for _ in range(4))
        padding = tuple(
            max(item, 1) if size == 2 else item
            for item, size in zip(padding, (height, height, width, width), strict=True)
        )
        stride = tuple(build.draw(st.sampled_from([1, 1, 2])) for _ in range(2))
        window, multiplier = (3, 3), 1
        out = tuple(
            (size + sum(margins) - 3) // step + 1
            for size, margins, step in zip(
                (height, width), (padding[:2], padding[2:]), stride, strict=True
            )
        )
    else:
        shape = _window(build, 4, [1, 2, 3, 4])
        window, stride, padding, out = (
            shape[name] for name in ("window", "stride", "padding", "out")
        )
        multiplier = build.draw(st.integers(1, 4 if inputs < 6 else 1))
    outputs = inputs * multiplier
    if build.outputs_that_fit(int(np.prod(window)), outputs) < outputs:
        _max_pool(build)
        return
    target = build.target((*out, outputs))
    build.enter(
        DepthwiseConv2D, target, stride=stride, padding=padding, multiplier=multiplier,
        **_linear(build, target, (outputs, *window)),
    )  # fmt: skip


def _full(build: Builder) -> None:
    source = build.last
    outputs = build.draw(st.integers(1, 13))
    outputs = build.outputs_that_fit(source.shape[0] * source.shape[1], outputs)
    if not outputs:
        _max_pool(build)
        return
    target = build.target((1, 1, outputs))
    values = _linear(build, target, (outputs, source.size))
    # LiteRT's kernel converts the rounded float64 to int32, which is undefined beyond its range.
    largest = 2**30 * target.scale / (float(values["weight_scales"].max()) * source.scale)
    largest = min(largest, 2**31 - 1)
    values["bias"] = np.clip(values["bias"], -largest, largest).astype(np.int64)
    build.enter(FullyConnected, target, **values)


def _max_pool(build: Builder) -> None:
    shape = _window(build, 4, [1, 2, 3, 4])
    target = build.target((*shape.pop("out"), build.last.shape[2]), build.last)
    build.enter(MaxPool2D, target, **shape)


def _average_pool(build: Builder) -> None:
    height, width, channels = build.last.shape
    if build.draw(st.booleans()):
        shape = _window(build, 4, [1, 2, 3])
    else:
        window = tuple(build.draw(st.integers(1, size)) for size in (height, width))
        stride = tuple(build.draw(st.integers(1, 4)) for _ in range(2))
        out = tuple(
            (size - side) // step + 1
            for size, side, step in zip((height, width), window, stride, strict=True)
        )
        shape = {"window": window, "stride": stride, "padding": (0, 0, 0, 0), "out": out}
    target = build.target((*shape.pop("out"), channels), build.last)
    build.enter(AveragePool2D, target, **shape)


def _pad(build: Builder) -> None:
    padding = tuple(build.draw(st.integers(0, 2)) for _ in range(4))
    height, width, channels = build.last.shape
    shape = (height + sum(padding[:2]), width + sum(padding[2:]), channels)
    build.enter(Pad, build.target(shape, build.last), clamp=False, padding=padding)


def _requantize(build: Builder) -> None:
    like = build.last if build.draw(st.integers(0, 3)) == 0 else None
    target = build.target(build.last.shape, like)
    build.enter(Requantize, target, float32_ratio=build.draw(st.booleans()))


def _mean(build: Builder) -> None:
    build.enter(Mean, build.target((1, 1, build.last.shape[2])), clamp=False)


def _add(build: Builder) -> None:
    """With any tensor of the same shape; perhaps a layer is put between that keeps the shape."""
    if build.draw(st.booleans()):
        _same_shape(build)
    others = [tensor.name for tensor in build.tensors if tensor.shape == build.last.shape]
    other = build.draw(st.sampled_from(others))
    build.enter(Add, build.target(build.last.shape), other=other)


def _same_shape(build: Builder) -> None:
    """A convolution whose output has the shape of its input."""
    channels = build.last.shape[2]
    size = build.draw(st.sampled_from([1, 3]))
    if build.outputs_that_fit(size * size, channels) < channels:
        _requantize(build)
        return
    target = build.target(build.last.shape)
    build.enter(
        Conv2D, target, padding=(size // 2,) * 4,
        **_linear(build, target, (channels, size, size, channels)),
    )  # fmt: skip


KINDS: dict[str, Callable[[Builder], None]] = {
    "conv": _conv,
    "depthwise": _depthwise,
    "max": _max_pool,
    "average": _average_pool,
    "pad": _pad,
    "requantize": _requantize,
    "mean": _mean,
    "add": _add,
    "full": _full,
}
"""How to append a layer of each kind."""


@st.composite
def networks(
    draw: st.DrawFn,
    most: int = 5,
    kinds: tuple[str, ...] = (*KINDS, "conv", "depthwise", "add"),
    first: tuple[str, ...] | None = None,
    channels: int = 11,
) -> Graph:
    """One to ``most`` layers of ``kinds``, the first of them of the kinds ``first``."""
    size = draw(st.integers(1, 12)), draw(st.integers(1, 12)), draw(st.integers(1, channels))
    build = Builder(draw, [Tensor("t0", size, draw(scales), draw(zero_points))])
    for index in range(draw(st.integers(1, most))):
        kind = draw(st.sampled_from(first if first and index == 0 else kinds))
        if kind == "mean" and build.last.size > 1 and index < 2:
            kind = "conv"  # a mean early leaves little to follow
        KINDS[kind](build)
        if kind == "full":
            break
    return build.graph()

"""Random networks of a few layers for Hypothesis."""

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
from tests.models.random_graphs import linear_values, multipliers, seeds, zero_points

__all__ = ["chains"]

scales = st.floats(2**-8, 0.25, width=32)


@st.composite
def chains(draw: st.DrawFn, most: int = 4) -> Graph:
    """One to ``most`` layers; convolutions and pools, now and then a fully connected one at the
    end."""
    size = draw(st.integers(1, 12)), draw(st.integers(1, 12)), draw(st.integers(1, 11))
    tensors = [Tensor("t0", size, draw(scales), draw(zero_points))]
    nodes: list[Node] = []
    for index in range(draw(st.integers(1, most))):
        source = tensors[-1]
        kinds = ["conv", "conv", "max", "average"]
        if source.size <= 200:
            kinds.append("full")
        kind = draw(st.sampled_from(kinds))
        make = _full if kind == "full" else _conv if kind == "conv" else _pool
        node, target = make(draw, f"n{index}", source, f"t{index + 1}", kind)
        nodes.append(node)
        tensors.append(target)
        if kind == "full":
            break
    return Graph(
        name="chain",
        tensors={tensor.name: tensor for tensor in tensors},
        nodes=tuple(nodes),
        input="t0",
        output=tensors[-1].name,
    )


def _clamp(draw: st.DrawFn) -> dict[str, int]:
    low, high = draw(st.sampled_from([(-128, 127), (-128, 127), (-20, 90), (0, 0)]))
    return {"activation_min": low, "activation_max": high}


def _window(draw: st.DrawFn, source: Tensor, largest: int, strides: list[int]) -> dict:
    """A window with padding that fits ``source``, and the output's height and width."""
    sides = [
        _side(draw, source.shape[0], largest, [1, 2, 3]),
        _side(draw, source.shape[1], largest, strides),
    ]
    return {
        "window": tuple(side[0] for side in sides),
        "stride": tuple(side[1] for side in sides),
        "padding": (*sides[0][2], *sides[1][2]),
        "out": tuple(side[3] for side in sides),
    }


def _side(draw: st.DrawFn, size: int, largest: int, strides: list[int]):
    window = draw(st.integers(1, min(largest, size + 2)))
    least = max(0, window - size)
    before = draw(st.integers(0, window - 1))
    after = draw(st.integers(max(0, least - before), max(window - 1, least - before)))
    stride = draw(st.sampled_from(strides))
    return window, stride, (before, after), (size + before + after - window) // stride + 1


def _weights(draw: st.DrawFn, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    kind = draw(st.sampled_from(["random", "extreme", "least"]))
    if kind == "least":
        return np.full(shape, -128)
    return rng.choice([-128, 127], shape) if kind == "extreme" else rng.integers(-128, 128, shape)


def _conv(draw, name, source, target_name, kind):
    shape = _window(draw, source, 4, [1, 2, 4])
    outputs = draw(st.integers(1, 11))
    target = Tensor(target_name, (*shape["out"], outputs), draw(scales), draw(zero_points))
    rng = np.random.default_rng(draw(seeds))
    kernel = (outputs, *shape["window"], source.shape[2])
    values = linear_values(
        rng, draw(multipliers), outputs, int(np.prod(kernel[1:])), target.scale / source.scale
    )
    node = Conv2D(
        name=name, input=source.name, output=target_name, stride=shape["stride"],
        padding=shape["padding"], weights=_weights(draw, rng, kernel), **values, **_clamp(draw),
    )  # fmt: skip
    return node, target


def _pool(draw, name, source, target_name, kind):
    if kind == "average":
        window = tuple(draw(st.integers(1, size)) for size in source.shape[:2])
        stride = draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from([1, 2, 4]))
        shape = {
            "window": window,
            "stride": stride,
            "padding": (0, 0, 0, 0),
            "out": tuple(
                (size - side) // step + 1
                for size, side, step in zip(source.shape, window, stride, strict=False)
            ),
        }
    else:
        shape = _window(draw, source, 4, [1, 2, 4])
    target = Tensor(target_name, (*shape["out"], source.shape[2]), source.scale, source.zero_point)
    node = (AveragePool2D if kind == "average" else MaxPool2D)(
        name=name, input=source.name, output=target_name, window=shape["window"],
        stride=shape["stride"], padding=shape["padding"], **_clamp(draw),
    )  # fmt: skip
    return node, target


def _full(draw, name, source, target_name, kind):
    outputs = draw(st.integers(1, 13))
    target = Tensor(target_name, (1, 1, outputs), draw(scales), draw(zero_points))
    rng = np.random.default_rng(draw(seeds))
    values = linear_values(
        rng, draw(multipliers), outputs, source.size, target.scale / source.scale
    )
    # LiteRT's kernel converts the rounded float64 to int32, which is undefined beyond its range.
    largest = 2**30 * target.scale / (float(values["weight_scales"].max()) * source.scale)
    values["bias"] = np.clip(values["bias"], -min(largest, 2**31 - 1), min(largest, 2**31 - 1))
    values["bias"] = values["bias"].astype(np.int64)
    node = FullyConnected(
        name=name, input=source.name, output=target_name,
        weights=_weights(draw, rng, (outputs, source.size)), **values, **_clamp(draw),
    )  # fmt: skip
    return node, target

"""Graphs of a few layers, written in a line each, for tests of the compiler."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.vision.graph import Conv2D, DepthwiseConv2D, Graph, Node, Tensor

__all__ = ["SCALE", "conv", "depthwise", "graph_of"]

SCALE = 2.0**-5
"""Of every tensor and every weight."""


def graph_of(nodes: list[Node], shapes: dict[str, tuple[int, int, int]], **values: Any) -> Graph:
    """A graph from the first tensor of ``shapes`` to the last, zero point 3 everywhere."""
    names = list(shapes)
    return Graph(
        name="small",
        tensors={name: Tensor(name, shape, SCALE, 3) for name, shape in shapes.items()},
        nodes=tuple(nodes),
        input=names[0],
        output=names[-1],
        **values,
    )


def conv(source: str, target: str, weights: np.ndarray, **values: Any) -> Conv2D:
    """A convolution with biases of 0 unless they are given."""
    return Conv2D(**_linear(source, target, weights, values))


def depthwise(source: str, target: str, weights: np.ndarray, **values: Any) -> DepthwiseConv2D:
    """A depthwise convolution with biases of 0 unless they are given."""
    return DepthwiseConv2D(**_linear(source, target, weights, values))


def _linear(source: str, target: str, weights: np.ndarray, values: dict[str, Any]) -> dict:
    return {
        "name": f"{source} to {target}",
        "input": source,
        "output": target,
        "weights": weights,
        "bias": np.zeros(len(weights), np.int64),
        "weight_scales": np.full(len(weights), SCALE),
        **values,
    }

"""Runs a quantised graph in PyTorch integers: what the hardware must compute, bit for bit.

It works from the graph alone, layer by layer as the graph says, and shares neither lowering nor
tables nor requantisation constants with the compiler, so that the two check each other.

Convolutions are matrix products in float64: each product of an int8 weight and a 9-bit activation
is below 2^15 and their sum far below 2^53, so every step is exact, and faster than in integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from models.vision import arithmetic
from models.vision.graph import AveragePool2D, Conv2D, FullyConnected, Graph, MaxPool2D, Node

__all__ = ["run", "run_layers"]

Int8Array = npt.NDArray[np.int8]
BATCH_BYTES = 4 << 20
"""How much the windows of one batch may take: what stays in a processor's cache is fastest."""


def run(graph: Graph, pictures: Int8Array) -> Int8Array:
    """The graph's output for each picture.

    Parameters
    ----------
    graph : Graph
        What to run.
    pictures : int8 array [N, H, W, C]
        Quantised pictures (:func:`models.vision.graph.quantize_input`).

    Returns
    -------
    int8 array [N, H, W, C]
        The output tensor of each picture.
    """
    outputs = [maps[graph.output] for maps in _batches(graph, pictures)]
    empty = np.empty((0, *graph.output_tensor.shape), dtype=np.int8)
    return np.concatenate([empty, *outputs])


def run_layers(graph: Graph, pictures: Int8Array) -> dict[str, Int8Array]:
    """Every tensor of the graph by name, int8 [N, H, W, C], for each picture; see :func:`run`."""
    batches = list(_batches(graph, pictures))
    return {
        name: np.concatenate(
            [np.empty((0, *tensor.shape), dtype=np.int8), *(maps[name] for maps in batches)]
        )
        for name, tensor in graph.tensors.items()
    }


def _batches(graph: Graph, pictures: Int8Array) -> Iterator[dict[str, Int8Array]]:
    shape = graph.input_tensor.shape
    if pictures.dtype != np.int8:
        raise TypeError(f"Pictures must be int8, not {pictures.dtype}")
    if pictures.shape[1:] != shape:
        raise ValueError(
            f"Pictures must have the shape N × {_times(shape)}, not {_times(pictures.shape)}"
        )
    size = max(1, BATCH_BYTES // _window_bytes(graph))
    for start in range(0, len(pictures), size):
        batch = np.ascontiguousarray(pictures[start : start + size])
        maps = {graph.input: torch.from_numpy(batch)}
        for node in graph.nodes:
            maps[node.output] = KERNELS[type(node)](graph, node, maps)
        yield {name: values.numpy() for name, values in maps.items()}


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _window_bytes(graph: Graph) -> int:
    """Bytes that the greatest layer's windows of one picture take in float64."""
    values = max(tensor.size for tensor in graph.tensors.values())
    for node in graph.nodes:
        if isinstance(node, Conv2D):
            height, width, _ = graph.tensors[node.output].shape
            values = max(values, height * width * node.weights[0].size)
    return 8 * values


def _windows(
    values: Tensor, node: Conv2D | MaxPool2D | AveragePool2D, padding_value: int
) -> Tensor:
    """[N, H, W, C] to the windows of each output pixel, [N, OH, OW, C, KH, KW]."""
    top, bottom, left, right = node.padding
    padded = functional.pad(values, (0, 0, left, right, top, bottom), value=padding_value)
    height, width = node.window
    return padded.unfold(1, height, node.stride[0]).unfold(2, width, node.stride[1])


def _accumulate(rows: Tensor, node: Conv2D | FullyConnected) -> Tensor:
    """Integer ``rows · weightsᵀ + bias`` as an int32 accumulator leaves it."""
    weights = torch.from_numpy(node.weights.reshape(len(node.weights), -1).astype(np.float64))
    bias = torch.from_numpy(node.bias.astype(np.int64))
    products = rows.to(torch.float64) @ weights.T
    return arithmetic.wrap_int32(products.to(torch.int64) + bias)


def _multipliers(graph: Graph, node: Conv2D | FullyConnected) -> Tensor:
    """Steps of the output in one step of each channel's accumulator, float64."""
    steps = graph.tensors[node.input].scale * node.weight_scales.astype(np.float64)
    return torch.from_numpy(steps / graph.tensors[node.output].scale)


def _clamp(node: Node, values: Tensor) -> Tensor:
    return values.clamp(node.activation_min, node.activation_max).to(torch.int8)


def _conv2d(graph: Graph, node: Conv2D, maps: dict[str, Tensor]) -> Tensor:
    zero_point = graph.tensors[node.input].zero_point
    windows = _windows(maps[node.input].to(torch.int16) - zero_point, node, 0)
    rows = windows.permute(0, 1, 2, 4, 5, 3).flatten(3)
    accumulators = _accumulate(rows, node)
    multipliers, shifts = arithmetic.quantize_multipliers(_multipliers(graph, node))
    values = arithmetic.multiply_by_quantized_multiplier(accumulators, multipliers, shifts)
    return _clamp(node, values + graph.tensors[node.output].zero_point)


def _fully_connected(graph: Graph, node: FullyConnected, maps: dict[str, Tensor]) -> Tensor:
    zero_point = graph.tensors[node.input].zero_point
    rows = (maps[node.input].to(torch.int16) - zero_point).flatten(1)
    accumulators = _accumulate(rows, node)[:, None, None, :]
    values = arithmetic.round_half_away(accumulators * _multipliers(graph, node))
    return _clamp(node, values + graph.tensors[node.output].zero_point)


def _max_pool2d(graph: Graph, node: MaxPool2D, maps: dict[str, Tensor]) -> Tensor:
    return _clamp(node, _windows(maps[node.input], node, -128).amax(dim=(4, 5)))


def _average_pool2d(graph: Graph, node: AveragePool2D, maps: dict[str, Tensor]) -> Tensor:
    windows = _windows(maps[node.input].to(torch.int64), node, 0)
    count = node.window[0] * node.window[1]
    return _clamp(node, arithmetic.divide_rounding_away(windows.sum(dim=(4, 5)), count))


Kernel = Callable[[Graph, Node, dict[str, Tensor]], Tensor]
KERNELS = cast(
    dict[type[Any], Kernel],
    {
        Conv2D: _conv2d,
        FullyConnected: _fully_connected,
        MaxPool2D: _max_pool2d,
        AveragePool2D: _average_pool2d,
    },
)

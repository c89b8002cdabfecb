"""Runs a quantised graph in PyTorch integers: what the hardware must compute, bit for bit.

It works from the graph alone, layer by layer as the graph says, and shares neither lowering nor
tables nor requantisation constants with the compiler, so that the two check each other.

Convolutions are matrix products in float64: each product of an int8 weight and a 9-bit activation
is below 2^15 and their sum far below 2^53, so every step is exact, and faster than in integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from models.vision import arithmetic
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
)
from models.vision.node import WindowNode
from models.vision.node_table import NodeTable
from models.vision.nodes import ADD_LEFT_SHIFT
from models.vision.softmax import softmax
from models.vision.weighted_nodes import WeightedNode

__all__ = ["answers", "run", "run_layers"]

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


def answers(graph: Graph, outputs: Int8Array) -> Int8Array:
    """What the network answers where the engine gives ``outputs``: their softmax, if it has one."""
    if graph.softmax is None:
        return outputs
    return softmax(outputs, graph.output_tensor.scale, graph.softmax_beta)


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
            maps[node.output] = KERNELS[node].run(graph, node, maps)
        yield {name: values.numpy() for name, values in maps.items()}


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _window_bytes(graph: Graph) -> int:
    """Bytes that the greatest layer's windows of one picture take in float64."""
    values = max(tensor.size for tensor in graph.tensors.values())
    for node in graph.nodes:
        height, width, _ = graph.tensors[node.output].shape
        values = max(values, height * width * KERNELS[node].window_values(node))
    return 8 * values


def _padded(values: Tensor, padding: tuple[int, int, int, int], padding_value: int) -> Tensor:
    top, bottom, left, right = padding
    return functional.pad(values, (0, 0, left, right, top, bottom), value=padding_value)


def _windows(values: Tensor, node: WindowNode, padding_value: int) -> Tensor:
    """[N, H, W, C] to the windows of each output pixel, [N, OH, OW, C, KH, KW]."""
    padded = _padded(values, node.padding, padding_value)
    height, width = node.window
    return padded.unfold(1, height, node.stride[0]).unfold(2, width, node.stride[1])


def _centred(graph: Graph, name: str, maps: dict[str, Tensor]) -> Tensor:
    """The tensor's values less its zero point, int64."""
    return maps[name].to(torch.int64) - graph.tensors[name].zero_point


def _with_bias(products: Tensor, node: WeightedNode) -> Tensor:
    """Exact float64 ``products`` and the bias, as an int32 accumulator leaves them."""
    return arithmetic.wrap_int32(
        products.to(torch.int64) + torch.from_numpy(node.bias.astype(np.int64))
    )


def _accumulate(rows: Tensor, node: Conv2D | FullyConnected) -> Tensor:
    """Integer ``rows · weightsᵀ + bias``."""
    weights = torch.from_numpy(node.weights.reshape(len(node.weights), -1).astype(np.float64))
    return _with_bias(rows.to(torch.float64) @ weights.T, node)


def _multipliers(graph: Graph, node: WeightedNode) -> Tensor:
    """Steps of the output in one step of each channel's accumulator, float64."""
    steps = graph.tensors[node.input].scale * node.weight_scales.astype(np.float64)
    return torch.from_numpy(steps / graph.tensors[node.output].scale)


def _scaled(values: Tensor, multiplier: tuple[int, int]) -> Tensor:
    """int32 ``values`` times one quantised multiplier."""
    return arithmetic.multiply_by_quantized_multiplier(values, *map(torch.tensor, multiplier))


def _clamp(node: Node, values: Tensor) -> Tensor:
    return values.clamp(node.activation_min, node.activation_max).to(torch.int8)


def _output(graph: Graph, node: Node, values: Tensor) -> Tensor:
    """Steps of the output tensor as its int8 values."""
    return _clamp(node, values + graph.tensors[node.output].zero_point)


def _requantized(graph: Graph, node: Conv2D | DepthwiseConv2D, accumulators: Tensor) -> Tensor:
    multipliers, shifts = arithmetic.quantize_multipliers(_multipliers(graph, node))
    values = arithmetic.multiply_by_quantized_multiplier(accumulators, multipliers, shifts)
    return _output(graph, node, values)


def _conv2d(graph: Graph, node: Conv2D, maps: dict[str, Tensor]) -> Tensor:
    windows = _windows(_centred(graph, node.input, maps).to(torch.int16), node, 0)
    rows = windows.permute(0, 1, 2, 4, 5, 3).flatten(3)
    return _requantized(graph, node, _accumulate(rows, node))


def _depthwise_conv2d(graph: Graph, node: DepthwiseConv2D, maps: dict[str, Tensor]) -> Tensor:
    windows = _windows(_centred(graph, node.input, maps), node, 0).flatten(4).to(torch.float64)
    weights = node.weights.reshape(windows.shape[3], node.multiplier, -1).astype(np.float64)
    products = torch.einsum("nhwct,cmt->nhwcm", windows, torch.from_numpy(weights)).flatten(3)
    return _requantized(graph, node, _with_bias(products, node))


def _fully_connected(graph: Graph, node: FullyConnected, maps: dict[str, Tensor]) -> Tensor:
    rows = _centred(graph, node.input, maps).flatten(1)
    accumulators = _accumulate(rows, node)[:, None, None, :]
    values = arithmetic.round_half_away(accumulators * _multipliers(graph, node))
    return _output(graph, node, values)


def _max_pool2d(graph: Graph, node: MaxPool2D, maps: dict[str, Tensor]) -> Tensor:
    return _clamp(node, _windows(maps[node.input], node, -128).amax(dim=(4, 5)))


def _average_pool2d(graph: Graph, node: AveragePool2D, maps: dict[str, Tensor]) -> Tensor:
    values = maps[node.input].to(torch.int64)
    sums = _windows(values, node, 0).sum(dim=(4, 5))
    counts = _windows(torch.ones_like(values[:1, :, :, :1]), node, 0).sum(dim=(4, 5))
    return _clamp(node, arithmetic.divide_rounding_away(sums, counts))


def _add(graph: Graph, node: Add, maps: dict[str, Tensor]) -> Tensor:
    twice_greater = 2 * max(graph.tensors[name].scale for name in node.inputs)
    total = torch.zeros((), dtype=torch.int64)
    for name in node.inputs:
        multiplier = arithmetic.quantize_multiplier(graph.tensors[name].scale / twice_greater)
        total = total + _scaled(_centred(graph, name, maps) << ADD_LEFT_SHIFT, multiplier)
    step = (1 << ADD_LEFT_SHIFT) * graph.tensors[node.output].scale
    return _output(
        graph, node, _scaled(total, arithmetic.quantize_multiplier(twice_greater / step))
    )


def _pad(graph: Graph, node: Pad, maps: dict[str, Tensor]) -> Tensor:
    return _padded(maps[node.input], node.padding, graph.tensors[node.output].zero_point)


def _requantize(graph: Graph, node: Requantize, maps: dict[str, Tensor]) -> Tensor:
    multiplier = arithmetic.quantize_multiplier(node.ratio(graph.tensors))
    return _output(graph, node, _scaled(_centred(graph, node.input, maps), multiplier))


def _mean(graph: Graph, node: Mean, maps: dict[str, Tensor]) -> Tensor:
    height, width, _ = graph.tensors[node.input].shape
    ratio = graph.tensors[node.input].scale / graph.tensors[node.output].scale
    sums = _centred(graph, node.input, maps).sum(dim=(1, 2), keepdim=True)
    return _output(graph, node, _scaled(sums, arithmetic.mean_multiplier(ratio, height * width)))


@dataclass(frozen=True)
class Kernel:
    """How a type of node is run.

    Parameters
    ----------
    run : function of (graph, node, maps)
        The node's output of the maps by name.
    window_values : function of node
        Values that are gathered for an output pixel; 0 where none are.
    """

    run: Callable[[Graph, Any, dict[str, Tensor]], Tensor]
    window_values: Callable[[Any], int] = lambda node: 0


KERNELS = NodeTable(
    "the reference has no kernel",
    {
        Conv2D: Kernel(_conv2d, lambda node: node.weights[0].size),
        DepthwiseConv2D: Kernel(_depthwise_conv2d, lambda node: node.weights.size),
        FullyConnected: Kernel(_fully_connected),
        MaxPool2D: Kernel(_max_pool2d),
        AveragePool2D: Kernel(_average_pool2d),
        Add: Kernel(_add),
        Pad: Kernel(_pad),
        Requantize: Kernel(_requantize),
        Mean: Kernel(_mean),
    },
)
"""Type of node to what runs it."""

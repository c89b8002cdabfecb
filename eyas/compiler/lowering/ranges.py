"""Which values each channel can have, whatever the picture; with only one it is constant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eyas.compiler.lowering.add import add_parameters, table_fields
from eyas.compiler.lowering.lane import (
    ChannelParameters,
    add_table,
    does_not_wrap,
    requantized,
)
from eyas.compiler.lowering.requantization import of_convolution, of_fully_connected
from eyas.compiler.lowering.rescaling import of_mean, of_requantize
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
from models.vision.node_table import NodeTable

__all__ = ["RANGES", "Ranges", "ranges_of", "seen_by", "weight_matrix"]

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Ranges:
    """The least and the greatest value of each channel.

    Parameters
    ----------
    low, high : int64 array [C]
        Both included.
    """

    low: Integers
    high: Integers

    @property
    def constant(self) -> npt.NDArray[np.bool_]:
        """Whether a channel has but one value."""
        return self.low == self.high

    def with_value(self, value: int) -> Ranges:
        """The ranges with ``value`` in each of them."""
        return Ranges(np.minimum(self.low, value), np.maximum(self.high, value))

    def clamped(self, node: Node) -> Ranges:
        """Within the activation of ``node``."""
        limits = node.activation_min, node.activation_max
        return Ranges(np.clip(self.low, *limits), np.clip(self.high, *limits))


def ranges_of(graph: Graph) -> dict[str, Ranges]:
    """The ranges of every tensor's channels, in exactly the arithmetic of the engine."""
    channels = graph.input_tensor.shape[2]
    ranges = {graph.input: Ranges(np.full(channels, -128), np.full(channels, 127))}
    for node in graph.nodes:
        row, source = RANGES[node], seen_by(graph, node, ranges)
        if row.sums is None:
            ranges[node.output] = source.clamped(node)
        else:
            sums, parameters = row.sums(graph, node, source, ranges)
            ranges[node.output] = _requantized(graph, node, sums, parameters)
    return ranges


def seen_by(graph: Graph, node: Node, ranges: Mapping[str, Ranges]) -> Ranges:
    """The ranges of what the windows of ``node`` see: where it pads, the zero point too."""
    source = ranges[node.input]
    if not RANGES[node].sees_zero_point(node):
        return source
    return source.with_value(graph.tensors[node.input].zero_point)


def weight_matrix(node: Conv2D | FullyConnected, channels: int) -> Integers:
    """Weights as [output][place in the window][input channel]."""
    return node.weights.reshape(len(node.weights), -1, channels).astype(np.int64)


Sums = tuple[Ranges, Sequence[ChannelParameters]]
"""The ranges of what a node adds up, and what requantises it."""


def _conv2d(graph: Graph, node: Conv2D, source: Ranges, ranges: Mapping[str, Ranges]) -> Sums:
    tensor = graph.tensors[node.input]
    products = _products(weight_matrix(node, tensor.shape[2]), source)
    return products, of_convolution(node, tensor, graph.tensors[node.output])


def _fully_connected(
    graph: Graph, node: FullyConnected, source: Ranges, ranges: Mapping[str, Ranges]
) -> Sums:
    tensor = graph.tensors[node.input]
    products = _products(weight_matrix(node, tensor.shape[2]), source)
    return products, of_fully_connected(node, tensor, graph.tensors[node.output])


def _depthwise_conv2d(
    graph: Graph, node: DepthwiseConv2D, source: Ranges, ranges: Mapping[str, Ranges]
) -> Sums:
    tensor, target = graph.tensors[node.input], graph.tensors[node.output]
    channels = target.shape[2]
    weights = node.weights.reshape(channels, -1, 1).astype(np.int64)
    inputs = np.arange(channels) // node.multiplier
    positive, negative = (part.sum((1, 2)) for part in _signs(weights))
    low, high = source.low[inputs], source.high[inputs]
    sums = Ranges(positive * low + negative * high, positive * high + negative * low)
    return sums, of_convolution(node, tensor, target)


def _mean(graph: Graph, node: Mean, source: Ranges, ranges: Mapping[str, Ranges]) -> Sums:
    tensor, target = graph.tensors[node.input], graph.tensors[node.output]
    count = tensor.shape[0] * tensor.shape[1]
    sums = Ranges(count * source.low, count * source.high)
    return sums, [of_mean(node.label, tensor, target, count)] * target.shape[2]


def _requantize(
    graph: Graph, node: Requantize, source: Ranges, ranges: Mapping[str, Ranges]
) -> Sums:
    tensor, ratio = graph.tensors[node.input], node.ratio(graph.tensors)
    return source, [of_requantize(node.label, tensor, ratio)] * tensor.shape[2]


def _add(graph: Graph, node: Add, source: Ranges, ranges: Mapping[str, Ranges]) -> Sums:
    first, second, target = (graph.tensors[name] for name in (node.input, node.other, node.output))
    other, fields = ranges[node.other], table_fields(first, second)
    ends = [
        [
            add_table(fields, "a", int(one)) + add_table(fields, "b", int(two))
            for one, two in zip(*pair, strict=True)
        ]
        for pair in ((source.low, other.low), (source.high, other.high))
    ]
    sums = Ranges(np.array(ends[0], np.int64), np.array(ends[1], np.int64))
    return sums, [add_parameters(node.label, first, second, target)] * target.shape[2]


def _never(node: Node) -> bool:
    return False


def _where_it_pads(node: Conv2D | DepthwiseConv2D | Pad) -> bool:
    return any(node.padding)


@dataclass(frozen=True)
class RangeRow:
    """How the ranges of a type of node's output follow from its inputs'.

    Parameters
    ----------
    sums : function of (graph, node, source, ranges), or None
        What it adds up; None where outputs are inputs, or lie between them.
    sees_zero_point : function of node
        Whether it reads the zero point beside its input's values.
    """

    sums: Callable[[Graph, Any, Ranges, Mapping[str, Ranges]], Sums] | None = None
    sees_zero_point: Callable[[Any], bool] = _never


RANGES = NodeTable(
    "the compiler has no ranges",
    {
        Conv2D: RangeRow(_conv2d, _where_it_pads),
        DepthwiseConv2D: RangeRow(_depthwise_conv2d, _where_it_pads),
        FullyConnected: RangeRow(_fully_connected),
        Mean: RangeRow(_mean),
        Requantize: RangeRow(_requantize),
        Add: RangeRow(_add),
        Pad: RangeRow(None, _where_it_pads),
        MaxPool2D: RangeRow(),
        AveragePool2D: RangeRow(),
    },
)
"""Type of node to its ranges."""


def _signs(weights: Integers) -> tuple[Integers, Integers]:
    return np.maximum(weights, 0), np.minimum(weights, 0)


def _products(weights: Integers, source: Ranges) -> Ranges:
    """Ranges of the sums of all inputs times ``weights`` [output][place][input]."""
    positive, negative = (part.sum(1) for part in _signs(weights))
    return Ranges(
        positive @ source.low + negative @ source.high,
        positive @ source.high + negative @ source.low,
    )


def _requantized(
    graph: Graph, node: Node, sums: Ranges, parameters: Sequence[ChannelParameters]
) -> Ranges:
    """The ranges of the output; everything is possible where the accumulator could wrap."""
    zero_point = graph.tensors[node.output].zero_point
    limits = node.activation_min, node.activation_max
    ends = []
    for low, high, channel in zip(sums.low, sums.high, parameters, strict=True):
        first, last = int(low) + channel.bias, int(high) + channel.bias
        if first == last or does_not_wrap(first, last, channel.pre_shift):
            # A lane never falls where its sum rises.
            ends.append(
                tuple(
                    requantized(int(total), channel, zero_point, *limits) for total in (low, high)
                )
            )
        else:
            ends.append(limits)
    low_ends, high_ends = np.array(ends, np.int64).T
    return Ranges(low_ends, high_ends)

"""Which values each channel can have, whatever the picture; with only one it is constant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eyas.compiler.lowering.add import add_parameters, table_fields
from eyas.compiler.lowering.lane import add_table, requantized
from eyas.compiler.lowering.requantization import (
    ChannelParameters,
    of_convolution,
    of_fully_connected,
)
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

__all__ = ["Ranges", "ranges_of", "weight_matrix"]

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

    def as_read_by(self, node: Node, zero_point: int) -> Ranges:
        """What the windows of ``node`` see: where it pads, the zero point too."""
        pads = isinstance(node, (Conv2D, DepthwiseConv2D, Pad)) and any(node.padding)
        if not pads:
            return self
        return Ranges(np.minimum(self.low, zero_point), np.maximum(self.high, zero_point))

    def clamped(self, node: Node) -> Ranges:
        """Within the activation of ``node``."""
        limits = node.activation_min, node.activation_max
        return Ranges(np.clip(self.low, *limits), np.clip(self.high, *limits))


def ranges_of(graph: Graph) -> dict[str, Ranges]:
    """The ranges of every tensor's channels, in exactly the arithmetic of the engine."""
    channels = graph.input_tensor.shape[2]
    ranges = {graph.input: Ranges(np.full(channels, -128), np.full(channels, 127))}
    for node in graph.nodes:
        source = ranges[node.input].as_read_by(node, graph.tensors[node.input].zero_point)
        match node:
            case MaxPool2D() | AveragePool2D() | Pad():
                ranges[node.output] = source.clamped(node)
            case _:
                other = ranges[node.other] if isinstance(node, Add) else source
                sums, parameters = _sums(graph, node, source, other)
                ranges[node.output] = _requantized(graph, node, sums, parameters)
    return ranges


def weight_matrix(node: Conv2D | FullyConnected, channels: int) -> Integers:
    """Weights as [output][place in the window][input channel]."""
    return node.weights.reshape(len(node.weights), -1, channels).astype(np.int64)


def _sums(
    graph: Graph, node: Node, source: Ranges, other: Ranges
) -> tuple[Ranges, Sequence[ChannelParameters]]:
    """The ranges of what ``node`` adds up, and what requantises it."""
    tensor, target = graph.tensors[node.input], graph.tensors[node.output]
    channels = target.shape[2]
    match node:
        case Conv2D():
            weights = weight_matrix(node, tensor.shape[2])
            return _products(weights, source), of_convolution(node, tensor, target)
        case FullyConnected():
            weights = weight_matrix(node, tensor.shape[2])
            return _products(weights, source), of_fully_connected(node, tensor, target)
        case DepthwiseConv2D():
            weights = node.weights.reshape(channels, -1, 1).astype(np.int64)
            inputs = np.arange(channels) // node.multiplier
            positive, negative = (part.sum((1, 2)) for part in _signs(weights))
            low, high = source.low[inputs], source.high[inputs]
            sums = Ranges(positive * low + negative * high, positive * high + negative * low)
            return sums, of_convolution(node, tensor, target)
        case Mean():
            count = tensor.shape[0] * tensor.shape[1]
            sums = Ranges(count * source.low, count * source.high)
            return sums, [of_mean(node.label, tensor, target, count)] * channels
        case Requantize():
            ratio = node.ratio(graph.tensors)
            return source, [of_requantize(node.label, tensor, ratio)] * channels
        case Add():
            second = graph.tensors[node.other]
            fields = table_fields(tensor, second)
            ends = [
                [
                    add_table(fields, "a", int(one)) + add_table(fields, "b", int(two))
                    for one, two in zip(*pair, strict=True)
                ]
                for pair in ((source.low, other.low), (source.high, other.high))
            ]
            sums = Ranges(np.array(ends[0], np.int64), np.array(ends[1], np.int64))
            return sums, [add_parameters(node.label, tensor, second, target)] * channels
    raise TypeError(f"{node.label} has no sums")


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
        bound = 1 << (31 - channel.pre_shift)
        if first == last or -bound <= first <= last < bound:
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

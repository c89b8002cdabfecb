"""Constant channels folded away: the same results for every picture, with less to compute.

A filter whose weights are all zero gives the same value everywhere; so does one whose sums all end
up at the activation's lower end, or what only constant channels feed.  A layer that reads such a
channel needs it no longer once its share stands in the bias; what nothing needs is not computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eyas.compiler.lowering.ranges import Ranges, ranges_of, seen_by, weight_matrix
from models.vision.graph import (
    Add,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    Mean,
    Node,
    Pad,
    Pool2D,
    Requantize,
)
from models.vision.node_table import NodeTable

__all__ = ["FOLDING", "Folding", "fold"]

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Folding:
    """A graph without its constant channels.

    Parameters
    ----------
    graph : Graph
        What is left: the same nodes, with fewer channels.
    kept : dict of str to list of int
        For each tensor that lost channels, those that are left.
    removed : int
        Channels removed, of all tensors together.
    """

    graph: Graph
    kept: dict[str, list[int]]
    removed: int


def fold(graph: Graph) -> Folding:
    """``graph`` without the channels whose values are known before any picture is.

    Exact for every input.  A channel of a padded layer's input can go only if its constant is the
    zero point, which is what padding reads as.  Input and output keep all channels, each other map
    at least one.
    """
    ranges = ranges_of(graph)
    needed = _needed(graph, ranges)
    if all(channels.all() for channels in needed.values()):
        return Folding(graph, {}, 0)
    tensors = {
        name: replace(tensor, shape=(*tensor.shape[:2], int(needed[name].sum())))
        for name, tensor in graph.tensors.items()
    }
    nodes = tuple(FOLDING[node].without(graph, node, ranges, needed) for node in graph.nodes)
    kept = {
        name: [int(channel) for channel in np.flatnonzero(channels)]
        for name, channels in needed.items()
        if not channels.all()
    }
    removed = sum(int((~channels).sum()) for channels in needed.values())
    return Folding(replace(graph, tensors=tensors, nodes=nodes), kept, removed)


def _needed(graph: Graph, ranges: dict[str, Ranges]) -> dict[str, Bools]:
    """Which channels of each tensor must be computed: the least set that is consistent."""
    needed = {
        name: np.full(tensor.shape[2], name in (graph.input, graph.output))
        for name, tensor in graph.tensors.items()
    }
    _spread(graph, ranges, needed)
    for channels in needed.values():
        if not channels.any():
            channels[0] = True
    _spread(graph, ranges, needed)
    return needed


def _spread(graph: Graph, ranges: dict[str, Ranges], needed: dict[str, Bools]) -> None:
    """Mark what the channels that are needed need, until nothing changes."""
    before = -1
    while (after := sum(int(channels.sum()) for channels in needed.values())) != before:
        before = after
        for node in reversed(graph.nodes):
            FOLDING[node].needs(graph, node, ranges, needed)


Maps = Mapping[str, Bools]
"""Which channels of each tensor are needed."""


def _weights_need(
    graph: Graph, node: Conv2D | FullyConnected, ranges: Mapping[str, Ranges], needed: Maps
) -> None:
    """Inputs that vary, and that a weight of a needed output multiplies."""
    varying = ~seen_by(graph, node, ranges).constant
    weights = weight_matrix(node, len(varying))[needed[node.output]]
    np.logical_or(needed[node.input], varying & (weights != 0).any((0, 1)), needed[node.input])


def _depthwise_needs(
    graph: Graph, node: DepthwiseConv2D, ranges: Mapping[str, Ranges], needed: Maps
) -> None:
    """Inputs and outputs go together, whichever of them is needed."""
    inputs, outputs = needed[node.input], needed[node.output]
    inputs |= outputs.reshape(-1, node.multiplier).any(1)
    outputs |= np.repeat(inputs, node.multiplier)


def _channels_need(graph: Graph, node: Node, ranges: Mapping[str, Ranges], needed: Maps) -> None:
    """Each channel by itself: needed in all of the node's tensors or in none."""
    names = (*node.inputs, node.output)
    together = np.any([needed[name] for name in names], axis=0)
    for name in names:
        np.logical_or(needed[name], together, needed[name])


def _unchanged(graph: Graph, node: Node, ranges: Mapping[str, Ranges], needed: Maps) -> Node:
    return node


def _depthwise_without(
    graph: Graph, node: DepthwiseConv2D, ranges: Mapping[str, Ranges], needed: Maps
) -> Node:
    outputs = needed[node.output]
    return replace(
        node,
        weights=node.weights[outputs],
        bias=node.bias[outputs],
        weight_scales=node.weight_scales[outputs],
    )


def _convolution_without(
    graph: Graph, node: Conv2D, ranges: Mapping[str, Ranges], needed: Maps
) -> Node:
    shape = (*node.window, int(needed[node.input].sum()))
    return _weights_without(graph, node, ranges, needed, shape)


def _fully_connected_without(
    graph: Graph, node: FullyConnected, ranges: Mapping[str, Ranges], needed: Maps
) -> Node:
    return _weights_without(graph, node, ranges, needed, (-1,))


def _weights_without(
    graph: Graph,
    node: Conv2D | FullyConnected,
    ranges: Mapping[str, Ranges],
    needed: Maps,
    shape: tuple[int, ...],
) -> Node:
    """``node`` with weights [output, *shape]; what other inputs add is in its bias."""
    inputs, outputs = needed[node.input], needed[node.output]
    tensor, seen = graph.tensors[node.input], seen_by(graph, node, ranges)
    weights = weight_matrix(node, tensor.shape[2])[outputs]
    share = np.where(seen.constant & ~inputs, seen.low - tensor.zero_point, 0)
    bias = node.bias[outputs] + weights.sum(1) @ share
    return replace(
        node,
        weights=weights[:, :, inputs].reshape(len(weights), *shape),
        bias=bias.astype(np.int32),  # the accumulator wraps, and so may the bias
        weight_scales=node.weight_scales[outputs],
    )


@dataclass(frozen=True)
class FoldingRow:
    """How a type of node loses channels.

    Parameters
    ----------
    needs : function of (graph, node, ranges, needed)
        Marks what the node's needed channels need.
    without : function of the same
        The node with the channels that are needed.
    """

    needs: Callable[[Graph, Any, Mapping[str, Ranges], Maps], None]
    without: Callable[[Graph, Any, Mapping[str, Ranges], Maps], Node]


_BY_CHANNEL = FoldingRow(_channels_need, _unchanged)

FOLDING = NodeTable(
    "the compiler folds no channels",
    {
        Conv2D: FoldingRow(_weights_need, _convolution_without),
        FullyConnected: FoldingRow(_weights_need, _fully_connected_without),
        DepthwiseConv2D: FoldingRow(_depthwise_needs, _depthwise_without),
        Pool2D: _BY_CHANNEL,
        Add: _BY_CHANNEL,
        Pad: _BY_CHANNEL,
        Mean: _BY_CHANNEL,
        Requantize: _BY_CHANNEL,
    },
)
"""Type of node to how it loses channels."""

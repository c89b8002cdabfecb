"""Constant channels folded away: the same results for every picture, with less to compute.

A filter whose weights are all zero gives the same value everywhere; so does one whose sums all end
up at the activation's lower end, or what only constant channels feed.  A layer that reads such a
channel needs it no longer once its share stands in the bias; what nothing needs is not computed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eyas.compiler.lowering.ranges import Ranges, ranges_of, weight_matrix
from models.vision.graph import Conv2D, DepthwiseConv2D, FullyConnected, Graph, Node

__all__ = ["Folding", "fold"]

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
    nodes = tuple(_without(graph, node, ranges, needed) for node in graph.nodes)
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
            outputs = needed[node.output]
            if isinstance(node, (Conv2D, FullyConnected)):
                varying = ~_seen(graph, node, ranges).constant
                used = (weight_matrix(node, len(varying))[outputs] != 0).any((0, 1))
                needed[node.input] |= varying & used
            elif isinstance(node, DepthwiseConv2D):
                # Inputs and outputs go together, whichever of them is needed.
                inputs = needed[node.input] | outputs.reshape(-1, node.multiplier).any(1)
                needed[node.input] |= inputs
                outputs |= np.repeat(inputs, node.multiplier)
            else:
                together = outputs.copy()
                for name in node.inputs:
                    together |= needed[name]
                for name in (*node.inputs, node.output):
                    needed[name] |= together


def _seen(graph: Graph, node: Node, ranges: dict[str, Ranges]) -> Ranges:
    """The ranges of the input of ``node``, padding included."""
    return ranges[node.input].as_read_by(node, graph.tensors[node.input].zero_point)


def _without(graph: Graph, node: Node, ranges: dict[str, Ranges], needed: dict[str, Bools]) -> Node:
    """``node`` with the channels that are needed; what the others added is in its bias."""
    inputs, outputs = needed[node.input], needed[node.output]
    if isinstance(node, DepthwiseConv2D):
        return replace(
            node,
            weights=node.weights[outputs],
            bias=node.bias[outputs],
            weight_scales=node.weight_scales[outputs],
        )
    if not isinstance(node, (Conv2D, FullyConnected)):
        return node
    tensor = graph.tensors[node.input]
    weights = weight_matrix(node, tensor.shape[2])[outputs]
    seen = _seen(graph, node, ranges)
    share = np.where(seen.constant & ~inputs, seen.low - tensor.zero_point, 0)
    bias = node.bias[outputs] + weights.sum(1) @ share
    shape = (-1,) if isinstance(node, FullyConnected) else (*node.window, int(inputs.sum()))
    return replace(
        node,
        weights=weights[:, :, inputs].reshape(len(weights), *shape),
        bias=bias.astype(np.int32),  # the accumulator wraps, and so may the bias
        weight_scales=node.weight_scales[outputs],
    )

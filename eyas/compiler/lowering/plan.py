"""From the nodes of a quantised graph to the steps that the engine will run."""

from __future__ import annotations

from eyas.compiler.errors import CompileError
from eyas.compiler.lowering.convolution import convolution, diagonal_convolution, fully_connected
from eyas.compiler.lowering.depthwise import depthwise, is_native
from eyas.compiler.lowering.pools import average_pool, max_pool, mean, pad, requantize
from eyas.compiler.lowering.residual import residual_add
from eyas.compiler.lowering.steps import Choice, Source, Step
from eyas.interfaces.vision.config import VisionConfig
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

__all__ = ["plan"]


def plan(graph: Graph, config: VisionConfig) -> list[Choice]:
    """The layers of ``graph`` in their order, each with its alternatives.

    A Pad node disappears where every reader of its output can pad by itself.

    Raises
    ------
    CompileError
        When the engine cannot run a node; the message names it.
    """
    sources = {graph.input: Source(graph.input_tensor)}
    choices: list[Choice] = []
    for node in graph.nodes:
        if isinstance(node, Pad) and _is_absorbed(graph, node):
            source = sources[node.input]
            sources[node.output] = Source(source.tensor, source.padded(node.padding))
        else:
            choices += _choices(graph, node, sources, config)
            sources[node.output] = Source(graph.tensors[node.output])
    return choices


def _choices(
    graph: Graph, node: Node, sources: dict[str, Source], config: VisionConfig
) -> list[Choice]:
    """The layers that ``node`` becomes, mostly one with one way to run it."""
    source = sources[node.input]
    match node:
        case Add():
            return [[residual_add(graph, node, source, config)]]
        case Conv2D():
            return [[convolution(graph, node, source, config)]]
        case DepthwiseConv2D():
            return [_depthwise(graph, node, source, config)]
        case FullyConnected():
            return [[fully_connected(graph, node, source, config)]]
        case MaxPool2D():
            return [[max_pool(graph, node, source, config)]]
        case AveragePool2D():
            return [[step] for step in average_pool(graph, node, source, config)]
        case Mean():
            return [[mean(graph, node, source, config)]]
        case Pad():
            return [[pad(graph, node, source, config)]]
        case Requantize():
            return [[requantize(graph, node, source, config)]]
    raise CompileError(f"{node.label}: the engine has no such operation")


def _depthwise(graph: Graph, node: DepthwiseConv2D, source: Source, config: VisionConfig) -> Choice:
    """On the depthwise unit where it can be, on the array where the map's pitch forbids that."""
    steps: list[Step] = [diagonal_convolution(graph, node, source, config)]
    if is_native(node, source.padded(node.padding), config):
        steps.append(depthwise(graph, node, source, config))
    return steps


def _is_absorbed(graph: Graph, node: Pad) -> bool:
    """Whether all that read the padded map can read the map with a margin instead."""
    readers = [item for item in graph.nodes if node.output in item.inputs]
    return node.output != graph.output and all(_takes_margin(reader) for reader in readers)


def _takes_margin(node: Node) -> bool:
    """Whether padded taps of ``node`` can read as the zero point.

    A pool's own padding reads otherwise, so that it cannot have both.
    """
    if isinstance(node, (MaxPool2D, AveragePool2D)):
        return not any(node.padding)
    return isinstance(node, (Conv2D, DepthwiseConv2D, Mean, Pad))

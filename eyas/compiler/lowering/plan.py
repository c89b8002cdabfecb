"""From the nodes of a quantised graph to the steps that the engine will run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eyas.compiler.errors import CompileError, ScaleError
from eyas.compiler.lowering.convolution import convolution, diagonal_convolution, fully_connected
from eyas.compiler.lowering.depthwise import depthwise, is_native
from eyas.compiler.lowering.pools import average_pool, max_pool, mean, pad, requantize
from eyas.compiler.lowering.residual import residual_add
from eyas.compiler.lowering.steps import Choice, Source, Step, Touch
from eyas.compiler.unread import Unread
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
    Pool2D,
    Requantize,
)
from models.vision.node_table import NodeTable

__all__ = ["LAYERS", "Planned", "plan", "plan_all"]


@dataclass(frozen=True)
class Planned:
    """What becomes of a graph's nodes.

    Parameters
    ----------
    choices : list of Choice
        The layers in their order, each with its alternatives.
    touches : list of Touch
        Which maps each layer reads and writes, those that are refused among them.
    refusals : list of str
        Why the engine cannot run a node, one sentence each.
    """

    choices: list[Choice]
    touches: list[Touch]
    refusals: list[str]


def plan(graph: Graph, config: VisionConfig) -> list[Choice]:
    """The layers of ``graph`` in their order, each with its alternatives.

    A Pad node disappears where every reader of its output can pad by itself.

    Raises
    ------
    CompileError
        When the engine cannot run a node; a sentence for each such node, which names it.
    """
    planned = plan_all(graph, config)
    if planned.refusals:
        raise CompileError(*planned.refusals)
    return planned.choices


def plan_all(graph: Graph, config: VisionConfig) -> Planned:
    """As :func:`plan`, with what is refused beside what is not.

    What stands for an unread operator is no layer and no refusal, and nor are the scales around it.
    """
    sources = {graph.input: Source(graph.input_tensor)}
    planned = Planned([], [], [])
    guessed = {node.output for node in graph.nodes if isinstance(node, Unread)}
    for node in graph.nodes:
        if isinstance(node, Pad) and _is_absorbed(graph, node):
            source = sources[node.input]
            sources[node.output] = Source(source.tensor, source.padded(node.padding))
            continue
        sources[node.output] = Source(graph.tensors[node.output])
        inputs = tuple(sources[name].tensor.name for name in node.inputs)
        if not isinstance(node, Unread):
            try:
                choices = LAYERS[node].choices(graph, node, sources[node.input], config)
            except ScaleError as error:
                if guessed.isdisjoint(node.inputs):
                    planned.refusals.extend(error.blockers)
            except CompileError as error:
                planned.refusals.extend(error.blockers)
            else:
                planned.choices.extend(choices)
                planned.touches.extend(choice[0] for choice in choices)
                continue
        planned.touches.append(Unplanned(node.name, inputs, node.output))
    return planned


@dataclass(frozen=True)
class Unplanned:
    """A node that becomes no step: its name, and the maps that it would touch."""

    name: str
    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True)
class LayerRow:
    """What a type of node becomes.

    Parameters
    ----------
    choices : function of (graph, node, source, config)
        The layers, mostly one with one way to run it; CompileError where there is none.
    takes_margin : function of node
        Whether padded taps can read as the zero point: then a Pad in front can be its margin.
    """

    choices: Callable[[Graph, Any, Source, VisionConfig], list[Choice]]
    takes_margin: Callable[[Any], bool]


def _depthwise(graph: Graph, node: DepthwiseConv2D, source: Source, config: VisionConfig) -> Choice:
    """On the depthwise unit where it can be, on the array where the map's pitch forbids that."""
    steps: list[Step] = [diagonal_convolution(graph, node, source, config)]
    if is_native(node, source.padded(node.padding), config):
        steps.append(depthwise(graph, node, source, config))
    return steps


def _one_layer(
    step: Callable[[Graph, Any, Source, VisionConfig], Step],
) -> Callable[[Graph, Any, Source, VisionConfig], list[Choice]]:
    return lambda graph, node, source, config: [[step(graph, node, source, config)]]


def _always(node: Node) -> bool:
    return True


def _never(node: Node) -> bool:
    return False


def _without_padding(node: Pool2D) -> bool:
    """A pool's own padding reads otherwise than a margin, so that it cannot have both."""
    return not any(node.padding)


LAYERS = NodeTable(
    "the engine has no operation",
    {
        Add: LayerRow(_one_layer(residual_add), _never),
        Conv2D: LayerRow(_one_layer(convolution), _always),
        DepthwiseConv2D: LayerRow(lambda *layer: [_depthwise(*layer)], _always),
        FullyConnected: LayerRow(_one_layer(fully_connected), _never),
        MaxPool2D: LayerRow(_one_layer(max_pool), _without_padding),
        AveragePool2D: LayerRow(
            lambda *layer: [[step] for step in average_pool(*layer)], _without_padding
        ),
        Mean: LayerRow(_one_layer(mean), _always),
        Pad: LayerRow(_one_layer(pad), _always),
        Requantize: LayerRow(_one_layer(requantize), _never),
    },
)
"""Type of node to its layers."""


def _is_absorbed(graph: Graph, node: Pad) -> bool:
    """Whether all that read the padded map can read the map with a margin instead."""
    readers = [item for item in graph.nodes if node.output in item.inputs]
    return node.output != graph.output and all(
        not isinstance(reader, Unread) and LAYERS[reader].takes_margin(reader) for reader in readers
    )

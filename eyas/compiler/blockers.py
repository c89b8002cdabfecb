"""Everything that keeps a network from the engine, in one answer."""

from __future__ import annotations

from eyas.compiler.emission.sizes import shortages
from eyas.compiler.lowering.plan import plan_all
from eyas.compiler.maps import layout_of
from eyas.compiler.placing.allocate import shortage
from eyas.interfaces.vision.config import VisionConfig
from models.vision.graph import Graph

__all__ = ["engine_blockers"]


def engine_blockers(
    graph: Graph, config: VisionConfig, unfolded: Graph, *, is_sketch: bool = False
) -> list[str]:
    """A sentence for each thing that does not fit: layers' forms first, then sizes.

    Sizes are the least that the network can do with: maps without gaps between their rows, of each
    layer's alternatives the one with the fewest weights.

    Parameters
    ----------
    graph : Graph
        The network as it would be compiled, or a sketch of it.
    config : VisionConfig
        The array.
    unfolded : Graph
        The network as it came.
    is_sketch : bool
        Whether values of weights are unknown, so that constant channels could not be folded.
    """
    planned = plan_all(graph, config)
    touched = {graph.input}.union(*((*item.inputs, item.output) for item in planned.touches))
    layouts = {
        name: layout_of(graph.tensors[name], graph.tensors[name].shape[1], config)
        for name in touched
    }
    steps = [min(choice, key=lambda step: len(step.weights)) for choice in planned.choices]
    sizes = shortages(steps, unfolded, config, is_sketch=is_sketch)
    blockers = [*planned.refusals, *sizes]
    maps = shortage(planned.touches, layouts, graph.input, graph.output, config)
    return blockers if maps is None else [*blockers, maps]

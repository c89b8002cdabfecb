"""Everything that keeps a network from the engine, in one answer."""

from __future__ import annotations

from eyas.compiler.emission.sizes import shortages
from eyas.compiler.lowering.plan import plan_all
from eyas.compiler.maps import layout_of
from eyas.compiler.placing.allocate import shortage
from eyas.compiler.placing.layouts import best
from eyas.interfaces.vision.config import VisionConfig
from models.vision.graph import Graph

__all__ = ["engine_blockers"]


def engine_blockers(graph: Graph, config: VisionConfig, unfolded: Graph) -> list[str]:
    """A sentence for each thing that does not fit: layers' forms first, then sizes.

    Maps are reckoned without gaps between their rows, as the compiler lays them out where memory is
    short.

    Parameters
    ----------
    graph : Graph
        The network as it would be compiled, or a sketch of it.
    config : VisionConfig
        The array.
    unfolded : Graph
        The network as it came.
    """
    planned = plan_all(graph, config)
    touched = {graph.input}.union(*((*item.inputs, item.output) for item in planned.touches))
    layouts = {
        name: layout_of(graph.tensors[name], graph.tensors[name].shape[1], config)
        for name in touched
    }
    steps = [best(choice, layouts[choice[0].inputs[0]].pitch, config) for choice in planned.choices]
    blockers = [*planned.refusals, *shortages(steps, unfolded, config)]
    maps = shortage(planned.touches, layouts, graph.input, graph.output, config)
    return blockers if maps is None else [*blockers, maps]

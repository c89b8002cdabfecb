"""The way from a quantised graph to a program."""

from __future__ import annotations

from typing import Any

from eyas.compiler.allocate import allocate
from eyas.compiler.cycles import layer_cycles
from eyas.compiler.emit import emit
from eyas.compiler.layouts import best, choose_layouts
from eyas.compiler.lower import lower
from eyas.compiler.plan import plan
from eyas.interfaces.configs import DEFAULT_VISION, VisionConfig
from eyas.interfaces.program_file import Program
from models.vision.graph import Graph, Tensor

__all__ = ["compile_graph"]


def compile_graph(
    graph: Graph, config: VisionConfig = DEFAULT_VISION, name: str | None = None
) -> Program:
    """Compile ``graph`` for the array ``config``.

    Parameters
    ----------
    graph : Graph
        The quantised network.
    config : VisionConfig
        The array; the program runs on this shape alone.
    name : str or None
        What reports call the program; the graph's name when None.

    Raises
    ------
    CompileError
        When the network does not fit the engine: one sentence, with figures.
    """
    choices = plan(graph, config)
    names = {name for choice in choices for name in (*choice[0].inputs, choice[0].output)}
    tensors = {name: tensor for name, tensor in graph.tensors.items() if name in names}
    layouts = choose_layouts(choices, tensors, config)
    steps = [best(choice, layouts[choice[0].inputs[0]].pitch, config) for choice in choices]
    allocation = allocate(steps, layouts, graph.input, graph.output, config)
    layers = lower(steps, allocation, config)
    picture, output = allocation.maps[graph.input], allocation.maps[graph.output]
    image = emit(layers, picture, output, config)
    manifest: dict[str, Any] = {
        "name": name or graph.name,
        "config": config.as_dict(),
        "macs": graph.macs(),
        "input": _tensor(graph.input_tensor),
        "output": _tensor(graph.output_tensor),
        "output_map": output.as_dict(),
        "preprocess": list(graph.preprocess),
        "labels": list(graph.labels),
        "layers": [
            {
                "name": layer.step.name,
                "op": layer.step.op,
                "macs": layer.step.macs,
                "cycles": layer_cycles(layer, config),
                "tensor": layer.step.output if layer.step.completes else None,
                "map": allocation.maps[layer.step.output].as_dict(),
            }
            for layer in layers
        ],
        "sizes": {
            "weight_rows": sum(len(step.weights) for step in steps),
            "parameter_rows": sum(len(step.parameters) for step in steps),
            "bank_words": allocation.peak_words,
        },
    }
    return Program(manifest, image, graph.to_bytes())


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {
        "shape": list(tensor.shape),
        "scale": tensor.scale,
        "zero_point": tensor.zero_point,
    }

"""The way from a quantised graph to a program."""

from __future__ import annotations

from typing import Any

from eyas.compiler.allocate import allocate
from eyas.compiler.cycles import layer_cycles
from eyas.compiler.emit import emit
from eyas.compiler.errors import CompileError
from eyas.compiler.lower import lower, shape_of
from eyas.compiler.maps import choose_layout
from eyas.interfaces.configs import DEFAULT_VISION, VisionConfig
from eyas.interfaces.program_file import Program
from models.vision.graph import Graph, Tensor

__all__ = ["compile_graph"]

MAX_LAYERS = 256


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
    if len(graph.nodes) > MAX_LAYERS:
        raise CompileError(
            f"The network has {len(graph.nodes)} layers, the engine takes {MAX_LAYERS}"
        )
    shapes = [shape_of(graph, node, config) for node in graph.nodes]
    windows = {
        node.name: shape.window(*graph.tensors[node.output].shape[:2])
        for node, shape in zip(graph.nodes, shapes, strict=True)
    }
    layouts = {
        tensor.name: choose_layout(
            tensor,
            [windows[node.name] for node in graph.nodes if tensor.name in node.inputs],
            config,
        )
        for tensor in graph.tensors.values()
    }
    allocation = allocate(graph, layouts, config)
    layers = lower(graph, shapes, allocation, config)
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
                "name": layer.name,
                "op": layer.op,
                "macs": layer.macs,
                "cycles": layer_cycles(layer, config),
                "tensor": layer.output,
                "map": allocation.maps[layer.output].as_dict(),
            }
            for layer in layers
        ],
        "sizes": {
            "weight_rows": sum(len(layer.weights) for layer in layers),
            "parameter_rows": sum(len(layer.parameters) for layer in layers),
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

"""Runs ``.tflite`` files on LiteRT's reference kernels: the oracle of our int8 arithmetic."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from models.vision.graph import Graph
from tests.models.tflite_graph import from_graph

__all__ = ["run_file", "run_files_pictures", "run_graph"]


def run_file(model: bytes, values: np.ndarray) -> dict[str, np.ndarray]:
    """Every activation of the model by name, with ``values`` as its input."""
    return run_files_pictures(model, [values])


def run_files_pictures(model: bytes, pictures: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """Every activation by name, for one input after the other, joined along the first axis.

    A tensor that has no first axis is left out.
    """
    interpreter = Interpreter(
        model_content=model,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    details = [item for item in interpreter.get_tensor_details() if item["name"]]
    activations: dict[str, list[np.ndarray]] = {item["name"]: [] for item in details}
    for values in pictures:
        interpreter.set_tensor(source, values)
        interpreter.invoke()
        for item in details:
            activations[item["name"]].append(interpreter.get_tensor(item["index"]))
    return {name: np.concatenate(maps) for name, maps in activations.items() if maps[0].ndim}


def run_graph(graph: Graph, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """What LiteRT's reference kernels compute for each of the graph's tensors, [N, H, W, C].

    The probabilities are among them where the graph ends in a softmax.
    """
    maps = run_file(from_graph(graph, len(pictures)), pictures)
    tensors = [*graph.tensors.values(), *([graph.softmax] if graph.softmax else [])]
    return {
        tensor.name: maps[tensor.name].reshape(len(pictures), *tensor.shape) for tensor in tensors
    }

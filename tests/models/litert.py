"""Runs ``.tflite`` files on LiteRT's reference kernels: the oracle of our int8 arithmetic."""

from __future__ import annotations

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from models.vision.graph import Graph
from tests.models.tflite_graph import from_graph

__all__ = ["run_file", "run_graph"]


def run_file(model: bytes, values: np.ndarray) -> dict[str, np.ndarray]:
    """Every activation of the model by name, with ``values`` as its input."""
    interpreter = Interpreter(
        model_content=model,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    return {
        detail["name"]: interpreter.get_tensor(detail["index"])
        for detail in interpreter.get_tensor_details()
        if detail["name"]
    }


def run_graph(graph: Graph, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """What LiteRT's reference kernels compute for each of the graph's tensors, [N, H, W, C].

    The probabilities are among them where the graph ends in a softmax.
    """
    maps = run_file(from_graph(graph, len(pictures)), pictures)
    tensors = [*graph.tensors.values(), *([graph.softmax] if graph.softmax else [])]
    return {
        tensor.name: maps[tensor.name].reshape(len(pictures), *tensor.shape) for tensor in tensors
    }

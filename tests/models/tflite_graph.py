"""Quantised graphs as ``.tflite`` files, for LiteRT to run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

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
    Tensor,
)
from tests.models.tflite_writer import ACTIVATIONS, TfliteWriter, activation_range, same_padding

__all__ = ["from_graph"]


def from_graph(graph: Graph, batch: int) -> bytes:
    """The graph as a ``.tflite`` file for ``batch`` pictures; its tensors keep their names.

    A fully connected layer gives [batch, channels], as converters have it.  What TFLite has no one
    operator for becomes two: paddings other than SAME and VALID a PAD before, a fully connected
    layer that something else than another or the softmax reads a RESHAPE behind.

    Raises ValueError where a node is none of TFLite's.
    """
    writer = TfliteWriter()
    vectors = _vectors(graph)
    numbers = {
        name: writer.tensor(
            name,
            (batch, tensor.shape[2]) if name in vectors else (batch, *tensor.shape),
            tensor.scale,
            tensor.zero_point,
        )
        for name, tensor in graph.tensors.items()
    }
    for node in graph.nodes:
        EMITTERS[type(node)](writer, graph, node, numbers, batch)
    output = numbers[graph.output]
    if graph.softmax is not None:
        tensor = graph.softmax
        shape = (batch, tensor.shape[2]) if graph.output in vectors else (batch, *tensor.shape)
        probabilities = writer.tensor(tensor.name, shape, tensor.scale, tensor.zero_point)
        writer.operator(
            "SOFTMAX", [output], [probabilities], "SoftmaxOptions", beta=graph.softmax_beta
        )
        output = probabilities
    return writer.finish([numbers[graph.input]], [output])


def _vectors(graph: Graph) -> set[str]:
    """Tensors without height and width: what only fully connected layers write and read."""
    return {
        node.output
        for node in graph.nodes
        if isinstance(node, FullyConnected)
        and all(
            isinstance(reader, FullyConnected)
            for reader in graph.nodes
            if node.output in reader.inputs
        )
    }


def _activation_name(graph: Graph, node: Node, names: Sequence[str]) -> str:
    wanted = (node.activation_min, node.activation_max)
    for name in names:
        if activation_range(name, graph.tensors[node.output]) == wanted:
            return name
    raise ValueError(f"{node.name}: none of {', '.join(names)} clamps to {wanted}")


def _activation(graph: Graph, node: Node) -> int:
    return getattr(schema.ActivationFunctionType, _activation_name(graph, node, ACTIVATIONS))


def _padded(
    writer: TfliteWriter,
    graph: Graph,
    node: Conv2D | DepthwiseConv2D | Pool2D,
    numbers: dict[str, int],
    batch: int,
) -> tuple[int, int]:
    """The tensor for the operator to read and the Padding for it to have."""
    source = graph.tensors[node.input]
    height, width, channels = source.shape
    top, bottom, left, right = node.padding
    if not any(node.padding):
        return numbers[node.input], schema.Padding.VALID
    if same_padding(height, node.window[0], node.stride[0]) == (top, bottom) and same_padding(
        width, node.window[1], node.stride[1]
    ) == (left, right):
        return numbers[node.input], schema.Padding.SAME
    if isinstance(node, AveragePool2D):  # whose padded taps do not count
        raise ValueError(f"{node.name}: TFLite's average pools pad as SAME or VALID only")
    padded = writer.tensor(
        f"{node.name}/padded",
        (batch, height + top + bottom, width + left + right, channels),
        source.scale,
        source.zero_point,
    )
    _margins(writer, node, numbers[node.input], padded, source)
    return padded, schema.Padding.VALID


def _margins(
    writer: TfliteWriter,
    node: Conv2D | DepthwiseConv2D | Pool2D | Pad,
    source: int,
    target: int,
    tensor: Tensor,
) -> None:
    """A PAD of zero points; before a maximum pool one of values that never win."""
    top, bottom, left, right = node.padding
    margins = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], dtype=np.int32)
    amounts = writer.tensor(f"{node.name}/margins", (4, 2), dtype="INT32", data=margins)
    if isinstance(node, MaxPool2D):
        least = writer.tensor(
            f"{node.name}/least", (1,), tensor.scale, tensor.zero_point,
            data=np.array([-128], dtype=np.int8),
        )  # fmt: skip
        writer.operator("PADV2", [source, amounts, least], [target], "PadV2Options")
    else:
        writer.operator("PAD", [source, amounts], [target], "PadOptions")


def _constants(
    writer: TfliteWriter, graph: Graph, node: Conv2D | DepthwiseConv2D | FullyConnected
) -> tuple[int, int]:
    """The weight and the bias tensors; scales that are all equal become one."""
    scales, weights, dimension = node.weight_scales, node.weights, 0
    if (scales == scales[0]).all():
        scales = scales[:1]
    if isinstance(node, DepthwiseConv2D):
        weights, dimension = weights.transpose(1, 2, 0)[np.newaxis], 3
    kernel = writer.tensor(
        f"{node.name}/weights", weights.shape, scales, data=weights, channel_dimension=dimension
    )
    bias = writer.tensor(
        f"{node.name}/bias", node.bias.shape, graph.tensors[node.input].scale * scales,
        dtype="INT32", data=node.bias,
    )  # fmt: skip
    return kernel, bias


def _conv2d(
    writer: TfliteWriter, graph: Graph, node: Conv2D, numbers: dict[str, int], batch: int
) -> None:
    source, padding = _padded(writer, graph, node, numbers, batch)
    writer.operator(
        "CONV_2D",
        [source, *_constants(writer, graph, node)],
        [numbers[node.output]],
        "Conv2DOptions",
        padding=padding,
        strideH=node.stride[0],
        strideW=node.stride[1],
        fusedActivationFunction=_activation(graph, node),
    )


def _depthwise_conv2d(
    writer: TfliteWriter, graph: Graph, node: DepthwiseConv2D, numbers: dict[str, int], batch: int
) -> None:
    source, padding = _padded(writer, graph, node, numbers, batch)
    writer.operator(
        "DEPTHWISE_CONV_2D",
        [source, *_constants(writer, graph, node)],
        [numbers[node.output]],
        "DepthwiseConv2DOptions",
        padding=padding,
        strideH=node.stride[0],
        strideW=node.stride[1],
        depthMultiplier=node.multiplier,
        fusedActivationFunction=_activation(graph, node),
    )


def _fully_connected(
    writer: TfliteWriter, graph: Graph, node: FullyConnected, numbers: dict[str, int], batch: int
) -> None:
    target = numbers[node.output]
    shape = (batch, len(node.weights))
    is_vector = node.output in _vectors(graph)
    if not is_vector:
        tensor = graph.tensors[node.output]
        target = writer.tensor(f"{node.name}/vector", shape, tensor.scale, tensor.zero_point)
    writer.operator(
        "FULLY_CONNECTED",
        [numbers[node.input], *_constants(writer, graph, node)],
        [target],
        "FullyConnectedOptions",
        fusedActivationFunction=_activation(graph, node),
    )
    if not is_vector:
        writer.reshape(target, numbers[node.output])


def _pool2d(
    writer: TfliteWriter, graph: Graph, node: Pool2D, numbers: dict[str, int], batch: int
) -> None:
    source, padding = _padded(writer, graph, node, numbers, batch)
    writer.operator(
        {MaxPool2D: "MAX_POOL_2D", AveragePool2D: "AVERAGE_POOL_2D"}[type(node)],
        [source],
        [numbers[node.output]],
        "Pool2DOptions",
        padding=padding,
        strideH=node.stride[0],
        strideW=node.stride[1],
        filterHeight=node.window[0],
        filterWidth=node.window[1],
        fusedActivationFunction=_activation(graph, node),
    )


def _add(
    writer: TfliteWriter, graph: Graph, node: Add, numbers: dict[str, int], batch: int
) -> None:
    writer.operator(
        "ADD",
        [numbers[node.input], numbers[node.other]],
        [numbers[node.output]],
        "AddOptions",
        fusedActivationFunction=_activation(graph, node),
    )


def _pad(
    writer: TfliteWriter, graph: Graph, node: Pad, numbers: dict[str, int], batch: int
) -> None:
    source, target = numbers[node.input], numbers[node.output]
    _margins(writer, node, source, target, graph.tensors[node.input])


def _requantize(
    writer: TfliteWriter, graph: Graph, node: Requantize, numbers: dict[str, int], batch: int
) -> None:
    code, kind = "QUANTIZE", "QuantizeOptions"
    if node.float32_ratio:
        code, kind = _activation_name(graph, node, ACTIVATIONS[1:]), "NONE"
    elif (node.activation_min, node.activation_max) != (-128, 127):
        raise ValueError(f"{node.name}: TFLite's QUANTIZE has no activation")
    writer.operator(code, [numbers[node.input]], [numbers[node.output]], kind)


def _mean(
    writer: TfliteWriter, graph: Graph, node: Mean, numbers: dict[str, int], batch: int
) -> None:
    axes = writer.tensor(
        f"{node.name}/axes", (2,), dtype="INT32", data=np.array([1, 2], dtype=np.int32)
    )
    inputs = [numbers[node.input], axes]
    writer.operator("MEAN", inputs, [numbers[node.output]], "ReducerOptions", keepDims=True)


EMITTERS: dict[type[Node], Any] = {
    Conv2D: _conv2d,
    DepthwiseConv2D: _depthwise_conv2d,
    FullyConnected: _fully_connected,
    MaxPool2D: _pool2d,
    AveragePool2D: _pool2d,
    Add: _add,
    Pad: _pad,
    Requantize: _requantize,
    Mean: _mean,
}

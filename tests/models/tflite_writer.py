"""Writes int8 ``.tflite`` files, so that LiteRT's reference kernels can judge our arithmetic.

The flatbuffer classes are those that ``ai_edge_litert`` is generated with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from models.vision.graph import (
    AveragePool2D,
    Conv2D,
    FullyConnected,
    Graph,
    MaxPool2D,
    Node,
    Pool2D,
    Tensor,
)

__all__ = ["TfliteWriter", "activation_range", "from_graph", "same_padding"]

ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6")
OPERATOR_VERSIONS = {"FULLY_CONNECTED": 4, "CONV_2D": 3, "QUANTIZE": 1}
"""The version that allows int8; 2 for the operators not named."""


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """Values before and after, as TFLite's SAME has them: an odd one goes after."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def activation_range(name: str, tensor: Tensor) -> tuple[int, int]:
    """The int8 range that the fused activation ``name`` clamps ``tensor`` to."""

    def level(real: float) -> int:
        steps = np.float32(real) / np.float32(tensor.scale)
        return int(tensor.zero_point + np.trunc(steps + np.copysign(np.float32(0.5), steps)))

    low, high = {
        "NONE": (-128, 127),
        "RELU": (level(0), 127),
        "RELU_N1_TO_1": (level(-1), level(1)),
        "RELU6": (level(0), level(6)),
    }[name]
    return max(-128, low), min(127, high)


class TfliteWriter:
    """One model: make tensors, then operators in order, then :meth:`finish`.

    Tensors are numbers, as in the file. ``options`` are the fields of the operator's options
    class, in the schema's spelling.
    """

    def __init__(self) -> None:
        self._buffers = [schema.BufferT()]  # buffer 0 is empty by convention
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: list[str] = []

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        scale: float | Sequence[float] | np.ndarray = (),
        zero_point: int = 0,
        *,
        dtype: str = "INT8",
        data: np.ndarray | None = None,
        channel_dimension: int = 0,
    ) -> int:
        """Add a tensor, constant where it has ``data``; several scales are one a channel."""
        buffer = 0
        if data is not None:
            buffer = len(self._buffers)
            data = np.ascontiguousarray(data)
            self._buffers.append(schema.BufferT(data=np.frombuffer(data.tobytes(), np.uint8)))
        scales = np.atleast_1d(np.asarray(scale, dtype=np.float32))
        quantization = None
        if len(scales):
            quantization = schema.QuantizationParametersT(
                scale=scales,
                zeroPoint=np.full(len(scales), zero_point, dtype=np.int64),
                quantizedDimension=channel_dimension,
            )
        self._tensors.append(
            schema.TensorT(
                shape=list(shape),
                type=getattr(schema.TensorType, dtype),
                buffer=buffer,
                name=name,
                quantization=quantization,
            )
        )
        return len(self._tensors) - 1

    def operator(
        self, code: str, inputs: Sequence[int], outputs: Sequence[int], kind: str, **options: Any
    ) -> None:
        """Add the builtin operator ``code`` with options of the class ``kind``, NONE for none."""
        if code not in self._codes:
            self._codes.append(code)
        self._operators.append(
            schema.OperatorT(
                opcodeIndex=self._codes.index(code),
                inputs=list(inputs),
                outputs=list(outputs),
                builtinOptionsType=getattr(schema.BuiltinOptions, kind),
                builtinOptions=None if kind == "NONE" else getattr(schema, kind + "T")(**options),
            )
        )

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The file's bytes."""
        codes = []
        for name in self._codes:
            code = getattr(schema.BuiltinOperator, name)
            version = OPERATOR_VERSIONS.get(name, 2)
            codes.append(schema.OperatorCodeT(min(code, 127), None, version, code))
        model = schema.ModelT(
            version=3,
            operatorCodes=codes,
            subgraphs=[
                schema.SubGraphT(
                    tensors=self._tensors,
                    inputs=list(inputs),
                    outputs=list(outputs),
                    operators=self._operators,
                    name="main",
                )
            ],
            description="Eyas test",
            buffers=self._buffers,
        )
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def from_graph(graph: Graph, batch: int) -> bytes:
    """The graph as a ``.tflite`` file for ``batch`` pictures; its tensors keep their names.

    Paddings other than TFLite's SAME and VALID become a PAD operator of their own.
    """
    writer = TfliteWriter()
    numbers = {
        name: writer.tensor(name, (batch, *tensor.shape), tensor.scale, tensor.zero_point)
        for name, tensor in graph.tensors.items()
        if not any(isinstance(node, FullyConnected) and node.output == name for node in graph.nodes)
    }
    for node in graph.nodes:
        EMITTERS[type(node)](writer, graph, node, numbers, batch)
    return writer.finish([numbers[graph.input]], [numbers[graph.output]])


def _activation(graph: Graph, node: Node) -> int:
    wanted = (node.activation_min, node.activation_max)
    for name in ACTIVATIONS:
        if activation_range(name, graph.tensors[node.output]) == wanted:
            return getattr(schema.ActivationFunctionType, name)
    raise ValueError(f"{node.name}: TFLite has no activation that clamps to {wanted}")


def _padded(
    writer: TfliteWriter,
    graph: Graph,
    node: Conv2D | Pool2D,
    numbers: dict[str, int],
    batch: int,
) -> tuple[int, int]:
    """The tensor for the operator to read and the Padding for it to have."""
    height, width, channels = graph.tensors[node.input].shape
    top, bottom, left, right = node.padding
    if not any(node.padding):
        return numbers[node.input], schema.Padding.VALID
    if same_padding(height, node.window[0], node.stride[0]) == (top, bottom) and same_padding(
        width, node.window[1], node.stride[1]
    ) == (left, right):
        return numbers[node.input], schema.Padding.SAME
    tensor = graph.tensors[node.input]
    margins = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], dtype=np.int32)
    amounts = writer.tensor(f"{node.name}/margins", (4, 2), dtype="INT32", data=margins)
    padded = writer.tensor(
        f"{node.name}/padded",
        (batch, height + top + bottom, width + left + right, channels),
        tensor.scale,
        tensor.zero_point,
    )
    source = numbers[node.input]
    if isinstance(node, MaxPool2D):  # with a value that never wins
        least = writer.tensor(
            f"{node.name}/least", (1,), tensor.scale, tensor.zero_point,
            data=np.array([-128], dtype=np.int8),
        )  # fmt: skip
        writer.operator("PADV2", [source, amounts, least], [padded], "PadV2Options")
    else:
        writer.operator("PAD", [source, amounts], [padded], "PadOptions")
    return padded, schema.Padding.VALID


def _constants(
    writer: TfliteWriter, graph: Graph, node: Conv2D | FullyConnected
) -> tuple[int, int]:
    """The weight and the bias tensors."""
    scales = node.weight_scales
    weights = writer.tensor(f"{node.name}/weights", node.weights.shape, scales, data=node.weights)
    bias = writer.tensor(
        f"{node.name}/bias", node.bias.shape, graph.tensors[node.input].scale * scales,
        dtype="INT32", data=node.bias,
    )  # fmt: skip
    return weights, bias


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


def _fully_connected(
    writer: TfliteWriter, graph: Graph, node: FullyConnected, numbers: dict[str, int], batch: int
) -> None:
    tensor = graph.tensors[node.output]
    numbers[node.output] = writer.tensor(
        node.output, (batch, len(node.weights)), tensor.scale, tensor.zero_point
    )
    writer.operator(
        "FULLY_CONNECTED",
        [numbers[node.input], *_constants(writer, graph, node)],
        [numbers[node.output]],
        "FullyConnectedOptions",
        fusedActivationFunction=_activation(graph, node),
    )


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


EMITTERS: dict[type[Node], Any] = {
    Conv2D: _conv2d,
    FullyConnected: _fully_connected,
    MaxPool2D: _pool2d,
    AveragePool2D: _pool2d,
}

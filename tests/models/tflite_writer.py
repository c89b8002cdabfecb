"""Writes int8 ``.tflite`` files, so that LiteRT's reference kernels can judge our arithmetic.

The flatbuffer classes are those that ``ai_edge_litert`` is generated with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from models.vision.graph import Tensor

__all__ = ["ACTIVATIONS", "TfliteWriter", "activation_range", "same_padding"]

ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6")
OPERATOR_VERSIONS = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "QUANTIZE": 1,
    "RELU_N1_TO_1": 1,
    "RESHAPE": 1,
}
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

    def reshape(self, source: int, target: int) -> None:
        """Add a RESHAPE of one tensor to the other's shape."""
        shape = np.array(self._tensors[target].shape, dtype=np.int32)
        name = f"{self._tensors[target].name}/shape"
        amounts = self.tensor(name, shape.shape, dtype="INT32", data=shape)
        options = {"newShape": shape.tolist()}
        self.operator("RESHAPE", [source, amounts], [target], "ReshapeOptions", **options)

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

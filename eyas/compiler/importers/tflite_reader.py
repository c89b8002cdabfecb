"""A ``.tflite`` file as plain data: what the importer reads, every offset followed once.

A flatbuffer is a web of offsets that nothing checks on the way. Here they are followed by the
classes of the package ``tflite``; whatever a damaged or hostile file makes them raise ends as one
:class:`TfliteError`, and nothing is made larger than the file is.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import tflite

from eyas.compiler.importers.tflite_file import (
    NO_TENSOR,
    DamagedFile,
    FileModel,
    FileOperator,
    FileTensor,
    TfliteError,
)

__all__ = ["read_file"]

Array = npt.NDArray[Any]

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
MAX_OPERATORS = 1024
MAX_TENSORS = 1 << 14
MAX_DIMENSIONS = 8
MAX_OPERANDS = 64  # no operator that is supported has more than three
MAX_NAME = 1000
BUILTIN_CODE_SLOT = 10
"""Where the schema's table of an operator code has the offset of ``builtin_code``."""
_WINDOW = ("Padding", "StrideH", "StrideW", "FusedActivationFunction")
_KERNEL = (*_WINDOW, "DilationHFactor", "DilationWFactor")
_POOL = ("Pool2DOptions", (*_WINDOW, "FilterHeight", "FilterWidth"))

OPTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ADD": ("AddOptions", ("FusedActivationFunction",)),
    "AVERAGE_POOL_2D": _POOL,
    "CONV_2D": ("Conv2DOptions", _KERNEL),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", (*_KERNEL, "DepthMultiplier")),
    "FULLY_CONNECTED": ("FullyConnectedOptions", ("FusedActivationFunction", "WeightsFormat")),
    "MAX_POOL_2D": _POOL,
    "SOFTMAX": ("SoftmaxOptions", ("Beta",)),
}
"""Operator to its table of options and those that matter; other operators' options do not."""


def read_file(data: bytes) -> FileModel:
    """The model in ``data``; TfliteError when it is none, is damaged or beyond the reader."""
    if len(data) < 8 or data[4:8] != IDENTIFIER:
        raise TfliteError("This is not a .tflite file (it does not carry the mark TFL3)")
    try:
        return _model(data)
    except TfliteError:
        raise
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        MemoryError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        # What the flatbuffer classes raise when an offset points nowhere.
        raise _damaged() from error


def _damaged() -> DamagedFile:
    return DamagedFile("The .tflite file is truncated or damaged")


def _check(sound: bool) -> None:
    if not sound:
        raise _damaged()


def _model(data: bytes) -> FileModel:
    model = tflite.Model.GetRootAs(data, 0)
    if model.Version() != SCHEMA_VERSION:
        raise TfliteError(
            f"The file has version {model.Version()} of the format, Eyas reads {SCHEMA_VERSION}"
        )
    faults = []
    _check(model.SubgraphsLength() > 0)
    if model.SubgraphsLength() > 1:
        faults.append(
            f"The file has {model.SubgraphsLength()} subgraphs; Eyas runs networks of one, "
            "without control flow"
        )
    graph = model.Subgraphs(0)
    for what, count, limit in (
        ("operators", graph.OperatorsLength(), MAX_OPERATORS),
        ("tensors", graph.TensorsLength(), MAX_TENSORS),
    ):
        _check(4 * count <= len(data))
        if count > limit:
            raise TfliteError(f"The network has {count} {what}; Eyas takes at most {limit}")
    tensors = tuple(_tensor(model, graph.Tensors(index)) for index in range(graph.TensorsLength()))
    operators = tuple(
        _operator(model, graph.Operators(index), len(tensors))
        for index in range(graph.OperatorsLength())
    )
    ends = []
    for what, vector in (("inputs", graph.InputsAsNumpy()), ("outputs", graph.OutputsAsNumpy())):
        numbers = _numbers(vector)
        _check(bool(((numbers >= 0) & (numbers < len(tensors))).all()))
        if len(numbers) != 1:
            faults.append(f"The network has {len(numbers)} {what}; Eyas runs those with one")
        if not 0 < len(numbers) <= MAX_OPERANDS:
            raise TfliteError(faults[-1])
        ends.append(tuple(numbers.tolist()))
    return FileModel(tensors, operators, ends[0], ends[1], tuple(faults))


def _numbers(vector: Any) -> Array:
    """A vector of the file; the classes give 0 for one that is absent."""
    return np.zeros(0, np.int64) if isinstance(vector, int) else vector


def _name(value: bytes | None) -> str:
    return (value or b"")[:MAX_NAME].decode(errors="replace")


def _printable(text: str) -> str:
    """For messages, which are one line each."""
    return "".join(item if item.isprintable() else "?" for item in text)


def _spelling(enumeration: type, value: int, what: str) -> str:
    names = {number: name for name, number in vars(enumeration).items() if name.isupper()}
    return names.get(value, f"{what} {value}")


def _tensor(model: Any, tensor: Any) -> FileTensor:
    name = _name(tensor.Name())
    shape, signature = _numbers(tensor.ShapeAsNumpy()), _numbers(tensor.ShapeSignatureAsNumpy())
    scales, points, dimension = np.zeros(0, np.float32), np.zeros(0, np.int64), 0
    quantization, buffer = tensor.Quantization(), _buffer(model, tensor.Buffer())
    if quantization is not None:
        scales = _numbers(quantization.ScaleAsNumpy())
        points = _numbers(quantization.ZeroPointAsNumpy())
        dimension = quantization.QuantizedDimension()
        _check(len(points) == len(scales))
    own = quantization is not None and (
        quantization.DetailsType() != tflite.QuantizationDetails.NONE
    )
    faults = (
        (
            max(len(shape), len(signature)) > MAX_DIMENSIONS,
            f"has {len(shape)} dimensions; Eyas takes at most {MAX_DIMENSIONS}",
        ),
        (own, "is quantised in a way of its own (blocks or custom); Eyas takes scales"),
        (tensor.Sparsity() is not None, "is sparse, which Eyas does not support"),
        (tensor.IsVariable(), "keeps its values from run to run, which Eyas does not support"),
        (buffer.Offset() > 1, "lies outside the flatbuffer, as in files beyond 2 GB"),
    )
    data = _numbers(buffer.DataAsNumpy())
    return FileTensor(
        name=name,
        shape=tuple(shape[:MAX_DIMENSIONS].tolist()),
        dynamic=bool((signature[1:] < 0).any()),
        dtype=_spelling(tflite.TensorType, tensor.Type(), "type"),
        scales=scales,
        zero_points=points,
        channel_dimension=dimension,
        data=data if len(data) else None,
        fault=next((what for unusual, what in faults if unusual), ""),
    )


def _buffer(model: Any, index: int) -> Any:
    _check(index < model.BuffersLength())
    return model.Buffers(index)


def _operator(model: Any, operator: Any, tensors: int) -> FileOperator:
    index = operator.OpcodeIndex()
    _check(index < model.OperatorCodesLength())
    entry = model.OperatorCodes(index)
    code = _spelling(tflite.BuiltinOperator, _operator_number(entry), "operator number")
    if code == "CUSTOM":
        code = f"custom operator {_printable(_name(entry.CustomCode()))}"
    return FileOperator(
        code,
        entry.Version(),
        _operands(operator.InputsAsNumpy(), tensors),
        _operands(operator.OutputsAsNumpy(), tensors),
        _options(code, operator),
    )


def _operator_number(entry: Any) -> int:
    """The operator's number: the greater of a byte, which older files have alone, and an int32.

    Read past ``BuiltinCode()``, which takes the byte for every number below 127: newer writers may
    leave the byte out.
    """
    table = entry._tab
    offset = table.Offset(BUILTIN_CODE_SLOT)
    number = struct.unpack_from("<i", table.Bytes, table.Pos + offset)[0] if offset else 0
    return max(int(entry.DeprecatedBuiltinCode()), int(number))


def _operands(vector: Any, tensors: int) -> tuple[int, ...]:
    numbers = _numbers(vector)[:MAX_OPERANDS]
    _check(bool(((numbers >= NO_TENSOR) & (numbers < tensors)).all()))
    return tuple(numbers.tolist())


def _options(code: str, operator: Any) -> dict[str, Any]:
    if code not in OPTIONS:
        return {}
    kind, names = OPTIONS[code]
    table = operator.BuiltinOptions()
    _check(operator.BuiltinOptionsType() == getattr(tflite.BuiltinOptions, kind))
    _check(table is not None)
    options = getattr(tflite, kind)()
    options.Init(table.Bytes, table.Pos)
    return {name: getattr(options, name)() for name in names}

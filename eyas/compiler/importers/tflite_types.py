"""The types of a ``.tflite`` file's tensors: which quantisation it has, and what to do about it.

Where the types alone are wrong, what would be wrong behind another conversion is examined too: as
if the file were int8 (:func:`as_int8`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from eyas.compiler.importers.tflite_file import NO_TENSOR, FileModel, FileOperator, FileTensor
from eyas.compiler.importers.tflite_network import label_of
from models.vision.graph import SOFTMAX_SCALE, SOFTMAX_ZERO_POINT

__all__ = ["as_int8", "inner_type", "type_blockers"]

BITS = {
    "FLOAT32": 32, "FLOAT16": 16, "INT8": 8, "UINT8": 8, "INT4": 4, "INT16": 16, "INT32": 32,
    "INT64": 64,
}  # fmt: skip
"""Types whose constants another conversion makes int8, or int32 where they are biases."""
CONVERTIBLE = ("FLOAT32", "FLOAT16", "UINT8", "INT16")
"""What a converter makes int8 of when it is told to; an index of a class it leaves as it is."""
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
RESCALING = ("QUANTIZE", "DEQUANTIZE", "FAKE_QUANT")
"""Operators that are there for the sake of types alone."""


def inner_type(model: FileModel) -> str:
    """The type of the network's activations: INT8 where any is, or the commonest that could be."""
    kinds = Counter(model.tensors[index].dtype for index in _activations(model))
    wrong = [(count, kind) for kind, count in kinds.items() if kind in CONVERTIBLE]
    return "INT8" if kinds["INT8"] or not wrong else max(wrong)[1]


def type_blockers(model: FileModel) -> list[str]:
    """A sentence for each thing that is wrong with the types of the network or of its ends."""
    if not model.operators:
        return []
    kind = inner_type(model)
    blockers = []
    if kind == "FLOAT32" and any(
        model.tensors[index].dtype == "INT8"
        for operator in model.operators
        for index in operator.inputs
        if index != NO_TENSOR and model.tensors[index].data is not None
    ):
        blockers.append(
            "The network has int8 weights but float activations (dynamic-range quantisation): "
            "convert it with a representative data set, all in int8"
        )
    elif kind == "FLOAT32":
        blockers.append("The network is float: convert it with int8 quantisation")
    elif kind != "INT8":
        blockers.append(
            f"The network's activations are {kind}; Eyas runs int8: convert the float network "
            "again, with int8 quantisation"
        )
    wrong = [
        (what, model.tensors[index])
        for what, index in _ends(model)
        if model.tensors[index].dtype not in ("INT8", kind)
    ]
    convertible = [(what, tensor) for what, tensor in wrong if tensor.dtype in CONVERTIBLE]
    if kind == "INT8" and convertible:
        ends = " and ".join(
            f"its {what} {tensor.name!r} is {tensor.dtype}" for what, tensor in convertible
        )
        settings = " and ".join(f"inference_{what}_type" for what, _ in convertible)
        blockers.append(
            f"The network is int8 inside, but {ends}: convert it with {settings} tf.int8"
        )
    for what, tensor in wrong:
        if tensor.dtype not in CONVERTIBLE:
            side = "in front of what makes it" if what == "output" else "behind what reads it"
            blockers.append(
                f"The network's {what} {tensor.name!r} is {tensor.dtype}, which no conversion "
                f"makes int8: cut the network {side}, {_partner(model, what, tensor)}"
            )
    return blockers


def as_int8(model: FileModel) -> FileModel:
    """The file as it might be with the right types, for what else there is to say of it."""
    kind = inner_type(model)
    model = _without_rescaling(model, kind)
    tensors = list(model.tensors)
    doubtful = {index for _, index in _ends(model)}
    if kind != "INT8":
        doubtful |= set(_activations(model))
    for index in doubtful:
        if tensors[index].dtype != "INT8":
            tensors[index] = _activation(tensors[index])
    if kind != "INT8":
        for operator in model.operators:
            if operator.code == "SOFTMAX":
                for index in operator.outputs:
                    tensors[index] = _activation(tensors[index], SOFTMAX_SCALE, SOFTMAX_ZERO_POINT)
            for place, index in enumerate(operator.inputs):
                wanted = _constant_type(operator, place)
                if wanted and index != NO_TENSOR and tensors[index].data is not None:
                    tensors[index] = _constant(tensors[index], wanted)
    return replace(model, tensors=tuple(tensors))


def _ends(model: FileModel) -> Iterable[tuple[str, int]]:
    yield from (("input", index) for index in model.inputs)
    yield from (("output", index) for index in model.outputs)


def _activations(model: FileModel) -> list[int]:
    """Inputs and whatever operators write; an operator that unpacks a constant makes none."""
    written = [
        index
        for operator in model.operators
        if not _unpacks(model, operator)
        for index in operator.outputs
        if index != NO_TENSOR
    ]
    return [*model.inputs, *written]


def _unpacks(model: FileModel, operator: FileOperator) -> bool:
    """Whether the operator only gives a constant another type: weights kept in 16 or 8 bits."""
    return operator.code == "DEQUANTIZE" and all(
        index != NO_TENSOR and model.tensors[index].data is not None for index in operator.inputs
    )


def _partner(model: FileModel, what: str, tensor: FileTensor) -> str:
    """What writes the output, or first reads the input, as messages name it."""
    for operator in model.operators:
        numbers = operator.outputs if what == "output" else operator.inputs
        if any(index != NO_TENSOR and model.tensors[index] is tensor for index in numbers):
            return label_of(model, operator)
    return "which is no operator"


def _without_rescaling(model: FileModel, kind: str) -> FileModel:
    """The file without the operators that only change types, where those types are wrong."""
    names: dict[int, int] = {}
    tensors = list(model.tensors)
    kept = []
    for operator in model.operators:
        ends = (*operator.inputs[:1], *operator.outputs[:1])
        if operator.code not in RESCALING or len(ends) < 2 or NO_TENSOR in ends:
            kept.append(operator)
            continue
        source, target = ends
        source = names.get(source, source)
        if kind != "INT8" or (
            target in model.outputs and tensors[target].dtype not in ("INT8", "INT32")
        ):
            names[target] = source
        elif source in model.inputs and tensors[source].dtype != "INT8":
            tensors[source] = replace(tensors[target], name=tensors[source].name)
            names[target] = source
        else:
            kept.append(operator)

    def renamed(numbers: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(names.get(index, index) for index in numbers)

    operators = tuple(
        replace(item, inputs=renamed(item.inputs), outputs=renamed(item.outputs)) for item in kept
    )
    return replace(
        model, tensors=tuple(tensors), operators=operators, outputs=renamed(model.outputs)
    )


def _constant_type(operator: FileOperator, place: int) -> str:
    if operator.code in WEIGHTED and place in (1, 2):
        return "INT8" if place == 1 else "INT32"
    return "INT8" if operator.code == "PADV2" and place == 2 else ""


def _activation(tensor: FileTensor, scale: float = 1.0, zero_point: int = 0) -> FileTensor:
    scales, points = np.array([scale], np.float32), np.array([zero_point], np.int64)
    return replace(tensor, dtype="INT8", scales=scales, zero_points=points)


def _constant(tensor: FileTensor, dtype: str) -> FileTensor:
    """Zeros of the type; as it was where its bytes are not those of its shape."""
    assert tensor.data is not None
    if not 0 < tensor.size * BITS.get(tensor.dtype, 0) <= 8 * len(tensor.data):
        return tensor
    data = np.zeros(tensor.size * BITS[dtype] // 8, np.uint8)
    return replace(_activation(tensor), dtype=dtype, data=data)

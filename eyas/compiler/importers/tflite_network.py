"""A graph in the making: which tensor of a ``.tflite`` file is which tensor of the graph."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from eyas.compiler.importers.tflite_reader import (
    NO_TENSOR,
    FileModel,
    FileOperator,
    FileTensor,
    TfliteError,
)
from models.vision.graph import Node, Tensor

__all__ = ["Network", "Step", "label_of"]

Shape = tuple[int, int, int]


def label_of(model: FileModel, operator: FileOperator) -> str:
    """How messages name an operator: its code and, where there is one, its output's name."""
    names = [model.tensors[index].name for index in operator.outputs if index != NO_TENSOR]
    return f"{operator.code} {names[0]!r}" if names else operator.code


class Network:
    """What the operators so far have made of the file.

    A reshape makes no node: its output is another name of the same values, in their dense order.
    So the picture gets its shape from the first operator that wants height, width and channels.

    Parameters
    ----------
    model : FileModel
        The file.
    """

    def __init__(self, model: FileModel) -> None:
        self.model = model
        self.names = list(_unique(model.tensors))
        """The graph's name of each of the file's tensors."""
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self.softmax: Tensor | None = None
        self.softmax_beta = 1.0
        self.views = {model.input: self.names[model.input]}
        """The graph's tensor that each of the file's activations is, or is a reshape of."""
        source = model.tensors[model.input]
        quantization(source, f"The input {source.name!r}")  # refused first, whatever reads it

    @property
    def input(self) -> str:
        """The picture's name in the graph."""
        return self.names[self.model.input]

    @property
    def output(self) -> str:
        """The answer's name in the graph."""
        if self.model.output not in self.views:
            raise TfliteError("No operator writes the network's output: the file is damaged")
        tensor, label = self.tensors[self.views[self.model.output]], "The output"
        _check_reshape(tensor, map_shape(self.model.tensors[self.model.output], label), label)
        return tensor.name

    def steps(self) -> Iterator[Step]:
        """Each operator with what it needs."""
        for operator in self.model.operators:
            yield Step(self, operator, label_of(self.model, operator))


@dataclass(frozen=True)
class Step:
    """One operator, as its reader sees it; every refusal names it."""

    network: Network
    operator: FileOperator
    label: str

    def refuse(self, reason: str) -> TfliteError:
        """The error that says why the operator cannot be run."""
        return TfliteError(f"{self.label}: {reason}")

    def operands(self, least: int, most: int | None = None) -> tuple[int, ...]:
        """The inputs' numbers; NO_TENSOR fills up what is optional and left out."""
        inputs, most = self.operator.inputs, most or least
        if not least <= len(inputs) <= most or NO_TENSOR in inputs[:least]:
            raise self.refuse(f"has {len(inputs)} inputs, not {least}: the file is damaged")
        return inputs + (NO_TENSOR,) * (most - len(inputs))

    def constant(self, index: int, what: str, dtype: str) -> FileTensor:
        """The constant tensor ``index``, of the type ``dtype``."""
        tensor = self.network.model.tensors[index]
        if tensor.data is None:
            raise self.refuse(f"its {what} are computed at run time; Eyas takes constants")
        if tensor.dtype != dtype:
            raise self.refuse(f"its {what} are {tensor.dtype}; Eyas takes {dtype}")
        return tensor

    def dense(self, index: int) -> Tensor:
        """The activation ``index``, in whatever shape: only the order of its values counts."""
        network, name = self.network, self._source(index)
        if name not in network.tensors:  # the picture, read for the first time
            tensor = network.model.tensors[index]
            shape = (
                map_shape(tensor, self.label)
                if len(tensor.shape) in (2, 4)
                else (1, 1, tensor.size)
            )
            network.tensors[name] = Tensor(name, shape, *quantization(tensor, self.label))
        return network.tensors[name]

    def map(self, index: int) -> Tensor:
        """The activation ``index``, as height, width and channels."""
        file_tensor = self.network.model.tensors[index]
        tensor = self.dense(index)
        _check_reshape(tensor, map_shape(file_tensor, self.label), self.label)
        return tensor

    def result(self, shape: Shape | None = None) -> Tensor:
        """A new tensor of the graph for the operator's output.

        Its shape is ``shape``, where only the number of values has to agree with the file, or the
        file's.
        """
        index = self._output()
        file_tensor, name = self.network.model.tensors[index], self.network.names[index]
        if shape is None:
            shape = map_shape(file_tensor, self.label)
        elif math.prod(shape) != file_tensor.size:
            raise self.refuse(
                f"gives {math.prod(shape)} values, but its output has the shape "
                f"{list(file_tensor.shape)}"
            )
        tensor = Tensor(name, shape, *quantization(file_tensor, self.label))
        self.network.tensors[name] = tensor
        self.network.views[index] = name
        return tensor

    def alias(self, source: int) -> None:
        """The output is ``source`` again, its values in the same order."""
        name, index, tensors = self._source(source), self._output(), self.network.model.tensors
        before, after = tensors[source], tensors[index]
        if before.size != after.size:
            raise self.refuse(
                f"makes {list(after.shape)} of {list(before.shape)}: the file is damaged"
            )
        if quantization(before, self.label) != quantization(after, self.label):
            raise self.refuse("input and output must have the same scale and zero point")
        self.network.views[index] = name

    def add(self, node: Node) -> None:
        """Append the operator's node."""
        self.network.nodes.append(node)

    def _source(self, index: int) -> str:
        """The graph's tensor that the input ``index`` is, or is a reshape of."""
        tensor = self.network.model.tensors[index]
        if index not in self.network.views:
            if tensor.data is not None:
                raise self.refuse(f"its input {tensor.name!r} is a constant")
            raise self.refuse(f"no operator before it writes its input {tensor.name!r}")
        if tensor.dynamic:
            raise self.refuse(f"the shape of {tensor.name!r} is known only at run time")
        return self.network.views[index]

    def _output(self) -> int:
        outputs = self.operator.outputs
        if len(outputs) != 1 or outputs[0] == NO_TENSOR:
            raise self.refuse(f"has {len(outputs)} outputs, not 1: the file is damaged")
        if outputs[0] in self.network.views:
            raise self.refuse("its output is written already: the file is damaged")
        tensor = self.network.model.tensors[outputs[0]]
        if tensor.dynamic:
            raise self.refuse(f"the shape of {tensor.name!r} is known only at run time")
        return outputs[0]


def map_shape(tensor: FileTensor, owner: str) -> Shape:
    """Height, width and channels of one picture's tensor; ``owner`` begins the message."""
    shape = tensor.shape
    if len(shape) not in (2, 4):
        raise TfliteError(
            f"{owner}: tensor {tensor.name!r} has the shape {list(shape)}; Eyas takes "
            "1 × height × width × channels or 1 × channels"
        )
    if shape[0] != 1:
        raise TfliteError(
            f"{owner}: tensor {tensor.name!r} holds a batch of {shape[0]}; convert the network "
            "for one picture"
        )
    return (shape[1], shape[2], shape[3]) if len(shape) == 4 else (1, 1, shape[1])


def quantization(tensor: FileTensor, owner: str) -> tuple[float, int]:
    """Scale and zero point of an activation; ``owner`` begins the message where it has none."""
    if tensor.dtype != "INT8":
        raise TfliteError(f"{owner}: tensor {tensor.name!r} is {tensor.dtype}; Eyas takes INT8")
    if len(tensor.scales) != 1:
        raise TfliteError(
            f"{owner}: tensor {tensor.name!r} has {len(tensor.scales)} scales; an activation "
            "has one for all its channels"
        )
    scale, zero_point = float(tensor.scales[0]), int(tensor.zero_points[0])
    if not (math.isfinite(scale) and scale > 0 and -128 <= zero_point <= 127):
        raise TfliteError(
            f"{owner}: tensor {tensor.name!r} has scale {scale:g} and zero point {zero_point}; "
            "the scale must be positive, the zero point in int8's range"
        )
    return scale, zero_point


def _unique(tensors: tuple[FileTensor, ...]) -> Iterator[str]:
    """The tensors' names, those that are empty or taken with the tensor's number."""
    taken = {tensor.name for tensor in tensors}
    seen: set[str] = set()
    for index, tensor in enumerate(tensors):
        name = tensor.name or f"tensor {index}"
        while name in seen or (name != tensor.name and name in taken):
            name = f"{name}#{index}"
        seen.add(name)
        yield name


def _check_reshape(tensor: Tensor, shape: Shape, owner: str) -> None:
    """TfliteError where a map is read in another shape than it was written in."""
    if tensor.shape != shape:
        raise TfliteError(
            f"{owner}: reads {tensor.name!r}, a map of {_text(tensor.shape)}, reshaped to "
            f"{_text(shape)}; a reshape may only stand next to the input, before a fully "
            "connected layer, or drop and add dimensions of 1 without moving others"
        )


def _text(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))

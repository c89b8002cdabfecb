"""A graph in the making: which tensor of a ``.tflite`` file is which tensor of the graph."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from eyas.compiler.importers.tflite_reader import (
    NO_TENSOR,
    DamagedFile,
    FileModel,
    FileOperator,
    FileTensor,
    TfliteError,
    UnsupportedType,
)
from eyas.compiler.unread import Unread
from models.vision.graph import GraphError, Node, Tensor
from models.vision.node import ShapeError

__all__ = ["Network", "Step", "label_of", "shape_text"]

Shape = tuple[int, int, int]

MAX_SIDE = 1 << 16
"""Of a stand-in: the file may claim any."""
IN_PLACE = ("QUANTIZE", "RELU", "RELU6", "RELU_N1_TO_1")
"""Operators whose output may be their input's tensor: the ones that LiteRT runs so."""


def label_of(model: FileModel, operator: FileOperator) -> str:
    """How messages name an operator: its code and, where there is one, its output's name."""
    names = [model.tensors[index].name for index in operator.outputs if index != NO_TENSOR]
    return f"{operator.code} {names[0]!r}" if names else operator.code


class Network:
    """What the operators so far have made of the file.

    A reshape makes no node: its output is another name of the same values, in their dense order.
    So the picture gets its shape from the first operator that wants height, width and channels.
    A tensor of the file that is written twice is a tensor of the graph each time.

    Parameters
    ----------
    model : FileModel
        The file.
    """

    def __init__(self, model: FileModel) -> None:
        self.model = model
        self._loose: set[str] = set()
        self.names = list(_unique(model.tensors))
        """The graph's name of each of the file's tensors."""
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self.softmax: Tensor | None = None
        self.softmax_beta = 1.0
        self.views = {model.input: self.names[model.input]}
        """The graph's tensor that each of the file's activations is, or is a reshape of."""

    @property
    def input(self) -> str:
        """The picture's name in the graph."""
        return self.names[self.model.input]

    def check_output(self) -> None:
        """TfliteError where the output is another map than what is written."""
        name, label = self.views[self.model.output], "The output"
        shape = map_shape(self.model.tensors[self.model.output], label)
        self.reshape_loose(name, shape)
        _check_reshape(self.tensors[name], shape, label)

    @property
    def output(self) -> str:
        """The answer's name in the graph."""
        return self.tensors[self.views[self.model.output]].name

    def new_name(self, index: int) -> str:
        """The name of what is written to the file's tensor ``index`` next."""
        name, count = self.names[index], 1
        while name in self.tensors or name == self.input:
            count += 1
            name = f"{self.names[index]}#{count}"
        return name

    def leave_unread(
        self,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        shape: tuple[int, ...] | None = None,
    ) -> None:
        """Stand-ins for the outputs of an operator that is refused, so that its readers go on.

        What is wrong with the file's tensors has been said then, and is mended.

        Parameters
        ----------
        inputs, outputs : tuple of int
            The operator's.
        shape : tuple of int or None
            What it gives, where that is known; None for what the file says.
        """
        names = []
        for index in inputs:
            if index in self.views:
                names.append(self.views[index])
                if names[-1] not in self.tensors:  # the picture
                    self._stand_in(index, names[-1], None)
        sources = tuple(dict.fromkeys(names))
        first = sources[0] if sources else ""
        for index in outputs:
            if index != NO_TENSOR:
                name = self.new_name(index)
                self._stand_in(index, name, shape)
                self.views[index] = name
                self.nodes.append(Unread(name=name, input=first, output=name, sources=sources))

    def reshape_loose(self, name: str, shape: Shape) -> None:
        """Take a stand-in, whose shape nobody knows for sure, for what its reader wants."""
        if name in self._loose and math.prod(shape) == self.tensors[name].size:
            self.tensors[name] = replace(self.tensors[name], shape=shape)

    def is_guess(self, inputs: tuple[int, ...]) -> bool:
        """Whether one of an operator's inputs is a stand-in, whose shape need not be right."""
        return any(self.views.get(index) in self._loose for index in inputs)

    def _stand_in(self, index: int, name: str, shape: tuple[int, ...] | None) -> None:
        """A tensor of the graph about like the file's, which is mended where it is no map."""
        tensor = self.model.tensors[index]
        if shape is None:
            dimensions = tensor.shape if len(tensor.shape) in (2, 4) else (1, abs(tensor.size))
            shape = (1, 1, *dimensions[1:])[-3:]
        height, width, channels = (min(max(1, item), MAX_SIDE) for item in shape)
        try:
            scale, zero_point = quantization(tensor, "")
        except TfliteError:
            scale, zero_point = 1.0, 0
        self.tensors[name] = Tensor(name, (height, width, channels), scale, zero_point)
        self._loose.add(name)
        flat = len(tensor.shape) == 2
        mended = replace(
            tensor,
            shape=(1, height * width * channels) if flat else (1, height, width, channels),
            dynamic=False,
            dtype="INT8",
            scales=np.array([scale], np.float32),
            zero_points=np.array([zero_point], np.int64),
            fault="",
        )
        tensors = (*self.model.tensors[:index], mended, *self.model.tensors[index + 1 :])
        self.model = replace(self.model, tensors=tensors)


@dataclass
class Step:
    """One operator, as its reader sees it; every refusal names it."""

    network: Network
    operator: FileOperator
    label: str
    shape: tuple[int, ...] | None = None
    """What the operator gives, where the file says otherwise."""
    _made: tuple[int, Tensor] | None = None

    def refuse(self, reason: str) -> TfliteError:
        """The error that says why the operator cannot be run."""
        return TfliteError(f"{self.label}: {reason}")

    def damaged(self, reason: str) -> TfliteError:
        """The error that says where the file contradicts itself."""
        return DamagedFile(f"{self.label}: {reason}: the file is damaged")

    def reworded(self, error: GraphError) -> TfliteError:
        """What the graph's rules say, as a refusal that names the operator as all others do."""
        if isinstance(error, ShapeError):
            self.shape = error.expected
        name = self._made[1].name if self._made else self.network.names[self.operator.outputs[0]]
        return self.refuse(re.sub(rf"^\w+ {re.escape(repr(name))}: ", "", str(error)))

    def operands(self, least: int, most: int | None = None) -> tuple[int, ...]:
        """The inputs' numbers; NO_TENSOR fills up what is optional and left out."""
        inputs, most = self.operator.inputs, most or least
        if not least <= len(inputs) <= most or NO_TENSOR in inputs[:least]:
            raise self.damaged(f"has {len(inputs)} inputs, not {least}")
        return inputs + (NO_TENSOR,) * (most - len(inputs))

    def constant(self, index: int, what: str, dtype: str) -> FileTensor:
        """The constant tensor ``index``, of the type ``dtype``."""
        tensor = self._sound(index)
        if index in self.network.views or tensor.data is None:
            raise self.refuse(f"its {what} are computed at run time; Eyas takes constants")
        if tensor.dtype != dtype:
            raise UnsupportedType(
                f"{self.label}: its {what} are {tensor.dtype}; Eyas takes {dtype}"
            )
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
        name, shape = self.dense(index).name, map_shape(file_tensor, self.label)
        self.network.reshape_loose(name, shape)
        _check_reshape(self.network.tensors[name], shape, self.label)
        return self.network.tensors[name]

    def result(self, shape: Shape | None = None) -> Tensor:
        """A new tensor of the graph for the operator's output.

        Its shape is ``shape``, where only the number of values has to agree with the file, or the
        file's.
        """
        index = self._output()
        file_tensor = self.network.model.tensors[index]
        if shape is None:
            shape = map_shape(file_tensor, self.label)
        elif math.prod(shape) != file_tensor.size:
            self.shape = shape
            raise self.refuse(
                f"gives {math.prod(shape)} values, but its output has the shape "
                f"{list(file_tensor.shape)}"
            )
        scales = quantization(file_tensor, self.label)
        self._made = index, Tensor(self.network.new_name(index), shape, *scales)
        return self._made[1]

    def alias(self, source: int) -> None:
        """The output is ``source`` again, its values in the same order."""
        name, index, tensors = self._source(source), self._output(), self.network.model.tensors
        before, after = tensors[source], tensors[index]
        if before.size != after.size:
            raise self.damaged(f"makes {list(after.shape)} of {list(before.shape)}")
        if quantization(before, self.label) != quantization(after, self.label):
            raise self.refuse("input and output must have the same scale and zero point")
        self.network.views[index] = name

    def add(self, node: Node) -> None:
        """Append the operator's node, which writes :meth:`result`."""
        assert self._made is not None
        network, (index, tensor) = self.network, self._made
        node.check({**{name: network.tensors[name] for name in node.inputs}, tensor.name: tensor})
        network.tensors[tensor.name] = tensor
        network.views[index] = tensor.name
        network.nodes.append(node)

    def _sound(self, index: int) -> FileTensor:
        """The file's tensor ``index``, refused where nothing could use it."""
        tensor = self.network.model.tensors[index]
        if tensor.fault:
            raise self.refuse(f"its tensor {tensor.name!r} {tensor.fault}")
        return tensor

    def _source(self, index: int) -> str:
        """The graph's tensor that the input ``index`` is, or is a reshape of."""
        tensor = self._sound(index)
        if index not in self.network.views:
            if tensor.data is not None:
                raise self.refuse(f"its input {tensor.name!r} is a constant")
            raise self.damaged(f"no operator before it writes its input {tensor.name!r}")
        if tensor.dynamic:
            raise self.refuse(f"the shape of {tensor.name!r} is known only at run time")
        return self.network.views[index]

    def _output(self) -> int:
        outputs = self.operator.outputs
        if len(outputs) != 1 or outputs[0] == NO_TENSOR:
            raise self.damaged(f"has {len(outputs)} outputs, not 1")
        tensor = self._sound(outputs[0])
        if outputs[0] in self.operator.inputs and self.operator.code not in IN_PLACE:
            raise self.refuse(
                f"writes over its own input {tensor.name!r}, as only {', '.join(IN_PLACE)} may"
            )
        if tensor.data is not None:
            raise self.damaged(f"writes over the constant {tensor.name!r}")
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
        raise UnsupportedType(f"{owner}: tensor {tensor.name!r} is {tensor.dtype}; Eyas takes INT8")
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
            f"{owner}: reads {tensor.name!r}, a map of {shape_text(tensor.shape)}, reshaped to "
            f"{shape_text(shape)}; a reshape may only stand next to the input, before a fully "
            "connected layer, or drop and add dimensions of 1 without moving others"
        )


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as messages give it."""
    return " × ".join(map(str, shape))

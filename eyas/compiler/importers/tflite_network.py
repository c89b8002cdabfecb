"""A graph in the making: which tensor of a ``.tflite`` file is which tensor of the graph."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from eyas.compiler.importers.tflite_file import (
    NO_TENSOR,
    FileModel,
    FileOperator,
    FileTensor,
    TfliteError,
)
from eyas.compiler.importers.tflite_maps import Shape, check_reshape, map_shape, quantization
from eyas.compiler.unread import Unread
from models.vision.graph import Node, Tensor

__all__ = ["Network", "label_of"]

MAX_SIDE = 1 << 16
"""Of a stand-in: the file may claim any."""


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
        check_reshape(self.tensors[name], shape, label)

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

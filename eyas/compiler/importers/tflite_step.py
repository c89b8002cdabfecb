"""One operator of a ``.tflite`` file as its reader sees it: operands, result, refusals."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from eyas.compiler.importers.tflite_file import (
    NO_TENSOR,
    DamagedFile,
    FileOperator,
    FileTensor,
    TfliteError,
    UnsupportedType,
)
from eyas.compiler.importers.tflite_maps import Shape, check_reshape, map_shape, quantization
from eyas.compiler.importers.tflite_network import Network
from models.vision.graph import GraphError, Node, Tensor
from models.vision.node import ShapeError

__all__ = ["Step"]

IN_PLACE = ("QUANTIZE", "RELU", "RELU6", "RELU_N1_TO_1")
"""Operators whose output may be their input's tensor: the ones that LiteRT runs so."""


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
        check_reshape(self.network.tensors[name], shape, self.label)
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

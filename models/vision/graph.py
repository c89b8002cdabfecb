"""The quantised graph: a network as integers, with nothing of any hardware in it.

A value is stored as int8 ``q`` and stands for the real number ``scale · (q − zero_point)``, the
scheme of TensorFlow Lite.  A graph comes from an importer, is run by
:mod:`models.vision.reference` and lowered by the compiler.  NumPy only.
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

__all__ = [
    "AveragePool2D",
    "Conv2D",
    "FullyConnected",
    "Graph",
    "GraphError",
    "MaxPool2D",
    "Node",
    "Pool2D",
    "Tensor",
    "quantize",
    "quantize_input",
]

INT8_MIN, INT8_MAX = -128, 127
MAX_MULTIPLIER = float(1 << 30)
FORMAT = "eyas-quantised-graph"
FORMAT_VERSION = 1
HEADER_MEMBER = "graph.json"
FIXED_DATE = (1980, 1, 1, 0, 0, 0)  # the same graph gives the same bytes, whenever it is saved

Tensors = Mapping[str, "Tensor"]
Array = npt.NDArray[Any]


class GraphError(ValueError):
    """A graph, or the file of one, is not valid; the message is one sentence."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise GraphError(message)


def _integers(owner: str, name: str, value: Any, dtype: npt.DTypeLike, ndim: int) -> Array:
    """A read-only copy of ``value`` as ``dtype``; GraphError when a value does not fit."""
    array = np.asarray(value)
    info = np.iinfo(np.dtype(dtype))
    _require(array.dtype.kind in "iu", f"{owner}: {name} must be integers, not {array.dtype}")
    _require(array.ndim == ndim, f"{owner}: {name} must have {ndim} dimensions, not {array.ndim}")
    _require(
        array.size == 0 or (int(array.min()) >= info.min and int(array.max()) <= info.max),
        f"{owner}: {name} must fit in {info.dtype}",
    )
    array = array.astype(dtype)  # always a copy
    array.flags.writeable = False
    return array


def _int_tuple(owner: str, name: str, value: Any, length: int, least: int) -> tuple[int, ...]:
    try:
        items = tuple(value)
    except TypeError:
        items = ()
    _require(
        len(items) == length
        and all(
            isinstance(item, (int, np.integer)) and not isinstance(item, bool) and item >= least
            for item in items
        ),
        f"{owner}: {name} must be {length} integers of at least {least}, not {value!r}",
    )
    return tuple(int(item) for item in items)


def _int8(owner: str, name: str, value: Any) -> int:
    _require(
        isinstance(value, (int, np.integer))
        and not isinstance(value, bool)
        and INT8_MIN <= int(value) <= INT8_MAX,
        f"{owner}: {name} must be an integer from {INT8_MIN} to {INT8_MAX}, not {value!r}",
    )
    return int(value)


@dataclass(frozen=True)
class Tensor:
    """An activation map of one picture.

    Parameters
    ----------
    name : str
        Unique in its graph.
    shape : (int, int, int)
        Height, width, channels; a vector is (1, 1, channels).
    scale : float
        Real value of one step: a positive float32 number (rounded to one here, as TFLite keeps
        it).
    zero_point : int
        The int8 value that stands for 0.
    """

    name: str
    shape: tuple[int, int, int]
    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        owner = f"Tensor {self.name!r}"
        _require(isinstance(self.name, str) and self.name != "", "A tensor needs a name")
        object.__setattr__(self, "shape", _int_tuple(owner, "shape", self.shape, 3, 1))
        with np.errstate(over="ignore", under="ignore"):
            scale = float(np.float32(self.scale))
        _require(
            math.isfinite(scale) and scale > 0,
            f"{owner}: scale must be a positive finite float32, not {self.scale!r}",
        )
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "zero_point", _int8(owner, "zero_point", self.zero_point))

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    def same_quantization(self, other: Tensor) -> bool:
        """Whether equal integers stand for equal real numbers in both tensors."""
        return self.scale == other.scale and self.zero_point == other.zero_point


@dataclass(frozen=True, eq=False, kw_only=True)
class Node:
    """One operation with one output.

    A subclass adds its parameters as fields (arrays, numbers and tuples of numbers are saved as
    they are), checks what concerns itself alone in ``__post_init__`` and what concerns its tensors
    in :meth:`check`, and is entered in ``NODE_TYPES``.

    Parameters
    ----------
    name : str
        Unique in its graph.
    input, output : str
        Tensor names.
    activation_min, activation_max : int
        The output is clamped to this int8 range: the fused activation.
    """

    name: str
    input: str
    output: str
    activation_min: int = INT8_MIN
    activation_max: int = INT8_MAX

    op: ClassVar[str]
    """The operation's name in files and reports."""

    def __post_init__(self) -> None:
        _require(isinstance(self.name, str) and self.name != "", "A node needs a name")
        low = _int8(self.label, "activation_min", self.activation_min)
        high = _int8(self.label, "activation_max", self.activation_max)
        _require(low <= high, f"{self.label}: activation_min {low} is above activation_max {high}")

    @property
    def label(self) -> str:
        """How messages name the node."""
        return f"{type(self).__name__} {self.name!r}"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that the node reads."""
        return (self.input,)

    def check(self, tensors: Tensors) -> None:
        """Raise GraphError when the node does not fit its tensors."""
        raise NotImplementedError

    def macs(self, tensors: Tensors) -> int:
        """Nominal multiply-accumulates a picture, padded taps counted; 0 where none are meant."""
        return 0

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _check_output(self, tensors: Tensors, expected: tuple[int, ...]) -> None:
        actual = tensors[self.output].shape
        _require(
            actual == expected,
            f"{self.label}: gives shape {expected}, but tensor {self.output!r} has {actual}",
        )


def _set_bias_and_scales(node: Conv2D | FullyConnected) -> None:
    """Bias and weight scales of a node whose weights are already checked."""
    channels = len(node.weights)
    bias = _integers(node.label, "bias", node.bias, np.int32, 1)
    _require(
        len(bias) == channels, f"{node.label}: {channels} output channels, but {len(bias)} biases"
    )
    with np.errstate(over="ignore", under="ignore"):
        scales = np.array(node.weight_scales, dtype=np.float32)
    _require(
        scales.shape == (channels,),
        f"{node.label}: weight_scales must have the shape ({channels},), not {scales.shape}",
    )
    _require(
        bool(np.all(np.isfinite(scales)) and np.all(scales > 0)),
        f"{node.label}: weight_scales must be positive finite float32 numbers",
    )
    scales.flags.writeable = False
    node._set(bias=bias, weight_scales=scales)


def _check_multipliers(node: Conv2D | FullyConnected, tensors: Tensors) -> None:
    """No step of the accumulator may be absurdly larger than one of the output."""
    steps = tensors[node.input].scale * node.weight_scales.astype(np.float64)
    _require(
        bool(np.all(steps / tensors[node.output].scale < MAX_MULTIPLIER)),
        f"{node.label}: input scale · weight scale / output scale must be less than 2^30",
    )


def _window_output(
    node: Conv2D | Pool2D, window: tuple[int, int], shape: tuple[int, int, int]
) -> tuple[int, int]:
    """Height and width of the output of a sliding window over a map of ``shape``."""
    top, bottom, left, right = node.padding
    _require(
        max(top, bottom) < window[0] and max(left, right) < window[1],
        f"{node.label}: padding {node.padding} must be smaller than the window {window}",
    )
    height, width = shape[0] + top + bottom - window[0], shape[1] + left + right - window[1]
    _require(
        height >= 0 and width >= 0,
        f"{node.label}: window {window} is larger than its padded input of "
        f"{shape[0] + top + bottom} × {shape[1] + left + right}",
    )
    return height // node.stride[0] + 1, width // node.stride[1] + 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Conv2D(Node):
    """Convolution over all input channels; padded taps read as the input's zero point.

    The accumulator Σ (q − zero_point) · weight + bias is an int32 that wraps; its real value is
    ``input.scale · weight_scales[o]`` a step.  It is requantised by a 31-bit multiplier and a
    shift, and rounded twice (:func:`models.vision.arithmetic.multiply_by_quantized_multiplier`).

    Parameters
    ----------
    weights : int8 array [O, KH, KW, I]
        Symmetric: the real value is ``weight_scales[o] · weights[o]``.
    bias : int32 array [O]
        In steps of the accumulator.
    weight_scales : float32 array [O]
        One an output channel.
    stride : (int, int)
        Rows and columns from one output pixel to the next.
    padding : (int, int, int, int)
        Top, bottom, left, right; smaller than the kernel.
    """

    weights: Array
    bias: Array
    weight_scales: Array
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    op: ClassVar[str] = "conv2d"

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = _integers(self.label, "weights", self.weights, np.int8, 4)
        _require(weights.size > 0, f"{self.label}: weights of shape {weights.shape} are empty")
        self._set(
            weights=weights,
            stride=_int_tuple(self.label, "stride", self.stride, 2, 1),
            padding=_int_tuple(self.label, "padding", self.padding, 4, 0),
        )
        _set_bias_and_scales(self)

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of the kernel."""
        return self.weights.shape[1], self.weights.shape[2]

    def check(self, tensors: Tensors) -> None:
        shape = tensors[self.input].shape
        _require(
            self.weights.shape[3] == shape[2],
            f"{self.label}: weights for {self.weights.shape[3]} input channels, but tensor "
            f"{self.input!r} has {shape[2]}",
        )
        height, width = _window_output(self, self.window, shape)
        self._check_output(tensors, (height, width, len(self.weights)))
        _check_multipliers(self, tensors)

    def macs(self, tensors: Tensors) -> int:
        height, width, _ = tensors[self.output].shape
        return height * width * self.weights.size


@dataclass(frozen=True, eq=False, kw_only=True)
class FullyConnected(Node):
    """Every output from every input value, the map flattened in height, width, channel order.

    The accumulator is :class:`Conv2D`'s, the rounding is not: as LiteRT's reference kernel (2.3)
    has it, the accumulator is multiplied by ``input.scale · weight_scales[o] / output.scale`` in
    float64 and rounded once, halves away from zero.  A convolution rounds twice and differs near
    ties, in about one value of 500.  Where LiteRT's conversion to int32 would be undefined, the
    value saturates.

    Parameters
    ----------
    weights : int8 array [O, H·W·C]
        Symmetric: the real value is ``weight_scales[o] · weights[o]``.
    bias : int32 array [O]
        In steps of ``input.scale · weight_scales[o]``.
    weight_scales : float32 array [O]
        One an output channel; where TFLite has one for all of them, it is repeated.
    """

    weights: Array
    bias: Array
    weight_scales: Array

    op: ClassVar[str] = "fully_connected"

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = _integers(self.label, "weights", self.weights, np.int8, 2)
        _require(weights.size > 0, f"{self.label}: weights of shape {weights.shape} are empty")
        self._set(weights=weights)
        _set_bias_and_scales(self)

    def check(self, tensors: Tensors) -> None:
        size = tensors[self.input].size
        _require(
            self.weights.shape[1] == size,
            f"{self.label}: weights for {self.weights.shape[1]} inputs, but tensor "
            f"{self.input!r} has {size} values",
        )
        self._check_output(tensors, (1, 1, len(self.weights)))
        _check_multipliers(self, tensors)

    def macs(self, tensors: Tensors) -> int:
        return self.weights.size


@dataclass(frozen=True, eq=False, kw_only=True)
class Pool2D(Node):
    """A sliding window over each channel; input and output have the same scale and zero point.

    Parameters
    ----------
    window : (int, int)
        Height and width.
    stride : (int, int)
        Rows and columns from one output pixel to the next.
    padding : (int, int, int, int)
        Top, bottom, left, right; smaller than the window.
    """

    window: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(
            window=_int_tuple(self.label, "window", self.window, 2, 1),
            stride=_int_tuple(self.label, "stride", self.stride, 2, 1),
            padding=_int_tuple(self.label, "padding", self.padding, 4, 0),
        )

    def check(self, tensors: Tensors) -> None:
        source = tensors[self.input]
        height, width = _window_output(self, self.window, source.shape)
        self._check_output(tensors, (height, width, source.shape[2]))
        _require(
            source.same_quantization(tensors[self.output]),
            f"{self.label}: tensors {self.input!r} and {self.output!r} must have the same scale "
            "and zero point",
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class MaxPool2D(Pool2D):
    """Maximum of the window; padded taps never win."""

    op: ClassVar[str] = "max_pool2d"


@dataclass(frozen=True, eq=False, kw_only=True)
class AveragePool2D(Pool2D):
    """Mean of the window, ties rounded away from zero; padding is not supported yet."""

    op: ClassVar[str] = "average_pool2d"

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(
            not any(self.padding),
            f"{self.label}: padding must be zero in an average pool, not {self.padding}",
        )


NODE_TYPES: dict[str, type[Node]] = {
    kind.op: kind for kind in (Conv2D, FullyConnected, MaxPool2D, AveragePool2D)
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Graph:
    """A network: checked when it is made, then constant.

    Parameters
    ----------
    name : str
        What reports call it.
    tensors : dict of str to Tensor
        Every activation map, by its name.
    nodes : tuple of Node
        In an order in which each node's inputs are ready.
    input, output : str
        The picture's tensor and the answer's.
    labels : tuple of str
        Class names, as many as the output has channels, or none.
    preprocess : (float, float)
        Scale and offset of a raw picture: real value = uint8 · scale + offset.

    Raises
    ------
    GraphError
        With one sentence about the first fault.
    """

    name: str
    tensors: dict[str, Tensor]
    nodes: tuple[Node, ...]
    input: str
    output: str
    labels: tuple[str, ...] = ()
    preprocess: tuple[float, float] = field(default=(1 / 255, 0.0))

    suffix: ClassVar[str] = ".qgraph"
    """Suffix of graph files."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", dict(self.tensors))
        object.__setattr__(self, "nodes", tuple(self.nodes))
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "preprocess", tuple(float(item) for item in self.preprocess))
        self.validate()

    def validate(self) -> None:
        """Raise GraphError with one sentence about the first fault."""
        _require(bool(self.nodes), f"Graph {self.name!r} has no nodes")
        for name, tensor in self.tensors.items():
            _require(tensor.name == name, f"Tensor {tensor.name!r} is entered as {name!r}")
        for role, name in (("input", self.input), ("output", self.output)):
            _require(name in self.tensors, f"The graph's {role} {name!r} is not among its tensors")
        ready = {self.input}
        names: set[str] = set()
        for node in self.nodes:
            _require(node.name not in names, f"Two nodes are named {node.name!r}")
            names.add(node.name)
            for name in (*node.inputs, node.output):
                _require(name in self.tensors, f"{node.label}: there is no tensor {name!r}")
            for name in node.inputs:
                _require(
                    name in ready, f"{node.label}: reads {name!r} before any node has written it"
                )
            _require(node.output not in ready, f"{node.label}: {node.output!r} has a value already")
            node.check(self.tensors)
            ready.add(node.output)
        used = {self.output}.union(*(node.inputs for node in self.nodes))
        for name in self.tensors:
            _require(name in ready, f"Tensor {name!r} is written by no node")
        for name in self.tensors:
            _require(name in used, f"Tensor {name!r} is read by no node and is not the output")
        channels = self.tensors[self.output].shape[2]
        _require(
            not self.labels or len(self.labels) == channels,
            f"{len(self.labels)} labels were given for {channels} output channels",
        )
        _require(
            len(self.preprocess) == 2 and all(math.isfinite(item) for item in self.preprocess),
            f"preprocess must be a finite scale and offset, not {self.preprocess}",
        )

    @property
    def input_tensor(self) -> Tensor:
        """The picture."""
        return self.tensors[self.input]

    @property
    def output_tensor(self) -> Tensor:
        """The answer."""
        return self.tensors[self.output]

    def macs(self, node: Node | None = None) -> int:
        """Nominal multiply-accumulates a picture of ``node``, or of the whole graph."""
        return sum(item.macs(self.tensors) for item in ([node] if node else self.nodes))

    def to_bytes(self) -> bytes:
        """The graph as the bytes of a graph file; equal graphs give equal bytes."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            header: dict[str, Any] = {
                "format": FORMAT,
                "version": FORMAT_VERSION,
                "name": self.name,
                "input": self.input,
                "output": self.output,
                "labels": self.labels,
                "preprocess": self.preprocess,
                "tensors": [
                    {item.name: getattr(tensor, item.name) for item in fields(tensor)}
                    for tensor in self.tensors.values()
                ],
                "nodes": [],
            }
            for index, node in enumerate(self.nodes):
                record: dict[str, Any] = {"op": node.op}
                for item in fields(node):
                    value = getattr(node, item.name)
                    if isinstance(value, np.ndarray):
                        member = f"{index}.{item.name}.npy"
                        _write_member(archive, member, _npy(value))
                        value = {"array": member}
                    record[item.name] = value
                header["nodes"].append(record)
            _write_member(archive, HEADER_MEMBER, json.dumps(header, indent=1).encode())
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Graph:
        """The graph in ``data``; GraphError when it is damaged, foreign or of another version."""
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = {name: archive.read(name) for name in archive.namelist()}
            header = json.loads(members[HEADER_MEMBER])
            known = header["format"] == FORMAT
        except Exception:
            # zipfile, its decompressors and json raise many types; each says the same to a user.
            known = False
        _require(known, "This is not a quantised graph, or it is damaged")
        _require(
            header["version"] == FORMAT_VERSION,
            f"The quantised graph has format version {header['version']}, this release reads "
            f"{FORMAT_VERSION}",
        )
        try:
            return cls(
                name=header["name"],
                tensors={item["name"]: Tensor(**item) for item in header["tensors"]},
                nodes=tuple(_nodes(header["nodes"], members)),
                input=header["input"],
                output=header["output"],
                labels=header["labels"],
                preprocess=header["preprocess"],
            )
        except GraphError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise GraphError(f"The quantised graph is damaged: {error!r}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the graph to ``path``: the whole file or, when that fails, nothing."""
        path = Path(path)
        data = self.to_bytes()
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            part.write_bytes(data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Graph:
        """The graph in the file ``path``.

        Raises OSError when the file cannot be read and GraphError when it holds no valid graph.
        """
        data = Path(path).read_bytes()
        try:
            return cls.from_bytes(data)
        except GraphError as error:
            raise GraphError(f"{path}: {error}") from error


def _npy(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _write_member(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, FIXED_DATE)
    archive.writestr(info, data, zipfile.ZIP_DEFLATED)


def _nodes(records: list[dict[str, Any]], members: Mapping[str, bytes]) -> Iterator[Node]:
    for record in records:
        values = dict(record)
        op = values.pop("op")
        _require(op in NODE_TYPES, f"The quantised graph holds an unknown operation, {op!r}")
        for name, value in values.items():
            if isinstance(value, dict):
                stream = io.BytesIO(members[value["array"]])
                values[name] = np.lib.format.read_array(stream, allow_pickle=False)
        yield NODE_TYPES[op](**values)


def quantize(values: Array, scale: float, zero_point: int) -> Array:
    """Real ``values`` as int8: divided by ``scale`` in float32, ties away from zero, saturated.

    A driver does the same with the scale and zero point of its program's manifest.  NaN is a
    ValueError.
    """
    with np.errstate(over="ignore"):  # what overflows is infinite, and saturates
        steps = np.asarray(values, dtype=np.float32) / np.float32(scale)
    if np.isnan(steps).any():
        raise ValueError("Values to quantise must be numbers, not NaN")
    steps = np.clip(steps, -1024, 1024)  # far outside int8: keeps infinities out of what follows
    whole = np.trunc(steps)
    rounded = whole + np.copysign(np.abs(steps - whole) >= 0.5, steps)
    quantized: Array = np.clip(rounded + zero_point, INT8_MIN, INT8_MAX).astype(np.int8)
    return quantized


def quantize_input(graph: Graph, pictures: Array) -> Array:
    """User pictures as the graph's input, int8 [N, H, W, C].

    Parameters
    ----------
    graph : Graph
        Whose input is wanted.
    pictures : array [N, H, W, C], or [N, H, W] where C is 1
        uint8: raw pictures, made real with ``graph.preprocess``; floating: real numbers already;
        int8: quantised already.

    Raises
    ------
    ValueError
        When the shape is not the graph's.
    TypeError
        When the type is none of the three.
    """
    pictures = np.asarray(pictures)
    tensor = graph.input_tensor
    if pictures.ndim == 3 and tensor.shape[2] == 1:
        pictures = pictures[..., np.newaxis]
    if pictures.ndim != 4 or pictures.shape[1:] != tensor.shape:
        raise ValueError(
            f"Pictures must have the shape N × {' × '.join(map(str, tensor.shape))}, "
            f"not {' × '.join(map(str, pictures.shape))}"
        )
    if pictures.dtype == np.int8:
        return pictures
    if pictures.dtype == np.uint8:
        scale, offset = graph.preprocess
        levels = quantize(np.arange(256) * scale + offset, tensor.scale, tensor.zero_point)
        quantized: Array = levels[pictures]
        return quantized
    if pictures.dtype.kind == "f":
        return quantize(pictures, tensor.scale, tensor.zero_point)
    raise TypeError(f"Pictures must be uint8, int8 or floating, not {pictures.dtype}")

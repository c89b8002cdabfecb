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
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from eyas.interfaces.vision.limits import SOFTMAX_CLASSES as SOFTMAX_CLASSES_MAX
from models.vision.node import (
    INT8_MAX,
    INT8_MIN,
    Array,
    GraphError,
    Node,
    Tensor,
    int_tuple,
    require,
)
from models.vision.nodes import Add, AveragePool2D, MaxPool2D, Mean, Pad, Pool2D, Requantize
from models.vision.weighted_nodes import Conv2D, DepthwiseConv2D, FullyConnected

__all__ = [
    "NODE_TYPES",
    "SOFTMAX_CLASSES_MAX",
    "SOFTMAX_SCALE",
    "SOFTMAX_ZERO_POINT",
    "Add",
    "AveragePool2D",
    "Conv2D",
    "DepthwiseConv2D",
    "FullyConnected",
    "Graph",
    "GraphError",
    "MaxPool2D",
    "Mean",
    "Node",
    "Pad",
    "Pool2D",
    "Requantize",
    "Tensor",
    "quantize",
    "quantize_input",
]

FORMAT = "eyas-quantised-graph"
FORMAT_VERSION = 2
HEADER_MEMBER = "graph.json"
FIXED_DATE = (1980, 1, 1, 0, 0, 0)  # the same graph gives the same bytes, whenever it is saved
SOFTMAX_SCALE, SOFTMAX_ZERO_POINT = 1 / 256, -128  # the only ones that TFLite's int8 softmax has

NODE_TYPES: dict[str, type[Node]] = {
    kind.op: kind
    for kind in (
        Conv2D,
        DepthwiseConv2D,
        FullyConnected,
        MaxPool2D,
        AveragePool2D,
        Add,
        Pad,
        Requantize,
        Mean,
    )
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
    softmax : Tensor or None
        Where the network ends in a softmax, the probabilities: shape of the output, scale 1/256,
        zero point −128.  ``output`` stays the logits, which are what the engine computes.
    softmax_beta : float
        The softmax's beta, a positive float32 number: the logits' factor.
    declared_shape : tuple of int or None
        The shape that the network's own file gives one picture, where that is not the input
        tensor's: the same values in the same order.  Pictures may have either.

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
    softmax: Tensor | None = None
    softmax_beta: float = 1.0
    declared_shape: tuple[int, ...] | None = None

    suffix: ClassVar[str] = ".qgraph"
    """Suffix of graph files."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", dict(self.tensors))
        object.__setattr__(self, "nodes", tuple(self.nodes))
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "preprocess", tuple(float(item) for item in self.preprocess))
        with np.errstate(over="ignore", under="ignore"):
            object.__setattr__(self, "softmax_beta", float(np.float32(self.softmax_beta)))
        self.validate()

    def validate(self) -> None:
        """Raise GraphError with one sentence about the first fault."""
        require(bool(self.nodes), f"Graph {self.name!r} has no nodes")
        for name, tensor in self.tensors.items():
            require(tensor.name == name, f"Tensor {tensor.name!r} is entered as {name!r}")
        for role, name in (("input", self.input), ("output", self.output)):
            require(name in self.tensors, f"The graph's {role} {name!r} is not among its tensors")
        ready = {self.input}
        names: set[str] = set()
        for node in self.nodes:
            require(node.name not in names, f"Two nodes are named {node.name!r}")
            names.add(node.name)
            for name in (*node.inputs, node.output):
                require(name in self.tensors, f"{node.label}: there is no tensor {name!r}")
            for name in node.inputs:
                require(
                    name in ready, f"{node.label}: reads {name!r} before any node has written it"
                )
            require(node.output not in ready, f"{node.label}: {node.output!r} has a value already")
            node.check(self.tensors)
            ready.add(node.output)
        used = {self.output}.union(*(node.inputs for node in self.nodes))
        for name in self.tensors:
            require(name in ready, f"Tensor {name!r} is written by no node")
        for name in self.tensors:
            require(name in used, f"Tensor {name!r} is read by no node and is not the output")
        channels = self.tensors[self.output].shape[2]
        require(
            not self.labels or len(self.labels) == channels,
            f"{len(self.labels)} labels were given for {channels} output channels",
        )
        require(
            len(self.preprocess) == 2 and all(math.isfinite(item) for item in self.preprocess),
            f"preprocess must be a finite scale and offset, not {self.preprocess}",
        )
        if self.softmax is not None:
            self._check_softmax(self.softmax)
        if self.declared_shape is not None:
            shape = self.declared_shape
            declared = int_tuple("The graph", "declared_shape", shape, len(tuple(shape)), 1)
            object.__setattr__(self, "declared_shape", declared)
            require(
                math.prod(declared) == self.input_tensor.size,
                f"declared_shape {declared} must hold {self.input_tensor.size} values, as the "
                f"input of shape {self.input_tensor.shape}",
            )

    def _check_softmax(self, tensor: Tensor) -> None:
        logits = self.output_tensor
        require(
            tensor.name not in self.tensors,
            f"The softmax's tensor {tensor.name!r} is written by a node as well",
        )
        require(
            tensor.shape == logits.shape and logits.shape[:2] == (1, 1),
            f"A softmax needs a vector: the output has shape {logits.shape}, the probabilities "
            f"{tensor.shape}",
        )
        require(
            (tensor.scale, tensor.zero_point) == (SOFTMAX_SCALE, SOFTMAX_ZERO_POINT),
            "The softmax's probabilities must have scale 1/256 and zero point -128, not "
            f"{tensor.scale} and {tensor.zero_point}",
        )
        require(
            math.isfinite(self.softmax_beta) and logits.scale * self.softmax_beta > 2**-26,
            f"softmax_beta times the output's scale must be finite and more than 2^-26, not "
            f"{self.softmax_beta} · {logits.scale}",
        )
        require(
            logits.shape[2] <= SOFTMAX_CLASSES_MAX,
            f"A softmax has at most {SOFTMAX_CLASSES_MAX} classes, not {logits.shape[2]}",
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
                "softmax": None if self.softmax is None else asdict(self.softmax),
                "softmax_beta": self.softmax_beta,
                "tensors": [asdict(tensor) for tensor in self.tensors.values()],
                "nodes": [],
            }
            if self.declared_shape is not None:
                header["declared_shape"] = self.declared_shape
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
        require(known, "This is not a quantised graph, or it is damaged")
        require(
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
                softmax=None if header["softmax"] is None else Tensor(**header["softmax"]),
                softmax_beta=header["softmax_beta"],
                declared_shape=header.get("declared_shape"),
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
        require(op in NODE_TYPES, f"The quantised graph holds an unknown operation, {op!r}")
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
    pictures : array [N, H, W, C], or [N, H, W] where C is 1, or [N, *graph.declared_shape]
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
    if graph.declared_shape is not None and pictures.shape[1:] == graph.declared_shape:
        pictures = pictures.reshape(len(pictures), *tensor.shape)
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

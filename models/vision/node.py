"""What a quantised graph is made of: tensors, checks, the base class of nodes.  NumPy only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

__all__ = [
    "INT8_MAX",
    "INT8_MIN",
    "MAX_MULTIPLIER",
    "Array",
    "GraphError",
    "Node",
    "ShapeError",
    "Tensor",
    "Tensors",
    "WindowNode",
    "int8",
    "int_tuple",
    "integers",
    "require",
    "window_output",
]

INT8_MIN, INT8_MAX = -128, 127
MAX_MULTIPLIER = float(1 << 30)
"""Multipliers of a requantisation are less than this."""

Tensors = Mapping[str, "Tensor"]
Array = npt.NDArray[Any]


class GraphError(ValueError):
    """A graph, or the file of one, is not valid; the message is one sentence."""


class ShapeError(GraphError):
    """A node gives another shape than its output tensor has.

    Parameters
    ----------
    message : str
        One sentence.
    expected : (int, int, int)
        The shape that the node gives.
    """

    def __init__(self, message: str, expected: tuple[int, ...]) -> None:
        super().__init__(message)
        self.expected = expected


def require(condition: bool, message: str) -> None:
    if not condition:
        raise GraphError(message)


def integers(owner: str, name: str, value: Any, dtype: npt.DTypeLike, ndim: int) -> Array:
    """A read-only copy of ``value`` as ``dtype``; GraphError when a value does not fit."""
    array = np.asarray(value)
    info = np.iinfo(np.dtype(dtype))
    require(array.dtype.kind in "iu", f"{owner}: {name} must be integers, not {array.dtype}")
    require(array.ndim == ndim, f"{owner}: {name} must have {ndim} dimensions, not {array.ndim}")
    require(
        array.size == 0 or (int(array.min()) >= info.min and int(array.max()) <= info.max),
        f"{owner}: {name} must fit in {info.dtype}",
    )
    array = array.astype(dtype)  # always a copy
    array.flags.writeable = False
    return array


def int_tuple(owner: str, name: str, value: Any, length: int, least: int) -> tuple[int, ...]:
    try:
        items = tuple(value)
    except TypeError:
        items = ()
    require(
        len(items) == length
        and all(
            isinstance(item, (int, np.integer)) and not isinstance(item, bool) and item >= least
            for item in items
        ),
        f"{owner}: {name} must be {length} integers of at least {least}, not {value!r}",
    )
    return tuple(int(item) for item in items)


def int8(owner: str, name: str, value: Any) -> int:
    require(
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
        require(isinstance(self.name, str) and self.name != "", "A tensor needs a name")
        object.__setattr__(self, "shape", int_tuple(owner, "shape", self.shape, 3, 1))
        with np.errstate(over="ignore", under="ignore"):
            scale = float(np.float32(self.scale))
        require(
            math.isfinite(scale) and scale > 0,
            f"{owner}: scale must be a positive finite float32, not {self.scale!r}",
        )
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "zero_point", int8(owner, "zero_point", self.zero_point))

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
        require(isinstance(self.name, str) and self.name != "", "A node needs a name")
        low = int8(self.label, "activation_min", self.activation_min)
        high = int8(self.label, "activation_max", self.activation_max)
        require(low <= high, f"{self.label}: activation_min {low} is above activation_max {high}")

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

    def set_checked(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def check_output(self, tensors: Tensors, expected: tuple[int, ...]) -> None:
        actual = tensors[self.output].shape
        if actual != expected:
            raise ShapeError(
                f"{self.label}: gives shape {expected}, but tensor {self.output!r} has {actual}",
                expected,
            )


class WindowNode(Protocol):
    """A node whose output pixels each come from a window of its input."""

    @property
    def label(self) -> str: ...
    @property
    def window(self) -> tuple[int, int]: ...
    @property
    def stride(self) -> tuple[int, int]: ...
    @property
    def padding(self) -> tuple[int, int, int, int]: ...


def window_output(node: WindowNode, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Height and width of the output of a sliding window over a map of ``shape``.

    Raises GraphError when the padding holds a whole window, or the padded map none.
    """
    top, bottom, left, right = node.padding
    window = node.window
    require(
        max(top, bottom) < window[0] and max(left, right) < window[1],
        f"{node.label}: padding {node.padding} must be smaller than the window {window}",
    )
    height, width = shape[0] + top + bottom - window[0], shape[1] + left + right - window[1]
    require(
        height >= 0 and width >= 0,
        f"{node.label}: window {window} is larger than its padded input of "
        f"{shape[0] + top + bottom} × {shape[1] + left + right}",
    )
    return height // node.stride[0] + 1, width // node.stride[1] + 1

"""Nodes without weights: pools, add, pad, requantise, mean.  NumPy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from models.vision.node import (
    INT8_MAX,
    INT8_MIN,
    MAX_MULTIPLIER,
    Node,
    Tensors,
    int_tuple,
    require,
    window_output,
)

__all__ = ["Add", "AveragePool2D", "MaxPool2D", "Mean", "Pad", "Pool2D", "Requantize"]

ADD_LEFT_SHIFT = 20
"""Bits that TFLite's int8 addition gains before it rescales its inputs."""


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
        self.set_checked(
            window=int_tuple(self.label, "window", self.window, 2, 1),
            stride=int_tuple(self.label, "stride", self.stride, 2, 1),
            padding=int_tuple(self.label, "padding", self.padding, 4, 0),
        )

    def check(self, tensors: Tensors) -> None:
        source = tensors[self.input]
        height, width = window_output(self, source.shape)
        self.check_output(tensors, (height, width, source.shape[2]))
        _check_same_quantization(self, tensors)


@dataclass(frozen=True, eq=False, kw_only=True)
class MaxPool2D(Pool2D):
    """Maximum of the window; padded taps never win."""

    op: ClassVar[str] = "max_pool2d"


@dataclass(frozen=True, eq=False, kw_only=True)
class AveragePool2D(Pool2D):
    """Mean of the window's taps inside the map, ties rounded away from zero.

    Padded taps count neither in the sum nor in the divisor.
    """

    op: ClassVar[str] = "average_pool2d"


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(Node):
    """Sum of two maps of one shape, each with its own scale and zero point.

    As TFLite has it: both inputs are rescaled to twice the greater scale with 20 more bits and
    rounded, added, and rescaled to the output (:func:`models.vision.reference.run` has the steps).

    Parameters
    ----------
    other : str
        The second input's tensor; it may be the first one again.
    """

    other: str

    op: ClassVar[str] = "add"

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input, self.other)

    def check(self, tensors: Tensors) -> None:
        first, second = tensors[self.input], tensors[self.other]
        require(
            first.shape == second.shape,
            f"{self.label}: tensors {self.input!r} and {self.other!r} must have the same shape, "
            f"not {first.shape} and {second.shape}",
        )
        self.check_output(tensors, first.shape)
        output_multiplier = 2 * max(first.scale, second.scale) / tensors[self.output].scale
        require(
            output_multiplier < (1 << ADD_LEFT_SHIFT) * (1 - 2**-32),
            f"{self.label}: the greater input scale / output scale must be less than 2^19",
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Pad(Node):
    """The map with margins of its zero point; input and output have the same scale and zero point.

    Parameters
    ----------
    padding : (int, int, int, int)
        Top, bottom, left, right.
    """

    padding: tuple[int, int, int, int]

    op: ClassVar[str] = "pad"

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_activation(self)
        self.set_checked(padding=int_tuple(self.label, "padding", self.padding, 4, 0))

    def check(self, tensors: Tensors) -> None:
        height, width, channels = tensors[self.input].shape
        top, bottom, left, right = self.padding
        self.check_output(tensors, (height + top + bottom, width + left + right, channels))
        _check_same_quantization(self, tensors)


@dataclass(frozen=True, eq=False, kw_only=True)
class Requantize(Node):
    """The same real values with another scale and zero point, clamped to the activation's range.

    Standalone RELU, RELU6, RELU_N1_TO_1 and int8 QUANTIZE.  q − zero_point is multiplied by
    :meth:`ratio` and rounded twice, as :class:`Conv2D`'s accumulator is.

    Parameters
    ----------
    float32_ratio : bool
        Whether the ratio of the scales is itself a float32, as in LiteRT's RELU kernels, or a
        float64, as in its QUANTIZE.  They differ where rounding to float32 makes a tie.
    """

    float32_ratio: bool = False

    op: ClassVar[str] = "requantize"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            isinstance(self.float32_ratio, bool),
            f"{self.label}: float32_ratio must be True or False, not {self.float32_ratio!r}",
        )

    def ratio(self, tensors: Tensors) -> float:
        """Input scale / output scale, as exact as the kernel has it."""
        source, target = tensors[self.input].scale, tensors[self.output].scale
        if not self.float32_ratio:
            return source / target
        with np.errstate(over="ignore", under="ignore"):
            return float(np.float32(source) / np.float32(target))

    def check(self, tensors: Tensors) -> None:
        self.check_output(tensors, tensors[self.input].shape)
        _check_ratio(self, tensors)


@dataclass(frozen=True, eq=False, kw_only=True)
class Mean(Node):
    """Mean of each channel over height and width, with a scale and zero point of its own.

    The channel's sum Σ (q − zero_point) is multiplied by the ratio of the scales over the number
    of pixels, and rounded twice (:func:`models.vision.arithmetic.mean_multiplier`).
    """

    op: ClassVar[str] = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_activation(self)

    def check(self, tensors: Tensors) -> None:
        self.check_output(tensors, (1, 1, tensors[self.input].shape[2]))
        _check_ratio(self, tensors)


def _refuse_activation(node: Node) -> None:
    require(
        (node.activation_min, node.activation_max) == (INT8_MIN, INT8_MAX),
        f"{node.label}: has no activation, so its range must be {INT8_MIN} to {INT8_MAX}",
    )


def _check_same_quantization(node: Node, tensors: Tensors) -> None:
    """GraphError unless input and output have one scale and zero point."""
    require(
        tensors[node.input].same_quantization(tensors[node.output]),
        f"{node.label}: tensors {node.input!r} and {node.output!r} must have the same scale "
        "and zero point",
    )


def _check_ratio(node: Node, tensors: Tensors) -> None:
    require(
        tensors[node.input].scale / tensors[node.output].scale < MAX_MULTIPLIER,
        f"{node.label}: input scale / output scale must be less than 2^30",
    )

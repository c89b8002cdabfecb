"""Nodes with weights: convolution, depthwise convolution, fully connected.  NumPy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from models.vision.node import (
    MAX_MULTIPLIER,
    Array,
    Node,
    Tensors,
    int_tuple,
    integers,
    require,
    window_output,
)

__all__ = ["Conv2D", "Convolution", "DepthwiseConv2D", "FullyConnected", "WeightedNode"]


@dataclass(frozen=True, eq=False, kw_only=True)
class WeightedNode(Node):
    """A node that multiplies by weights, adds a bias and requantises.

    Parameters
    ----------
    weights : int8 array, the output channel first
        Symmetric: the real value is ``weight_scales[o] · weights[o]``.
    bias : int32 array [O]
        In steps of the accumulator, ``input.scale · weight_scales[o]``.
    weight_scales : float32 array [O]
        One an output channel, positive or 0: the sums of a channel whose scale is 0 all become the
        output's zero point.  Where TFLite has one for all channels, it is repeated.
    """

    weights: Array
    bias: Array
    weight_scales: Array

    weight_dimensions: ClassVar[int]

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = integers(self.label, "weights", self.weights, np.int8, self.weight_dimensions)
        require(weights.size > 0, f"{self.label}: weights of shape {weights.shape} are empty")
        channels = len(weights)
        bias = integers(self.label, "bias", self.bias, np.int32, 1)
        require(
            len(bias) == channels,
            f"{self.label}: {channels} output channels, but {len(bias)} biases",
        )
        with np.errstate(over="ignore", under="ignore"):
            scales = np.array(self.weight_scales, dtype=np.float32)
        require(
            scales.shape == (channels,),
            f"{self.label}: weight_scales must have the shape ({channels},), not {scales.shape}",
        )
        require(
            bool(np.all(np.isfinite(scales)) and np.all(scales >= 0)),
            f"{self.label}: weight_scales must be finite float32 numbers of 0 or more",
        )
        scales.flags.writeable = False
        self.set_checked(weights=weights, bias=bias, weight_scales=scales)

    def check_multipliers(self, tensors: Tensors) -> None:
        """No step of the accumulator may be absurdly larger than one of the output."""
        steps = tensors[self.input].scale * self.weight_scales.astype(np.float64)
        require(
            bool(np.all(steps / tensors[self.output].scale < MAX_MULTIPLIER)),
            f"{self.label}: input scale · weight scale / output scale must be less than 2^30",
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Convolution(WeightedNode):
    """What both convolutions share: a kernel, weights [O, KH, KW, …], that slides over the map.

    Padded taps read as the input's zero point.  The accumulator Σ (q − zero_point) · weight + bias
    is an int32 that wraps; its real value is ``input.scale · weight_scales[o]`` a step.  It is
    requantised by a 31-bit multiplier and a shift, and rounded twice
    (:func:`models.vision.arithmetic.multiply_by_quantized_multiplier`).

    Parameters
    ----------
    stride : (int, int)
        Rows and columns from one output pixel to the next.
    padding : (int, int, int, int)
        Top, bottom, left, right; smaller than the kernel.
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.set_checked(
            stride=int_tuple(self.label, "stride", self.stride, 2, 1),
            padding=int_tuple(self.label, "padding", self.padding, 4, 0),
        )

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of the kernel."""
        return self.weights.shape[1], self.weights.shape[2]

    def check_channels(self, tensors: Tensors) -> None:
        """Raise GraphError when the weights are for another number of input channels."""
        raise NotImplementedError

    def check(self, tensors: Tensors) -> None:
        self.check_channels(tensors)
        height, width = window_output(self, tensors[self.input].shape)
        self.check_output(tensors, (height, width, len(self.weights)))
        self.check_multipliers(tensors)

    def macs(self, tensors: Tensors) -> int:
        height, width, _ = tensors[self.output].shape
        return height * width * self.weights.size


@dataclass(frozen=True, eq=False, kw_only=True)
class Conv2D(Convolution):
    """Convolution over all input channels.

    Parameters
    ----------
    weights : int8 array [O, KH, KW, I]
    """

    op: ClassVar[str] = "conv2d"
    weight_dimensions: ClassVar[int] = 4

    def check_channels(self, tensors: Tensors) -> None:
        channels = tensors[self.input].shape[2]
        require(
            self.weights.shape[3] == channels,
            f"{self.label}: weights for {self.weights.shape[3]} input channels, but tensor "
            f"{self.input!r} has {channels}",
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class DepthwiseConv2D(Convolution):
    """A convolution of each channel by itself: output channel o reads input o // multiplier.

    Parameters
    ----------
    weights : int8 array [O, KH, KW]
    multiplier : int
        Output channels for each input channel.
    """

    multiplier: int = 1

    op: ClassVar[str] = "depthwise_conv2d"
    weight_dimensions: ClassVar[int] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        (multiplier,) = int_tuple(self.label, "multiplier", (self.multiplier,), 1, 1)
        self.set_checked(multiplier=multiplier)

    def check_channels(self, tensors: Tensors) -> None:
        channels = tensors[self.input].shape[2]
        require(
            len(self.weights) == channels * self.multiplier,
            f"{self.label}: weights for {len(self.weights)} output channels, but tensor "
            f"{self.input!r} has {channels} channels and the multiplier is {self.multiplier}",
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class FullyConnected(WeightedNode):
    """Every output from every input value, the map flattened in height, width, channel order.

    The accumulator is :class:`Conv2D`'s, the rounding is not: as LiteRT's reference kernel (2.3)
    has it, the accumulator is multiplied by ``input.scale · weight_scales[o] / output.scale`` in
    float64 and rounded once, halves away from zero.  A convolution rounds twice and differs near
    ties, in about one value of 500.  Where LiteRT's conversion to int32 would be undefined, the
    value saturates.

    Parameters
    ----------
    weights : int8 array [O, H·W·C]
    """

    op: ClassVar[str] = "fully_connected"
    weight_dimensions: ClassVar[int] = 2

    def check(self, tensors: Tensors) -> None:
        size = tensors[self.input].size
        require(
            self.weights.shape[1] == size,
            f"{self.label}: weights for {self.weights.shape[1]} inputs, but tensor "
            f"{self.input!r} has {size} values",
        )
        self.check_output(tensors, (1, 1, len(self.weights)))
        self.check_multipliers(tensors)

    def macs(self, tensors: Tensors) -> int:
        return self.weights.size

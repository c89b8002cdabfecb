"""Writes ``.tflite`` files with random weights: the published networks' shapes, and small ones.

A network is built in float, operator by operator, on a few random pictures that go along; each
output's range over them gives its scale and zero point, as a converter's calibration does. So
activations spread over the int8 range whatever the network, and nobody's weights are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import Tensor
from torch.nn import functional

from tests.models.tflite_writer import TfliteWriter, same_padding

__all__ = ["NETWORKS", "TfliteBuilder", "Value", "kws", "random_network", "resnet8", "vww"]

PICTURES = 4
"""Random pictures that the ranges are taken from."""


@dataclass(frozen=True)
class Value:
    """An activation: the file's tensor, what it is in float [N, H, W, C], and its quantisation."""

    number: int
    real: Tensor
    scale: float
    zero_point: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width, channels."""
        return tuple(self.real.shape[1:])


class TfliteBuilder:
    """One network in the making; operators take and give values, :meth:`finish` gives the file.

    Parameters
    ----------
    seed : int
        Of weights and pictures: the same one gives the same bytes.
    narrow : float
        Share of an activation's range that its int8 values cover; below 1 some saturate.
    """

    def __init__(self, seed: int, narrow: float = 1.0) -> None:
        self.rng = np.random.default_rng(seed)
        self.narrow = narrow
        self.writer = TfliteWriter()
        self._count = 0

    def input(self, shape: Sequence[int], scale: float, zero_point: int) -> Value:
        """The picture, [H, W, C]."""
        quantised = self.rng.integers(-128, 128, (PICTURES, *shape))
        number = self.writer.tensor("picture", (1, *shape), scale, zero_point)
        real = torch.from_numpy((quantised - zero_point) * scale).float()
        self._input = Value(number, real, scale, zero_point)
        return self._input

    def conv(
        self, x: Value, channels: int, kernel: tuple[int, int], stride: int | tuple[int, int] = 1,
        padding: str = "SAME", activation: str = "NONE",
    ) -> Value:  # fmt: skip
        """CONV_2D, one weight scale a channel."""
        weights = self._random(channels, *kernel, x.shape[2])
        return self._convolution("CONV_2D", x, weights, 1, stride, padding, activation)

    def depthwise(
        self, x: Value, kernel: tuple[int, int], stride: int | tuple[int, int] = 1,
        padding: str = "SAME", activation: str = "NONE", multiplier: int = 1,
    ) -> Value:  # fmt: skip
        """DEPTHWISE_CONV_2D, one weight scale a channel."""
        weights = self._random(x.shape[2] * multiplier, *kernel, 1)
        return self._convolution(
            "DEPTHWISE_CONV_2D", x, weights, x.shape[2], stride, padding, activation,
            DepthMultiplier=multiplier,
        )  # fmt: skip

    def _convolution(
        self, code: str, x: Value, weights: Tensor, groups: int, stride: int | tuple[int, int],
        padding: str, activation: str, **options: Any,
    ) -> Value:  # fmt: skip
        strides = (stride, stride) if isinstance(stride, int) else stride
        maps = _padded(x.real, weights.shape[1:3], strides, padding, 0.0).permute(0, 3, 1, 2)

        def linear(kernels: Tensor) -> Tensor:
            result = functional.conv2d(
                maps, kernels.permute(0, 3, 1, 2), stride=strides, groups=groups
            )
            return result.permute(0, 2, 3, 1)

        weights, bias = self._normalised(linear, weights)
        scales = _weight_scales(weights, per_channel=True)
        depthwise = code == "DEPTHWISE_CONV_2D"
        output = self._output(code, _activated(linear(weights) + bias, activation), activation)
        self.writer.operator(
            code,
            [x.number, *self._constants(x, weights, bias, scales, transposed=depthwise)],
            [output.number],
            "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions",
            padding=getattr(schema.Padding, padding),
            strideH=strides[0],
            strideW=strides[1],
            fusedActivationFunction=getattr(schema.ActivationFunctionType, activation),
            **{key[0].lower() + key[1:]: value for key, value in options.items()},
        )
        return output

    def dense(self, x: Value, channels: int, activation: str = "NONE") -> Value:
        """FULLY_CONNECTED, one weight scale for all, as converters have it; gives a vector."""
        rows = x.real.flatten(1)
        weights, bias = self._normalised(
            lambda kernels: rows @ kernels.T, self._random(channels, rows.shape[1])
        )
        scales = _weight_scales(weights, per_channel=False)
        real = _activated(rows @ weights.T + bias, activation)[:, None, None, :]
        output = self._output("FULLY_CONNECTED", real, activation, vector=True)
        self.writer.operator(
            "FULLY_CONNECTED",
            [x.number, *self._constants(x, weights, bias, scales)],
            [output.number],
            "FullyConnectedOptions",
            fusedActivationFunction=getattr(schema.ActivationFunctionType, activation),
        )
        return output

    def add(self, x: Value, y: Value, activation: str = "NONE") -> Value:
        """ADD of two maps."""
        output = self._output("ADD", _activated(x.real + y.real, activation), activation)
        self.writer.operator(
            "ADD", [x.number, y.number], [output.number], "AddOptions",
            fusedActivationFunction=getattr(schema.ActivationFunctionType, activation),
        )  # fmt: skip
        return output

    def pool(
        self, x: Value, kind: str, window: tuple[int, int],
        stride: tuple[int, int] | None = None, padding: str = "VALID",
    ) -> Value:  # fmt: skip
        """MAX_POOL_2D or AVERAGE_POOL_2D; the stride is the window by default."""
        stride = stride or window
        missing = float("-inf") if kind == "MAX_POOL_2D" else float("nan")
        maps = _padded(x.real, window, stride, padding, missing)
        windows = maps.unfold(1, window[0], stride[0]).unfold(2, window[1], stride[1]).flatten(4)
        real = windows.amax(-1) if kind == "MAX_POOL_2D" else windows.nanmean(-1)
        output = self._same(kind, x, real)
        self.writer.operator(
            kind, [x.number], [output.number], "Pool2DOptions",
            padding=getattr(schema.Padding, padding), strideH=stride[0], strideW=stride[1],
            filterHeight=window[0], filterWidth=window[1],
        )  # fmt: skip
        return output

    def mean(self, x: Value) -> Value:
        """MEAN over height and width."""
        axes = self._constant("axes", np.array([1, 2], np.int32))
        output = self._output("MEAN", x.real.mean((1, 2), keepdim=True), "NONE")
        self.writer.operator(
            "MEAN", [x.number, axes], [output.number], "ReducerOptions", keepDims=True
        )
        return output

    def pad(self, x: Value, padding: tuple[int, int, int, int]) -> Value:
        """PAD by top, bottom, left, right."""
        top, bottom, left, right = padding
        amounts = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        output = self._same("PAD", x, functional.pad(x.real, (0, 0, left, right, top, bottom)))
        self.writer.operator(
            "PAD", [x.number, self._constant("amounts", amounts)], [output.number], "PadOptions"
        )
        return output

    def relu(self, x: Value, activation: str) -> Value:
        """RELU, RELU6 or RELU_N1_TO_1 by itself."""
        output = self._output(activation, _activated(x.real, activation), activation)
        self.writer.operator(activation, [x.number], [output.number], "NONE")
        return output

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """RESHAPE to the file's ``shape``, batch in front."""
        wanted = self._constant("shape", np.array(shape, np.int32))
        number = self.writer.tensor(self._name("RESHAPE"), shape, x.scale, x.zero_point)
        self.writer.operator("RESHAPE", [x.number, wanted], [number], "NONE")
        sizes = tuple(shape[1:]) if len(shape) == 4 else (1, 1, int(np.prod(shape[1:])))
        return Value(number, x.real.reshape(PICTURES, *sizes), x.scale, x.zero_point)

    def softmax(self, x: Value, beta: float = 1.0) -> Value:
        """SOFTMAX of a vector."""
        number = self.writer.tensor("probabilities", (1, x.shape[2]), 1 / 256, -128)
        self.writer.operator("SOFTMAX", [x.number], [number], "SoftmaxOptions", beta=beta)
        return Value(number, x.real.softmax(-1), 1 / 256, -128)

    def finish(self, output: Value) -> bytes:
        """The file's bytes."""
        return self.writer.finish([self._input.number], [output.number])

    def _random(self, *shape: int) -> Tensor:
        weights = torch.from_numpy(self.rng.standard_normal(shape)).float()
        return weights / np.sqrt(np.prod(shape[1:]))

    def _normalised(
        self, linear: Callable[[Tensor], Tensor], weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Weights and biases that give every channel a deviation of about 1 and some mean."""
        values = linear(weights).flatten(0, -2)
        deviation = values.std(0).clamp(min=1e-3 * float(values.abs().max()) + 1e-12)
        gain = torch.from_numpy(self.rng.uniform(0.5, 1.5, len(weights))).float() / deviation
        shift = torch.from_numpy(self.rng.uniform(-0.5, 0.5, len(weights))).float()
        return weights * gain.reshape(-1, *[1] * (weights.ndim - 1)), shift - values.mean(0) * gain

    def _output(self, code: str, real: Tensor, activation: str, *, vector: bool = False) -> Value:
        """A new tensor whose scale and zero point represent ``real``'s range."""
        low, high = min(0.0, float(real.min())), max(0.0, float(real.max()))
        low, high = low * self.narrow, high * self.narrow
        scale = float(np.float32(max(high - low, 1e-6) / 255))
        zero_point = int(np.clip(np.rint(-128 - low / scale), -128, 127))
        shape = (1, real.shape[3]) if vector else (1, *real.shape[1:])
        number = self.writer.tensor(self._name(code), shape, scale, zero_point)
        return Value(number, real, scale, zero_point)

    def _same(self, code: str, x: Value, real: Tensor) -> Value:
        """A new tensor with the scale and zero point of ``x``."""
        number = self.writer.tensor(
            self._name(code), (1, *real.shape[1:]), x.scale, x.zero_point
        )  # fmt: skip
        return Value(number, real, x.scale, x.zero_point)

    def _constants(
        self, x: Value, weights: Tensor, bias: Tensor, scales: np.ndarray, *,
        transposed: bool = False,
    ) -> tuple[int, int]:  # fmt: skip
        """The weight and the bias tensors."""
        steps = weights.numpy() / scales.reshape(-1, *[1] * (weights.ndim - 1))
        quantised = np.clip(np.rint(steps), -127, 127).astype(np.int8)
        if transposed:  # O × KH × KW × 1 to 1 × KH × KW × O
            quantised = quantised.transpose(3, 1, 2, 0)
        bias_scales = np.float32(x.scale) * scales
        biases = np.clip(np.rint(bias.numpy() / bias_scales), -(2**31), 2**31 - 1)
        return (
            self.writer.tensor(
                self._name("weights"), quantised.shape, scales, data=quantised,
                channel_dimension=3 if transposed else 0,
            ),
            self.writer.tensor(
                self._name("bias"), bias.shape, bias_scales, dtype="INT32",
                data=biases.astype(np.int32),
            ),
        )  # fmt: skip

    def _constant(self, name: str, values: np.ndarray) -> int:
        return self.writer.tensor(self._name(name), values.shape, dtype="INT32", data=values)

    def _name(self, what: str) -> str:
        self._count += 1
        return f"{what.lower()}_{self._count}"


def _weight_scales(weights: Tensor, *, per_channel: bool) -> np.ndarray:
    largest = weights.abs().flatten(1).amax(1).clamp(min=1e-12)
    return ((largest if per_channel else largest.max()[None]) / 127).numpy().astype(np.float32)


def _activated(real: Tensor, activation: str) -> Tensor:
    low, high = {
        "NONE": (None, None),
        "RELU": (0.0, None),
        "RELU6": (0.0, 6.0),
        "RELU_N1_TO_1": (-1.0, 1.0),
    }[activation]
    return real if low is None else real.clamp(low, high)


def _padded(
    real: Tensor, window: Sequence[int], stride: Sequence[int], padding: str, value: float
) -> Tensor:
    if padding == "VALID":
        return real
    rows = same_padding(real.shape[1], window[0], stride[0])
    columns = same_padding(real.shape[2], window[1], stride[1])
    return functional.pad(real, (0, 0, *columns, *rows), value=value)


def _classifier(builder: TfliteBuilder, x: Value, classes: int) -> bytes:
    """What the three networks end in: average of the map, fully connected, softmax."""
    x = builder.pool(x, "AVERAGE_POOL_2D", x.shape[:2])
    x = builder.reshape(x, (1, x.shape[2]))
    return builder.finish(builder.softmax(builder.dense(x, classes)))


def resnet8(seed: int) -> bytes:
    """ResNet-8 for 32 × 32 × 3 pictures and ten classes: 12,501,632 multiply-accumulates."""
    builder = TfliteBuilder(seed)
    x = builder.input((32, 32, 3), 1.0, -128)
    x = builder.conv(x, 16, (3, 3), activation="RELU")
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        y = builder.conv(x, channels, (3, 3), stride, activation="RELU")
        y = builder.conv(y, channels, (3, 3))
        if stride == 2:
            x = builder.conv(x, channels, (1, 1), stride)
        x = builder.add(x, y, "RELU")
    return _classifier(builder, x, 10)


def vww(seed: int) -> bytes:
    """MobileNetV1-0.25 for 96 × 96 × 3 pictures, two classes: 7,489,664 multiply-accumulates."""
    builder = TfliteBuilder(seed)
    x = builder.input((96, 96, 3), 1 / 255, -128)
    x = builder.conv(x, 8, (3, 3), 2, activation="RELU")
    widths = (16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)
    strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    for channels, stride in zip(widths, strides, strict=True):
        x = builder.depthwise(x, (3, 3), stride, activation="RELU")
        x = builder.conv(x, channels, (1, 1), activation="RELU")
    return _classifier(builder, x, 2)


def kws(seed: int) -> bytes:
    """DS-CNN for 49 × 10 spectrograms and twelve keywords: 2,656,768 multiply-accumulates."""
    builder = TfliteBuilder(seed)
    x = builder.input((49, 10, 1), 0.5847029, 83)
    x = builder.conv(x, 64, (10, 4), 2, activation="RELU")
    for _ in range(4):
        x = builder.depthwise(x, (3, 3), activation="RELU")
        x = builder.conv(x, 64, (1, 1), activation="RELU")
    return _classifier(builder, x, 12)


NETWORKS: dict[str, Callable[[int], bytes]] = {"resnet8": resnet8, "vww": vww, "kws": kws}
"""MLPerf Tiny's networks, by the names that ``eyas fetch`` has for them."""


def random_network(seed: int) -> bytes:
    """A small network of any supported operators, with residual adds and some saturation."""
    rng = np.random.default_rng(seed)
    builder = TfliteBuilder(seed + 1, narrow=float(rng.choice([1.0, 0.8, 0.5])))

    def pick(*items: Any) -> Any:
        return items[rng.integers(len(items))]

    def activation() -> str:
        return pick("NONE", "RELU", "RELU6", "RELU_N1_TO_1")

    def kernel() -> tuple[int, int]:
        return pick((1, 1), (3, 3), (3, 3), (2, 3), (5, 1))

    shape = (int(rng.integers(5, 14)), int(rng.integers(5, 14)), pick(1, 3, 4, 9))
    x = builder.input(shape, float(rng.uniform(0.003, 1)), int(rng.integers(-128, 128)))
    x = builder.conv(x, pick(4, 7, 8, 12), kernel(), pick(1, 2), "SAME", activation())
    for _ in range(rng.integers(1, 6)):
        kind = pick("conv", "depthwise", "residual", "residual", "pool", "pad", "relu")
        small = min(x.shape[:2]) < 4
        if kind == "conv":
            stride = 1 if small else pick(1, 2, 3)
            x = builder.conv(x, pick(3, 8, 16, 20), kernel(), stride, "SAME", activation())
        elif kind == "depthwise":
            multiplier = pick(1, 1, 2) if x.shape[2] < 12 else 1
            stride = 1 if small else pick(1, 2)
            x = builder.depthwise(x, kernel(), stride, "SAME", activation(), multiplier)
        elif kind == "residual":
            y = builder.conv(x, x.shape[2], kernel(), 1, "SAME", activation())
            x = builder.add(*pick((x, y), (y, x)), activation())
        elif kind == "pool" and not small:
            code = pick("MAX_POOL_2D", "AVERAGE_POOL_2D")
            x = builder.pool(x, code, pick((2, 2), (3, 3), (3, 2)), (2, 2), pick("SAME", "VALID"))
        elif kind == "pad":
            x = builder.pad(x, tuple(int(item) for item in rng.integers(0, 3, 4)))
        elif kind == "relu":
            x = builder.relu(x, pick("RELU", "RELU6", "RELU_N1_TO_1"))
    end = pick("mean", "pool", "flatten", "map")
    if end == "map":
        return builder.finish(x)
    if end == "mean":
        x = builder.mean(x)
    elif end == "pool":
        x = builder.pool(x, "AVERAGE_POOL_2D", x.shape[:2])
    x = builder.dense(builder.reshape(x, (1, int(np.prod(x.shape)))), pick(2, 5, 10))
    return builder.finish(builder.softmax(x, pick(1.0, 0.5)) if rng.integers(2) else x)

"""A float network as a list of the layers that the engine knows, between torch.export and int8.

Layers work on torch's N × C × H × W; shapes are recorded as (H, W, C), as in the quantised graph.
Batch norm is folded and activations are fused when a layer stands here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Convolution", "FloatNetwork", "Layer", "Linear", "Pool"]

Shape = tuple[int, int, int]


@dataclass(kw_only=True)
class Layer:
    """One layer; its output is named after it.

    Parameters
    ----------
    name : str
        Unique in its network.
    input : str
        The network's input or an earlier layer.
    shape : (int, int, int)
        Height, width and channels of the output.
    low, high : float
        The output is clamped to this range: the fused activation.
    """

    name: str
    input: str
    shape: Shape
    low: float = -math.inf
    high: float = math.inf

    def compute(self, values: Tensor) -> Tensor:
        """The output before the activation."""
        raise NotImplementedError

    def forward(self, values: Tensor) -> Tensor:
        """The output, N × C × H × W."""
        return self.compute(values).clamp(self.low, self.high)

    def fuse_activation(self, low: float, high: float) -> None:
        """Clamp the output to ``low`` to ``high``, after whatever clamps it already."""
        self.low = min(max(self.low, low), high)
        self.high = min(max(self.high, low), high)


@dataclass(kw_only=True)
class _Weighted(Layer):
    """A layer with weights [O, ...] and bias [O] in float32."""

    weights: Tensor
    bias: Tensor

    def fold_batch_norm(
        self, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor, epsilon: float
    ) -> None:
        """Let the weights do what a batch norm after this layer does in evaluation mode."""
        factor = scale.double() / torch.sqrt(variance.double() + epsilon)
        columns = factor.reshape(-1, *[1] * (self.weights.dim() - 1))
        self.weights = (self.weights.double() * columns).float()
        self.bias = ((self.bias.double() - mean.double()) * factor + shift.double()).float()


@dataclass(kw_only=True)
class Convolution(_Weighted):
    """Weights [O, I, KH, KW]; padding is top, bottom, left, right."""

    stride: tuple[int, int]
    padding: tuple[int, int, int, int]

    def compute(self, values: Tensor) -> Tensor:
        top, bottom, left, right = self.padding
        padded = functional.pad(values, (left, right, top, bottom))
        return functional.conv2d(padded, self.weights, self.bias, self.stride)


@dataclass(kw_only=True)
class Linear(_Weighted):
    """Weights [O, C·H·W] over an input of ``input_shape`` flattened as torch does."""

    input_shape: Shape

    def compute(self, values: Tensor) -> Tensor:
        return functional.linear(values.flatten(1), self.weights, self.bias)[:, :, None, None]


@dataclass(kw_only=True)
class Pool(Layer):
    """Maximum or average of a window; padding is top, bottom, left, right."""

    average: bool
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def compute(self, values: Tensor) -> Tensor:
        if self.average:
            return functional.avg_pool2d(values, self.window, self.stride)
        top, bottom, left, right = self.padding
        padded = functional.pad(values, (left, right, top, bottom), value=-math.inf)
        return functional.max_pool2d(padded, self.window, self.stride)


@dataclass(kw_only=True)
class FloatNetwork:
    """Layers in order; the last one's output is the answer.

    Parameters
    ----------
    input : str
        Name of the picture.
    shape : (int, int, int)
        Its height, width and channels.
    layers : list of Layer
        Each after what it reads.
    output : str
        The layer that gives the answer.
    """

    input: str
    shape: Shape
    layers: list[Layer]
    output: str

    @torch.no_grad()
    def run(self, pictures: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Each tensor's name and values, the picture's first, for float N × C × H × W."""
        maps = {self.input: pictures}
        yield self.input, pictures
        for layer in self.layers:
            maps[layer.name] = layer.forward(maps[layer.input])
            yield layer.name, maps[layer.name]

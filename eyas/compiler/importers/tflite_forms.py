"""What operators of a ``.tflite`` file share: activations, windows, weights and their scales."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tflite

from eyas.compiler.importers.tflite_file import NO_TENSOR, FileTensor
from eyas.compiler.importers.tflite_step import Step
from models.vision.graph import Tensor

__all__ = ["activation_fields", "linear_fields", "name_fields", "weight_tensor", "window_fields"]

RANGES = {
    "NONE": (-math.inf, math.inf),
    "RELU": (0.0, math.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}
"""The real values that an activation lets through."""

SAME, VALID = tflite.Padding.SAME, tflite.Padding.VALID


def activation_fields(step: Step, target: Tensor, name: str | None = None) -> dict[str, Any]:
    """The fused activation, or the one called ``name``, as the node's range of int8 values."""
    if name is None:
        number = step.operator.options["FusedActivationFunction"]
        names = {value: key for key, value in vars(tflite.ActivationFunctionType).items()}
        name = names.get(number, f"number {number}")
    if name not in RANGES:
        raise step.refuse(f"its activation {name} is not one of {', '.join(RANGES)}")
    low, high = RANGES[name]
    return {
        "activation_min": max(-128, _level(low, target)) if math.isfinite(low) else -128,
        "activation_max": min(127, _level(high, target)) if math.isfinite(high) else 127,
    }


def _level(real: float, tensor: Tensor) -> int:
    """A real bound as TensorFlow Lite quantises it: float32, halves away from zero."""
    with np.errstate(over="ignore"):
        steps = np.float32(real) / np.float32(tensor.scale)
    steps = np.clip(steps, -1024, 1024)  # far outside int8 all are alike
    return tensor.zero_point + int(np.trunc(steps + np.copysign(np.float32(0.5), steps)))


def name_fields(source: Tensor, target: Tensor) -> dict[str, Any]:
    """The fields that every node has."""
    return {"name": target.name, "input": source.name, "output": target.name}


def window_fields(step: Step, source: Tensor, window: tuple[int, int]) -> dict[str, Any]:
    """Stride and explicit padding of a sliding window."""
    options = step.operator.options
    stride = options["StrideH"], options["StrideW"]
    if min(*stride, *window) < 1:
        raise step.refuse(f"window {window} and stride {stride} must be positive")
    for direction in "HW":
        if (dilation := options.get(f"Dilation{direction}Factor", 1)) != 1:
            raise step.refuse(f"a dilation of {dilation}; Eyas runs undilated kernels")
    padding = [0, 0, 0, 0]
    if options["Padding"] == SAME:
        for axis in (0, 1):
            size = source.shape[axis]
            total = (-(-size // stride[axis]) - 1) * stride[axis] + window[axis] - size
            before = max(total, 0) // 2  # an odd one goes after
            padding[2 * axis : 2 * axis + 2] = before, max(total, 0) - before
    elif options["Padding"] != VALID:
        raise step.refuse(f"padding number {options['Padding']} is neither SAME nor VALID")
    return {"stride": stride, "padding": tuple(padding)}


def weight_tensor(step: Step, index: int, dimensions: int, channel_dimension: int) -> FileTensor:
    """The weights: int8, symmetric, one scale or one an output channel."""
    tensor = step.constant(index, "weights", "INT8")
    if len(tensor.shape) != dimensions:
        raise step.damaged(f"its weights have the shape {list(tensor.shape)}")
    channels = tensor.shape[channel_dimension]
    if len(tensor.scales) > 1 and tensor.channel_dimension != channel_dimension:
        raise step.refuse("the scales of its weights must be one an output channel")
    if len(tensor.scales) not in (1, channels):
        raise step.refuse(
            f"its weights have {len(tensor.scales)} scales for {channels} output channels"
        )
    if not (np.isfinite(tensor.scales).all() and (tensor.scales >= 0).all()):
        raise step.refuse(
            f"its weights have a scale of {tensor.scales.min():g}; a scale is 0 or more, and finite"
        )
    if tensor.zero_points.any():
        raise step.refuse("its weights are asymmetric; Eyas takes a zero point of 0")
    return tensor


def linear_fields(step: Step, weights: FileTensor, channels: int, bias: int) -> dict[str, Any]:
    """Weight scales and biases of ``channels`` outputs; a bias that is left out is 0."""
    scales = np.broadcast_to(weights.scales, (channels,))
    values = np.zeros(channels, np.int32)
    if bias != NO_TENSOR:
        tensor = step.constant(bias, "biases", "INT32")
        if tensor.shape != (channels,):
            raise step.refuse(f"has {channels} output channels, but {tensor.size} biases")
        values = tensor.values()
    return {"weight_scales": scales, "bias": values}

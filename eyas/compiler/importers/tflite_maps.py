"""Tensors of a ``.tflite`` file as maps: shapes, scales, and what is refused of them."""

from __future__ import annotations

import math

from eyas.compiler.importers.tflite_file import FileTensor, TfliteError, UnsupportedType
from models.vision.graph import Tensor

__all__ = ["Shape", "check_reshape", "map_shape", "quantization", "shape_text"]

Shape = tuple[int, int, int]


def map_shape(tensor: FileTensor, owner: str) -> Shape:
    """Height, width and channels of one picture's tensor; ``owner`` begins the message."""
    shape = tensor.shape
    if len(shape) not in (2, 4):
        raise TfliteError(
            f"{owner}: tensor {tensor.name!r} has the shape {list(shape)}; Eyas takes "
            "1 × height × width × channels or 1 × channels"
        )
    if shape[0] != 1:
        raise TfliteError(
            f"{owner}: tensor {tensor.name!r} holds a batch of {shape[0]}; convert the network "
            "for one picture"
        )
    return (shape[1], shape[2], shape[3]) if len(shape) == 4 else (1, 1, shape[1])


def quantization(tensor: FileTensor, owner: str) -> tuple[float, int]:
    """Scale and zero point of an activation; ``owner`` begins the message where it has none."""
    if tensor.dtype != "INT8":
        raise UnsupportedType(f"{owner}: tensor {tensor.name!r} is {tensor.dtype}; Eyas takes INT8")
    if len(tensor.scales) != 1:
        raise TfliteError(
            f"{owner}: tensor {tensor.name!r} has {len(tensor.scales)} scales; an activation "
            "has one for all its channels"
        )
    scale, zero_point = float(tensor.scales[0]), int(tensor.zero_points[0])
    if not (math.isfinite(scale) and scale > 0 and -128 <= zero_point <= 127):
        raise TfliteError(
            f"{owner}: tensor {tensor.name!r} has scale {scale:g} and zero point {zero_point}; "
            "the scale must be positive, the zero point in int8's range"
        )
    return scale, zero_point


def check_reshape(tensor: Tensor, shape: Shape, owner: str) -> None:
    """TfliteError where a map is read in another shape than it was written in."""
    if tensor.shape != shape:
        raise TfliteError(
            f"{owner}: reads {tensor.name!r}, a map of {shape_text(tensor.shape)}, reshaped to "
            f"{shape_text(shape)}; a reshape may only stand next to the input, before a fully "
            "connected layer, or drop and add dimensions of 1 without moving others"
        )


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as messages give it."""
    return " × ".join(map(str, shape))

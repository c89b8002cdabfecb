"""The last step of a network that ends in a softmax: int8 logits to int8 probabilities.

The engine returns logits; the probabilities are computed here, in integers and exactly as
TensorFlow Lite's reference kernel computes them, so that they are those of the original file.
NumPy only.
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, floor, frexp
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["softmax"]

CLASSES_MAX = 4096  # the exponentials' sum has 12 bits before the point
UNIT = 1 << 31


def softmax(
    logits_int8: npt.NDArray[np.int8], scale: float, beta: float = 1.0
) -> npt.NDArray[np.int8]:
    """Probabilities along the last axis; their scale is 1/256 and their zero point −128.

    Parameters
    ----------
    logits_int8 : int8 array [..., classes]
        1 to 4,096 classes.
    scale : float
        The logits' scale.
    beta : float
        Factor of the logits.

    Raises
    ------
    TypeError, ValueError
        When the logits are not int8, when there are too many or none, or when ``scale · beta`` is
        not above 2^-26.
    """
    logits = np.asarray(logits_int8)
    if logits.dtype != np.int8:
        raise TypeError(f"Logits must be int8, not {logits.dtype}")
    if not (logits.ndim and 1 <= logits.shape[-1] <= CLASSES_MAX):
        raise ValueError(
            f"Logits must have 1 to {CLASSES_MAX} classes along their last axis, "
            f"not the shape {logits.shape}"
        )
    # A logit counts only by its distance from the greatest: 256 exponentials serve them all.
    table, rounded = _tables(float(scale), float(beta))
    rows = logits.reshape(-1, logits.shape[-1]).astype(np.int64)
    distances = (rows.max(axis=1, keepdims=True) - rows).tolist()
    found = [_row(row, table, rounded) for row in distances]
    return np.array(found, np.int8).reshape(logits.shape)


def _row(distances: list[int], table: list[int], rounded: list[int]) -> list[int]:
    """Probabilities of one row, in plain Python: arrays of so few values would take longer."""
    total = sum([rounded[distance] for distance in distances])
    length = total.bit_length()
    inverse = _inverse(total << (32 - length))
    half = 1 << (length + 2)
    found = {
        distance: min((_times(table[distance], inverse) + half >> length + 3) - 128, 127)
        for distance in set(distances)
    }
    return [found[distance] for distance in distances]


@lru_cache(maxsize=16)
def _tables(scale: float, beta: float) -> tuple[list[int], list[int]]:
    """The exponential of each distance, and what it adds to a row's sum."""
    table = _exponentials(scale, beta)
    return table.tolist(), _round_shift(table, 12).tolist()


def _exponentials(scale: float, beta: float) -> npt.NDArray[np.int64]:
    """exp(−beta · scale · d) · 2^31 for d = 0 to 255, 0 where beta · scale · d is about 31 or more.

    The distance has 26 bits after the point: its quarters and what is above them are factors, its
    rest goes into a series around 1/8.
    """
    steps = float(np.float32(scale)) * float(np.float32(beta)) * (1 << 26)
    if not steps > 1:
        raise ValueError(f"scale · beta must be more than 2^-26, not {steps / (1 << 26)}")
    fraction, shift = frexp(min(steps, UNIT - 1.0))
    multiplier = floor(fraction * UNIT + 0.5)
    if multiplier == UNIT:
        multiplier, shift = UNIT // 2, shift + 1
    distances = np.arange(256, dtype=np.int64)
    reached = distances <= (31 << 26) >> shift
    exact = -_times(-(np.where(reached, distances, 0) << shift), multiplier)
    quarters = (exact + (1 << 24) - 1) >> 24
    quarters[exact & ((1 << 24) - 1) == 0] += 1
    x = (((quarters << 24) - exact - (1 << 24)) << 5) + UNIT // 8
    square = _times(x, x)
    fourth = _round_shift(_times(square, square), 2)
    series = x + _round_shift(_times(fourth + _times(square, x), round(UNIT / 3)) + square, 1)
    centre = round(exp(-1 / 8) * UNIT)
    values = centre + _times(series, centre)
    for bit in range(7):
        factor = round(exp(-(2.0 ** (bit - 2))) * UNIT)
        values = np.where((quarters - 1) >> bit & 1, _times(values, factor), values)
    values[exact == 0] = UNIT - 1
    return np.where(reached, values, 0)


def _inverse(total: int) -> int:
    """2^62 / total by Newton's method, for totals from 2^31 to 2^32."""
    half = total >> 1
    x = round(48 / 17 * (UNIT // 4)) + _times(half, round(-32 / 17 * (UNIT // 4)))
    for _ in range(3):
        x += _times(x, UNIT // 4 - _times(half, x)) << 2
    return min(x << 1, UNIT - 1)


def _times(a: Any, b: Any) -> Any:
    """a · b / 2^31 to nearest, halves upwards."""
    return (a * b + UNIT // 2) >> 31


def _round_shift(
    values: npt.NDArray[np.int64], bits: npt.NDArray[np.int64] | int
) -> npt.NDArray[np.int64]:
    """values / 2^bits to nearest, halves away from zero."""
    half = np.left_shift(1, bits) >> 1
    return np.sign(values) * ((np.abs(values) + half) >> bits)

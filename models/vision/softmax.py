"""TensorFlow Lite's int8 softmax in integers, bit for bit as its reference kernel does it.

Fixed-point numbers are int64 tensors that hold int32 values; "n integer bits" means that a value
stands for ``value / 2^(31 − n)``.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.vision.arithmetic import (
    quantize_multiplier,
    rounding_divide_by_power_of_two,
    saturating_rounding_doubling_high_multiply,
)

__all__ = ["softmax"]

DIFFERENCE_BITS = 5
"""Integer bits of a logit's distance from the greatest one."""
SUM_BITS = 12
"""Integer bits of the sum of the exponentials."""
CLASSES_MAX = 1 << SUM_BITS
ONE = (1 << 31) - 1  # with no integer bits, 1 is the greatest value
INT8_MIN, INT8_MAX = -128, 127


def softmax(logits: npt.NDArray[np.int8], scale: float, beta: float = 1.0) -> npt.NDArray[np.int8]:
    """The int8 probabilities of ``logits``, with scale 1/256 and zero point −128.

    LiteRT aborts where the exponentials' sum, in units of the greatest, is 512 or more; here each
    probability is then below half a step, and is 0.

    Parameters
    ----------
    logits : int8 array [..., classes]
        1 to 4,096 classes.
    scale : float
        The logits' scale.
    beta : float
        Factor of the logits.
    """
    if logits.dtype != np.int8:
        raise TypeError(f"Logits must be int8, not {logits.dtype}")
    if not (logits.ndim and 1 <= logits.shape[-1] <= CLASSES_MAX):
        raise ValueError(
            f"Logits must have 1 to {CLASSES_MAX} classes along their last axis, "
            f"not the shape {logits.shape}"
        )
    values = torch.from_numpy(np.ascontiguousarray(logits)).to(torch.int64)
    differences = values - values.amax(dim=-1, keepdim=True)
    multiplier, shift = _difference_multiplier(scale, beta)
    near = differences >= -_radius(shift)
    scaled = _multiply(differences.where(near, 0) << shift, multiplier)
    exponentials = _exponential(scaled)
    terms = _round_shift(exponentials, SUM_BITS).where(near, 0)
    reciprocal, exponent = _reciprocal(terms.sum(dim=-1, keepdim=True))
    products = _multiply(exponentials, reciprocal)
    steps = rounding_divide_by_power_of_two(products, exponent + 31 - 8)
    probabilities = (steps + INT8_MIN).clamp(INT8_MIN, INT8_MAX).where(near, INT8_MIN)
    return probabilities.to(torch.int8).numpy()


def _difference_multiplier(scale: float, beta: float) -> tuple[int, int]:
    """Multiplier and left shift that bring a difference of logits to its fixed-point form."""
    scale, beta = float(np.float32(scale)), float(np.float32(beta))
    real = min(beta * scale * (1 << (31 - DIFFERENCE_BITS)), float(ONE))
    if not real > 1:
        raise ValueError(f"beta · scale must be more than 2^-26, not {beta * scale}")
    multiplier, shift = quantize_multiplier(real / 2)
    return multiplier, shift + 1


def _radius(shift: int) -> int:
    """The greatest difference whose fixed-point form fits; a logit farther off counts as 0."""
    return ((1 << DIFFERENCE_BITS) - 1) * (1 << (31 - DIFFERENCE_BITS)) >> shift


def _multiply(a: Tensor, b: Tensor | int) -> Tensor:
    """Fixed-point product; its integer bits are those of the factors together."""
    return saturating_rounding_doubling_high_multiply(a, torch.as_tensor(b))


def _round_shift(values: Tensor, exponent: int) -> Tensor:
    return rounding_divide_by_power_of_two(values, torch.tensor(exponent))


def _gain(values: Tensor, bits: int) -> Tensor:
    """The same number with ``bits`` fewer integer bits, saturated."""
    return (values << bits).clamp(-(1 << 31), ONE)


def _constant(real: float, integer_bits: int = 0) -> int:
    return round(math.ldexp(real, 31 - integer_bits))


def _exponential(values: Tensor) -> Tensor:
    """e^x of differences x ≤ 0, without integer bits.

    A Taylor series in the last quarter below 0, times a constant for each bit above.
    """
    fraction_bits = 31 - DIFFERENCE_BITS
    quarter = 1 << (fraction_bits - 2)
    remainder = (values & (quarter - 1)) - quarter
    result = _exponential_of_quarter(remainder << DIFFERENCE_BITS)
    whole = remainder - values
    for exponent in range(-2, DIFFERENCE_BITS):
        factor = _constant(math.exp(-(2.0**exponent)))
        is_set = (whole & (1 << (fraction_bits + exponent))) != 0
        result = torch.where(is_set, _multiply(result, factor), result)
    return torch.where(values == 0, ONE, result)


def _exponential_of_quarter(values: Tensor) -> Tensor:
    """e^x for −1/4 ≤ x < 0: four terms around −1/8."""
    x = values + _constant(1 / 8)
    x2 = _multiply(x, x)
    x3, x4 = _multiply(x2, x), _multiply(x2, x2)
    # x⁴/24 + x³/6 + x²/2
    higher = _round_shift(_multiply(_round_shift(x4, 2) + x3, _constant(1 / 3)) + x2, 1)
    factor = _constant(math.exp(-1 / 8))
    return factor + _multiply(x + higher, factor)


def _reciprocal(sums: Tensor) -> tuple[Tensor, Tensor]:
    """1 / sum as a value without integer bits and the exponent of 2 to divide it by.

    Three steps of Newton's method on half the sum, brought between 1/2 and 1.
    """
    _, lengths = torch.frexp(sums.to(torch.float64))
    headroom = 32 - lengths.to(torch.int64)
    fraction = (sums << headroom) - (1 << 31)
    half = (fraction + ONE + 1) >> 1
    x = _constant(48 / 17, 2) + _multiply(half, _constant(-32 / 17, 2))
    for _ in range(3):
        error = (1 << 29) - _multiply(half, x)
        x = x + _gain(_multiply(x, error), 2)
    return _gain(x, 1), SUM_BITS - headroom

"""TensorFlow Lite's int8 arithmetic in torch integers, bit for bit as its reference kernels do it.

Tensors are int64 and hold int32 values, so that nothing overflows by accident; where the kernels'
int32 wraps, :func:`wrap_int32` says so.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "divide_rounding_away",
    "mean_multiplier",
    "multiply_by_quantized_multiplier",
    "quantize_multiplier",
    "quantize_multipliers",
    "round_half_away",
    "rounding_divide_by_power_of_two",
    "saturating_rounding_doubling_high_multiply",
    "wrap_int32",
]

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
MAX_SHIFT = 30


def quantize_multiplier(real: float) -> tuple[int, int]:
    """The positive real number as ``multiplier · 2^(shift − 31)``.

    Parameters
    ----------
    real : float
        0 or more, less than 2^30.

    Returns
    -------
    multiplier, shift : int, int
        The multiplier is 2^30 to 2^31 − 1, ties rounded up; the shift is −31 to 30. Both are 0
        for 0 and where the shift would be less than −31: such a product always rounds to 0.
    """
    if not 0 <= real < math.ldexp(1, MAX_SHIFT):
        raise ValueError(f"A multiplier must be 0 or more and less than 2^{MAX_SHIFT}, not {real}")
    fraction, shift = math.frexp(real)
    multiplier = math.floor(math.ldexp(fraction, 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier, shift = multiplier // 2, shift + 1
    if multiplier == 0 or shift < -31:
        return 0, 0
    return multiplier, shift


def quantize_multipliers(reals: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`quantize_multiplier` of each element of a float64 vector, as two int64 vectors."""
    pairs = [quantize_multiplier(real) for real in reals.tolist()]
    multipliers, shifts = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)
    return multipliers, shifts


def mean_multiplier(real: float, count: int) -> tuple[int, int]:
    """The multiplier and shift of ``real / count``, as TFLite's int8 MEAN makes them.

    The quantised ``real`` is divided by ``count`` in integers and truncated, with as many bits
    gained before as keep it below 2^31; so it may have a bit less than 31.
    """
    multiplier, shift = quantize_multiplier(real)
    gained = min(count.bit_length() - 1, 31 + shift)
    return (multiplier << gained) // count, shift - gained


def wrap_int32(values: Tensor) -> Tensor:
    """The int64 ``values`` modulo 2^32, as int32 arithmetic leaves them."""
    return ((values - INT32_MIN) & 0xFFFF_FFFF) + INT32_MIN


def saturating_rounding_doubling_high_multiply(a: Tensor, b: Tensor) -> Tensor:
    """The high 32 bits of ``2 · a · b`` for int32 values, to nearest, halves upwards.

    Only −2^31 · −2^31 would overflow; it gives 2^31 − 1.
    """
    high = (a * b + (1 << 30)) >> 31
    return torch.where((a == INT32_MIN) & (b == INT32_MIN), INT32_MAX, high)


def rounding_divide_by_power_of_two(values: Tensor, exponent: Tensor) -> Tensor:
    """``values / 2^exponent`` to nearest, halves away from zero; the exponent is 0 to 31."""
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (values < 0)
    return (values >> exponent) + ((values & mask) > threshold)


def multiply_by_quantized_multiplier(values: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """int32 ``values`` times ``multiplier · 2^(shift − 31)``, rounded twice.

    A positive shift is applied first, and wraps; a negative one last, with a rounding of its own.
    """
    shifted = wrap_int32(values << shift.clamp(min=0))
    product = saturating_rounding_doubling_high_multiply(shifted, multiplier)
    return rounding_divide_by_power_of_two(product, (-shift).clamp(min=0))


def divide_rounding_away(values: Tensor, divisor: int | Tensor) -> Tensor:
    """``values / divisor`` to nearest, halves away from zero: the average of a pool's sum."""
    half = torch.as_tensor(divisor // 2)
    return torch.div(values + torch.where(values > 0, half, -half), divisor, rounding_mode="trunc")


def round_half_away(values: Tensor) -> Tensor:
    """float64 ``values`` to the nearest integer, halves away from zero, as int64."""
    whole = values.trunc()
    away = torch.copysign(torch.ones_like(values), values)
    return torch.where((values - whole).abs() >= 0.5, whole + away, whole).to(torch.int64)

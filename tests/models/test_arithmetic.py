"""TFLite's arithmetic: by definition in exact integers, and against LiteRT's reference kernels."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from models.vision import arithmetic
from tests.models.requantize_vectors import vectors

SEED = 20240601


def int32s(*shape: int) -> torch.Tensor:
    print(f"seed {SEED}")
    generator = torch.Generator().manual_seed(SEED)
    values = torch.randint(-(2**31), 2**31, shape, generator=generator)
    # Small values and the ends, where ties and overflow live.
    values[:400] = torch.arange(-200, 200)
    values[400:404] = torch.tensor([-(2**31), 2**31 - 1, -(2**31) + 1, 2**30])
    return values


def half_away(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2)) if value >= 0 else math.ceil(value - Fraction(1, 2))


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (0.0, (0, 0)),
        (1.0, (1 << 30, 1)),
        (0.5, (1 << 30, 0)),
        (0.75, (3 << 29, 0)),
        (1 - 2.0**-40, (1 << 30, 1)),  # rounds up to the next power of two
        (2.0**-32, (1 << 30, -31)),
        (2.0**-33, (0, 0)),  # would need a shift of 32
        (2.0**-32 * (1 - 2.0**-40), (1 << 30, -31)),
        (255.0, (255 << 23, 8)),
    ],
)
def test_quantize_multiplier(real: float, expected: tuple[int, int]) -> None:
    assert arithmetic.quantize_multiplier(real) == expected


@pytest.mark.parametrize("real", [-1.0, math.inf, math.nan, 2.0**30])
def test_quantize_multiplier_refuses(real: float) -> None:
    with pytest.raises(ValueError, match=r"A multiplier must be 0 or more and less than 2\^30"):
        arithmetic.quantize_multiplier(real)


def test_quantize_multiplier_is_the_nearest() -> None:
    rng = np.random.default_rng(SEED)
    for real in 2.0 ** rng.uniform(-30, 29, 500):
        multiplier, shift = arithmetic.quantize_multiplier(real)
        assert 1 << 30 <= multiplier < 1 << 31
        step = Fraction(2) ** (shift - 31)
        assert abs(multiplier * step - Fraction(real)) <= step / 2


def test_wrap_int32() -> None:
    values = torch.tensor([2**31, 2**31 - 1, -(2**31) - 1, 0, -1, 2**33 + 5])
    assert arithmetic.wrap_int32(values).tolist() == [-(2**31), 2**31 - 1, 2**31 - 1, 0, -1, 5]


def test_high_multiply_rounds_halves_up_and_saturates() -> None:
    a, b = int32s(2000), int32s(2000).flip(0)
    actual = arithmetic.saturating_rounding_doubling_high_multiply(a, b)
    for x, y, result in zip(a.tolist(), b.tolist(), actual.tolist(), strict=True):
        expected = math.floor(Fraction(x * y, 2**31) + Fraction(1, 2))
        assert result == min(expected, 2**31 - 1), (x, y)
    least = torch.tensor([-(2**31)])
    saturated = arithmetic.saturating_rounding_doubling_high_multiply(least, least)
    assert saturated.tolist() == [2**31 - 1]


@pytest.mark.parametrize("exponent", [0, 1, 2, 7, 30, 31])
def test_rounding_divide_rounds_halves_away(exponent: int) -> None:
    values = int32s(1000)
    actual = arithmetic.rounding_divide_by_power_of_two(values, torch.tensor(exponent))
    for value, result in zip(values.tolist(), actual.tolist(), strict=True):
        assert result == half_away(Fraction(value, 2**exponent)), value


@pytest.mark.parametrize("divisor", [1, 2, 3, 4, 25, 125, 1024])
def test_divide_rounding_away(divisor: int) -> None:
    values = torch.arange(-4096, 4096)
    actual = arithmetic.divide_rounding_away(values, divisor)
    for value, result in zip(values.tolist(), actual.tolist(), strict=True):
        # Odd divisors have no ties; an even one's half is exact.
        assert result == half_away(Fraction(value, divisor)), value


def test_divide_by_each_its_own() -> None:
    values, divisors = torch.tensor([[7, -7], [6, -6]]), torch.tensor([2, 4])
    assert arithmetic.divide_rounding_away(values, divisors).tolist() == [[4, -2], [3, -2]]


@pytest.mark.parametrize(
    ("real", "count", "expected"),
    [
        (1.0, 1, (1 << 30, 1)),
        (1.0, 16, (1 << 30, -3)),
        (1.0, 25, ((1 << 34) // 25, -3)),  # truncated, and shorter than 31 bits
        (0.75, 3, ((3 << 30) // 3, -1)),
        (2.0**-31, 8, (1 << 28, -31)),  # only one bit may be gained
        (2.0**-40, 8, (0, -3)),
    ],
)
def test_mean_multiplier(real: float, count: int, expected: tuple[int, int]) -> None:
    assert arithmetic.mean_multiplier(real, count) == expected


def test_round_half_away() -> None:
    values = [0.5, -0.5, 1.5, -2.5, 0.49999999999999994, -0.49999999999999994, 0.0, 3.2, -3.7]
    actual = arithmetic.round_half_away(torch.tensor(values, dtype=torch.float64))
    assert actual.tolist() == [1, -1, 2, -3, 0, 0, 0, 3, -4]


def test_left_shift_wraps_before_the_multiplication() -> None:
    value, one = torch.tensor([(1 << 28) + 3]), torch.tensor([1 << 30])
    actual = arithmetic.multiply_by_quantized_multiplier(value, one, torch.tensor([4]))
    assert actual.tolist() == [24]  # ((2^28 + 3) · 2^4 mod 2^32) / 2


def test_requantization_equals_litert() -> None:
    table = vectors(SEED, 60_000)
    print(f"seed {SEED}")
    multiplier, shift = arithmetic.quantize_multipliers(torch.from_numpy(table.multiplier))
    total = table.accumulator.astype(np.int64) + table.bias
    accumulator = arithmetic.wrap_int32(torch.from_numpy(total))
    scaled = arithmetic.multiply_by_quantized_multiplier(accumulator, multiplier, shift)
    actual = np.clip(scaled.numpy() + table.zero_point, table.activation_min, table.activation_max)
    wrong = np.flatnonzero(actual != table.expected)
    assert not len(wrong), f"{len(wrong)} of {len(table)} differ, first {wrong[:3]}"
    # The vectors reach what they are for.
    inside = (table.expected > table.activation_min) & (table.expected < table.activation_max)
    assert inside.sum() > 10_000
    assert (table.expected == -128).any()
    assert (table.expected == 127).any()
    assert (multiplier == 0).any()
    assert (shift > 0).any()
    assert (shift == -31).sum() > 0
    assert (total != accumulator.numpy()).any()  # the 32-bit sum wrapped
    single = np.floor(accumulator.numpy() * table.multiplier + 0.5) + table.zero_point
    single = np.clip(single, table.activation_min, table.activation_max)
    assert (single != table.expected).sum() > 50  # one rounding would be seen


def test_vectors_are_reproducible() -> None:
    first, second = vectors(3, 9000), vectors(3, 9000)
    assert len(first) == 9000
    assert np.array_equal(first.expected, second.expected)
    assert np.array_equal(first.accumulator, second.accumulator)

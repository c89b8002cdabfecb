# amaranth: UnusedElaboratable=no
"""The datapath's arithmetic as integers, against other spellings of the same; constructors."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from eyas.compiler.lowering.pooling import MAX_COUNT, average_parameters
from eyas.interfaces.vision.config import DEFAULT_VISION, SMALL_VISION
from hdl.vision.datapath.mac_array import MacArray
from hdl.vision.datapath.pooling import PoolingUnit
from hdl.vision.datapath.requantize import Requantizer, requantize
from models.vision import arithmetic
from tests.models.requantize_vectors import vectors

SEED = 20250117
INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
int32 = st.integers(INT32_MIN, INT32_MAX)
int8 = st.integers(-128, 127)


def truncating_division(a: int, b: int) -> int:
    """C's: towards zero."""
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def double_rounding(x: int, multiplier: int, shift: int) -> int:
    """TensorFlow Lite's fixed-point multiplication as its C++ goes about it: with nudges,
    remainders and divisions towards zero."""
    product = x * multiplier
    nudge = (1 << 30) if product >= 0 else 1 - (1 << 30)
    high = truncating_division(product + nudge, 1 << 31)
    mask = (1 << shift) - 1
    threshold = (mask >> 1) + (1 if high < 0 else 0)
    return (high >> shift) + (1 if (high & mask) > threshold else 0)


@given(int32, int32, st.integers(0, (1 << 31) - 1), st.integers(0, 31), int8, int8, int8)
@example(0, INT32_MIN, (1 << 31) - 1, 0, 0, -128, 127)
@example(0, INT32_MIN, (1 << 31) - 1, 31, 0, -128, 127)
@example(INT32_MAX, 1, 1 << 30, 1, -128, -128, 127)
@example(0, (1 << 30) + 12345, 0, 31, 83, -128, 127)
@example(-1, 0, 1 << 30, 0, 0, -128, 127)
@example(-3, 0, 1 << 30, 1, 0, -128, 127)
def test_requantize_is_tflites_double_rounding(
    total, bias, multiplier, shift, zero_point, low, high
):
    low, high = min(low, high), max(low, high)
    x = np.array([total + bias]).astype(np.uint32).astype(np.int32)[0].item()
    expected = min(max(double_rounding(x, multiplier, shift) + zero_point, low), high)
    assert requantize(total, bias, multiplier, shift, 0, zero_point, low, high) == expected


@given(st.integers(-600, 600), st.integers(1, 8), int8)
def test_second_rounding_takes_ties_away_from_zero(halves, shift, zero_point):
    # 2^30 halves: the first rounding is exact for an even operand, so the tie is the second's.
    operand = 2 * (2 * halves + 1) << (shift - 1)
    sign = -1 if operand < 0 else 1
    expected = sign * (abs(2 * halves + 1) + 1) // 2 + zero_point
    result = requantize(operand, 0, 1 << 30, shift, 0, zero_point, -128, 127)
    assert result == min(max(expected, -128), 127)


@given(int32, int32, st.integers(0, (1 << 31) - 1), st.integers(0, 31), int8, int8, int8)
@example(0, INT32_MIN, (1 << 31) - 1, 0, 0, -128, 127)
@example(0, INT32_MIN, (1 << 31) - 1, 31, 0, -128, 127)
@example(-1, 0, 0, 0, 0, -128, 127)
@example(0, (1 << 30) + 12345, 0, 31, 83, -128, 127)
def test_single_rounding_is_to_nearest(total, bias, multiplier, shift, zero_point, low, high):
    low, high = min(low, high), max(low, high)
    x = np.array([total + bias]).astype(np.uint32).astype(np.int32)[0].item()
    exact = Fraction(x * multiplier, 1 << (31 + shift))
    expected = min(max(half_away(exact) + zero_point, low), high)
    assert requantize(total, bias, multiplier, shift, 0, zero_point, low, high, True) == expected


def half_away(value: Fraction) -> int:
    """To nearest, halves away from zero."""
    size = int(abs(value) + Fraction(1, 2))
    return -size if value < 0 else size


@pytest.mark.parametrize("multiplier", [1 << 30, (1 << 30) + 1, 1518500251, (1 << 31) - 1])
def test_single_rounding_around_every_tie(multiplier):
    """The sums on both sides of every step of an int8 output, of both signs, for every shift."""
    compared = 0
    for shift in range(32):
        for step in range(256):
            tie = (2 * step + 1 << (30 + shift)) // multiplier
            for x in {sign * (tie + near) for near in (-1, 0, 1) for sign in (-1, 1)}:
                if not INT32_MIN <= x <= INT32_MAX:
                    continue
                quotient = half_away(Fraction(x * multiplier, 1 << (31 + shift)))
                for zero_point in (-128, 0, 127):
                    result = requantize(x, 0, multiplier, shift, 0, zero_point, -128, 127, True)
                    assert result == min(max(quotient + zero_point, -128), 127), (x, shift)
                    compared += 1
    assert compared > 50_000


def test_requantize_agrees_with_the_models_arithmetic():
    print(f"seed {SEED}")
    generator = torch.Generator().manual_seed(SEED)
    count = 20_000

    def integers(low: int, high: int) -> torch.Tensor:
        return torch.randint(low, high, (count,), generator=generator, dtype=torch.int64)

    # Numbers of every length, and multipliers that give results of every length.
    x = integers(INT32_MIN, INT32_MAX + 1) >> integers(0, 32)
    multiplier = integers(1 << 30, 1 << 31)
    multiplier[::97] = 0
    exponent = integers(-31, 16)
    expected = arithmetic.multiply_by_quantized_multiplier(x, multiplier, exponent).clamp(-128, 127)
    result = [
        requantize(a, 0, m, max(-e, 0), max(e, 0), 0, -128, 127)
        for a, m, e in zip(x.tolist(), multiplier.tolist(), exponent.tolist(), strict=True)
    ]
    assert result == expected.tolist()
    unsaturated = (expected > -128) & (expected < 127) & (expected != 0)
    assert unsaturated.sum() > count // 10, "hardly a result is neither 0 nor saturated"


def test_requantize_agrees_with_litert():
    print(f"seed {SEED}")
    golden = vectors(SEED, 8192)
    for index in range(len(golden)):
        multiplier, exponent = arithmetic.quantize_multiplier(golden.multiplier[index].item())
        result = requantize(
            golden.accumulator[index].item(), golden.bias[index].item(),
            multiplier, max(-exponent, 0), max(exponent, 0),
            golden.zero_point[index].item(),
            golden.activation_min[index].item(), golden.activation_max[index].item(),
        )  # fmt: skip
        assert result == golden.expected[index], f"vector {index}"


def wrong_averages(count: int) -> int:
    """How many of a window's possible sums the lane divides otherwise than TensorFlow Lite."""
    pre_shift, multiplier, shift = average_parameters(count)
    sums = np.arange(-128 * count, 127 * count + 1, dtype=np.int64)
    x = sums << pre_shift
    assert INT32_MIN <= x.min() <= x.max() <= INT32_MAX, f"{count}: the shifted sum wraps"
    y = (x * multiplier + (1 << 30)) >> 31
    if shift:
        y = (y + (1 << (shift - 1)) - (y < 0)) >> shift
    numerator = np.where(sums > 0, sums + count // 2, sums - count // 2)
    expected = np.sign(numerator) * (np.abs(numerator) // count)
    return np.count_nonzero(y != expected)


SAMPLED_COUNTS = [*range(1, 65), 125, 127, 128, 129, 255, 256, 257, 1000, 1023, 1024, MAX_COUNT]


def test_average_is_exact_for_sampled_counts():
    assert [n for n in SAMPLED_COUNTS if wrong_averages(n)] == []


@pytest.mark.nightly
def test_average_is_exact_for_every_count():
    assert [n for n in range(1, MAX_COUNT + 1) if wrong_averages(n)] == []


def test_average_parameters_fit_the_lane():
    for count in range(1, MAX_COUNT + 1):
        pre_shift, multiplier, shift = average_parameters(count)
        assert 0 <= pre_shift <= 15
        assert 1 << 30 <= multiplier < 1 << 31
        assert 0 <= shift <= 31


@given(st.sampled_from(SAMPLED_COUNTS), st.data())
def test_average_by_the_lane_itself(count, data):
    # The same lane arithmetic as above, here by the function that is its specification.
    total = data.draw(st.integers(-128 * count, 127 * count))
    pre_shift, multiplier, shift = average_parameters(count)
    half = count // 2 if total > 0 else -(count // 2)
    average = requantize(total, 0, multiplier, shift, pre_shift, 0, -128, 127)
    assert average == truncating_division(total + half, count)


@pytest.mark.parametrize("count", [0, -1, MAX_COUNT + 1])
def test_average_refuses_other_counts(count):
    with pytest.raises(ValueError, match=f"1 to {MAX_COUNT} values, not {count}"):
        average_parameters(count)


@pytest.mark.parametrize("count", [2.0, "2", True])
def test_average_refuses_what_is_no_count(count):
    with pytest.raises(TypeError, match="must be an integer"):
        average_parameters(count)


@pytest.mark.parametrize("config", [DEFAULT_VISION, SMALL_VISION])
def test_array_and_pooling_unit_take_the_same_time(config):
    assert MacArray(config).latency == PoolingUnit(config).latency


@pytest.mark.parametrize("component", [MacArray, PoolingUnit, Requantizer])
def test_constructors_want_a_configuration(component):
    with pytest.raises(TypeError, match="config must be a VisionConfig, not 16"):
        component(16)

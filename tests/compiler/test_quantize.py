"""Ranges and scales."""

import numpy as np
import pytest

from eyas.compiler.importers.quantize import (
    RangeObserver,
    activation_quantization,
    quantize_weights,
)


@pytest.mark.parametrize(
    ("low", "high", "scale", "zero_point"),
    [
        (0.0, 255.0, 1.0, -128),
        (0.0, 1.0, 1 / 255, -128),
        (-255.0, 0.0, 1.0, 127),
        (-128.0, 127.0, 1.0, 0),
        (-1.0, 1.04, 2.04 / 255, -3),
        (3.0, 255.0, 1.0, -128),  # widened down to 0
        (-510.0, -2.0, 2.0, 127),  # and up to 0
        (0.0, 0.0, 1.0, 0),
    ],
)
def test_activation_quantization(low: float, high: float, scale: float, zero_point: int) -> None:
    actual = activation_quantization(low, high)
    assert actual == (pytest.approx(scale, rel=1e-6), zero_point)


def test_activation_range_is_covered_to_half_a_step() -> None:
    seed = 3
    print(f"seed {seed}")
    for low, high in np.random.default_rng(seed).uniform(-9, 9, (200, 2)):
        low, high = min(low, high), max(low, high)
        scale, zero_point = activation_quantization(low, high)
        assert scale == float(np.float32(scale))
        assert -128 <= zero_point <= 127
        assert (-128 - zero_point) * scale <= low + scale * 0.51
        assert (127 - zero_point) * scale >= high - scale * 0.51


def test_weights() -> None:
    seed = 4
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 1, (8, 3, 3, 4)) * 10.0 ** rng.uniform(-3, 1, (8, 1, 1, 1))
    bias = rng.normal(0, 1, 8)
    integers, biases, scales = quantize_weights(weights, bias, 0.02)
    assert (integers.dtype, biases.dtype, scales.dtype) == (np.int8, np.int32, np.float32)
    assert np.abs(integers.reshape(8, -1).astype(int)).max(axis=1).tolist() == [127] * 8
    wide = scales.astype(np.float64)
    np.testing.assert_array_less(
        np.abs(integers * wide[:, None, None, None] - weights) / wide[:, None, None, None], 0.5001
    )
    np.testing.assert_allclose(biases * (0.02 * wide), bias, atol=0.02 * wide.max())


def test_channels_that_are_dead_or_all_bias() -> None:
    weights = np.zeros((4, 2))
    weights[2:] = 1e-12
    integers, bias, scales = quantize_weights(weights, np.array([0.0, 3.0, -5.0, 0.0]), 0.01)
    assert not integers[:3].any()
    assert integers[3].tolist() == [127, 127]
    np.testing.assert_allclose(bias * 0.01 * scales.astype(np.float64), [0, 3, -5, 0], rtol=1e-6)
    assert (scales > 0).all()
    assert np.abs(bias.astype(np.int64)).max() <= 1.01 * 2**30


def test_observer() -> None:
    observer = RangeObserver()
    with pytest.raises(ValueError, match="No values were observed"):
        observer.range()
    observer.observe(np.array([[1.0, 2.0]]))
    observer.observe(np.array([-3.0, 0.5]))
    assert observer.range() == (-3.0, 2.0)


def test_percentile_leaves_outliers_out() -> None:
    rng = np.random.default_rng(5)
    every, most = RangeObserver(), RangeObserver(99.0)
    for _ in range(4):
        values = rng.uniform(-1, 1, 10_000).astype(np.float32)
        values[:3] = 50, -60, 70
        every.observe(values)
        most.observe(values)
    assert every.range() == (-60, 70)
    assert most.range() == (pytest.approx(-0.98, abs=0.01), pytest.approx(0.98, abs=0.01))


def test_percentile_of_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eyas.compiler.importers.quantize.SAMPLES", 1000)
    observer = RangeObserver(90.0)
    rng = np.random.default_rng(6)
    for _ in range(40):
        observer.observe(rng.uniform(0, 1, 300))
    low, high = observer.range()
    assert low == pytest.approx(0.1, abs=0.04)
    assert high == pytest.approx(0.9, abs=0.04)


@pytest.mark.parametrize("percentile", [50, 0, -1, 100.5, float("nan")])
def test_percentile_is_checked(percentile: float) -> None:
    with pytest.raises(ValueError, match="The percentile must be above 50 and at most 100"):
        RangeObserver(percentile)

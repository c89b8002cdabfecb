"""The table solver: published tables, optimality by enumeration, figures by integration."""

import itertools
import math
import time

import numpy as np
import pytest

from eyas.interfaces.thc.formats import LookupTable
from models.thc.table import Quantizer, clamp_threshold, clamping_error, rounding_variance, solve

A = "0 2 4 6 8 10 12 14 16 18 20 22 24 26 28 30"
B = "0 3 5 7 9 11 13 14 16 17 19 21 23 25 27 30"
C = "0 4 6 8 10 12 13 14 16 17 18 20 22 24 26 30"
D = "0 4 7 9 11 12 13 14 16 17 18 19 21 23 26 30"
E = "0 3 6 8 10 12 14 16 18 20 22 24 26 28 31 34"
F = "0 4 7 9 11 13 15 16 18 19 21 23 25 27 30 34"
G = "0 3 5 7 9 11 13 16"
H = "0 6 11 15 19 23 28 34"

PUBLISHED = [
    *((4, 30, p, t) for p, t in ((16, A), (32, B), (64, B), (128, C), (256, C), (512, D))),
    *((4, 34, p, t) for p, t in ((16, E), (32, E), (64, E), (128, E), (256, F), (512, F))),
    *((3, 16, p, G) for p in (16, 32, 64, 128, 256, 512)),
    *((3, 34, p, H) for p in (16, 32)),
    *((2, 34, p, "0 13 21 34") for p in (512, 1024)),
]
"""Bits, granularity, 1/p and the table that THC's authors publish."""

THRESHOLDS = {
    16: 1.8627318674,
    32: 2.1538746941,
    64: 2.4175590162,
    128: 2.6600674686,
    256: 2.8856349124,
    512: 3.0972690782,
    1024: 3.2971933457,
}


@pytest.mark.parametrize(("bits", "granularity", "share", "expected"), PUBLISHED)
def test_published_tables(bits: int, granularity: int, share: int, expected: str) -> None:
    assert " ".join(map(str, solve(bits, granularity, 1 / share).entries)) == expected


@pytest.mark.parametrize(("share", "threshold"), THRESHOLDS.items())
def test_thresholds(share: int, threshold: float) -> None:
    assert clamp_threshold(1 / share) == pytest.approx(threshold, abs=5e-11)


def integral(f, low: float, high: float) -> float:
    """By Simpson's rule."""
    x = np.linspace(low, high, 2001)
    y = f(x) * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return float((y[0] + y[-1] + 4 * y[1:-1:2].sum() + 2 * y[2:-1:2].sum()) * (x[1] - x[0]) / 3)


@pytest.mark.parametrize(
    ("bits", "granularity"), [(2, 1), (2, 2), (2, 9), (3, 5), (3, 12), (3, 15), (4, 21)]
)
@pytest.mark.parametrize("clamp", [0.5, 1 / 32, 1 / 1024])
def test_no_table_is_better(bits: int, granularity: int, clamp: float) -> None:
    """Against all symmetric tables, with the variance integrated numerically."""
    t = clamp_threshold(clamp)
    x = [-t + 2 * t * k / granularity for k in range(granularity + 1)]
    cost = {
        (a, b): integral(lambda u, a=a, b=b: (x[b] - u) * (u - x[a]), x[a], x[b])
        for a, b in itertools.combinations_with_replacement(range(granularity + 1), 2)
    }
    # Entries 1 to the middle; the others are their mirror images.
    halves = itertools.combinations_with_replacement(
        range(granularity // 2 + 1), (1 << (bits - 1)) - 1
    )
    best = min(
        sum(
            cost[pair] for pair in itertools.pairwise((*low, *(granularity - k for k in low[::-1])))
        )
        for low in ((0, *half) for half in halves)
    )
    found = solve(bits, granularity, clamp)
    assert rounding_variance(found, t) == pytest.approx(best, rel=1e-9)


def test_figures_of_the_default() -> None:
    quantizer = Quantizer.optimal()
    assert quantizer.variance == pytest.approx(0.01307, abs=5e-6)
    assert quantizer.clamping == pytest.approx(0.00727, abs=5e-6)
    assert quantizer.error() == pytest.approx(0.0203, abs=5e-5)
    assert Quantizer.optimal(4, 34, 1 / 64).error() == pytest.approx(0.0181, abs=5e-5)


@pytest.mark.parametrize("threshold", [0.3, 2.15, 5.0])
def test_clamping_by_integration(threshold: float) -> None:
    expected = 2 * integral(lambda x: (x - threshold) ** 2, threshold, threshold + 9)
    assert clamping_error(threshold) == pytest.approx(expected, rel=1e-6)


def test_the_uniform_table_is_the_identity() -> None:
    for bits in (2, 3, 4):
        quantizer = Quantizer.uniform(bits)
        assert quantizer.table.entries == tuple(range(1 << bits))
        assert quantizer.table.granularity == (1 << bits) - 1
    assert solve(4, 15, 1 / 32).entries == tuple(range(16))


def test_solving_the_largest_takes_no_exponential_time() -> None:
    """Half a second on an idle machine; what tries all tables would never end."""
    began = time.process_time()
    solve(4, 4096, 1 / 1024)
    assert time.process_time() - began < 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5, 30, 0.1), "An index has 2, 3 or 4 bits, not 5"),
        ((4, 0, 0.1), "Granularity must be 1 to 4096, not 0"),
        ((4, 5000, 0.1), "Granularity must be 1 to 4096, not 5000"),
        ((4, 30, 0), "share clamped must be from 1e-12 to less than 1, not 0"),
        ((4, 30, 1.0), "share clamped must be from 1e-12 to less than 1, not 1.0"),
        ((4, 30, math.nan), "share clamped must be from 1e-12 to less than 1, not nan"),
    ],
)
def test_bad_parameters_are_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        solve(*arguments)


@pytest.mark.parametrize("arguments", [(4, 30.0, 0.1), (4, True, 0.1), (4, 30, "1/32")])
def test_wrong_types_are_refused(arguments) -> None:
    with pytest.raises(TypeError):
        solve(*arguments)


def test_a_quantizer_takes_a_table() -> None:
    with pytest.raises(TypeError, match="Table must be a LookupTable, not"):
        Quantizer((0, 1, 2, 3), 0.1)
    with pytest.raises(ValueError, match="share clamped"):
        Quantizer(LookupTable((0, 1, 2, 3)), 2)

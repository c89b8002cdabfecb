"""Chooses the lookup table: 2^b of g + 1 evenly spaced points, which add the least variance.

A rotated coordinate is close to a standard normal.  It is clamped to ±t and lies among the points
x_k = −t + 2·t·k/g; rounding it without bias to one of the two table points around it adds the
variance (x_hi − x)(x − x_lo).  The table minimises the mean of that among symmetric tables (another
can be better by a thousandth); :func:`solve` finds the exact optimum by dynamic programming over
the lower half.  numpy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from eyas.interfaces.thc.formats import INDEX_BITS, LookupTable

__all__ = ["Quantizer", "clamp_threshold", "clamping_error", "rounding_variance", "solve"]

_LARGEST = 4096
"""Largest granularity solved for; its matrix of costs takes 32 MiB."""


@dataclass(frozen=True)
class Quantizer:
    """A table with the threshold that it was made for.

    Parameters
    ----------
    table : LookupTable
        Index to integer.
    clamp : float
        Share of coordinates clamped, both sides together.
    """

    table: LookupTable
    clamp: float

    def __post_init__(self) -> None:
        if not isinstance(self.table, LookupTable):
            raise TypeError(f"Table must be a LookupTable, not {self.table!r}")
        clamp_threshold(self.clamp)

    @classmethod
    def optimal(cls, bits: int = 4, granularity: int = 30, clamp: float = 1 / 32) -> Quantizer:
        """The table of least variance for these parameters."""
        return cls(solve(bits, granularity, clamp), clamp)

    @classmethod
    def uniform(cls, bits: int = 4, clamp: float = 1 / 32) -> Quantizer:
        """The identity: 2^``bits`` evenly spaced points, g = 2^``bits`` − 1."""
        _check_bits(bits)
        return cls(LookupTable(range(1 << bits)), clamp)

    @property
    def threshold(self) -> float:
        """t: coordinates beyond ±t standard deviations are clamped."""
        return clamp_threshold(self.clamp)

    @property
    def variance(self) -> float:
        """What unbiased rounding adds to a standard normal."""
        return rounding_variance(self.table, self.threshold)

    @property
    def clamping(self) -> float:
        """What clamping adds; it is the same for all workers and does not average away."""
        return clamping_error(self.threshold)

    def error(self, workers: int = 1) -> float:
        """Expected NMSE of the mean when ``workers`` hold the same vector."""
        return self.clamping + self.variance / workers


def clamp_threshold(clamp: float) -> float:
    """t = Φ⁻¹(1 − ``clamp``/2): beyond ±t lies the share ``clamp`` of a standard normal."""
    if not isinstance(clamp, (int, float)) or isinstance(clamp, bool):
        raise TypeError(f"The share clamped must be a number, not {clamp!r}")
    if not 1e-12 <= clamp < 1:
        raise ValueError(f"The share clamped must be from 1e-12 to less than 1, not {clamp}")
    return -NormalDist().inv_cdf(clamp / 2)


def solve(bits: int, granularity: int, clamp: float) -> LookupTable:
    """The table of least variance: exact, by dynamic programming.

    Time and memory grow with granularity²: about a millisecond at 30, half a second at 4096, which
    is the most that is allowed.
    """
    _check_bits(bits)
    if isinstance(granularity, bool) or not isinstance(granularity, (int, np.integer)):
        raise TypeError(f"Granularity must be an integer, not {granularity!r}")
    g = int(granularity)
    if not 1 <= g <= _LARGEST:
        raise ValueError(f"Granularity must be 1 to {_LARGEST}, not {g}")
    x = _points(g, clamp_threshold(clamp))
    lower = x[: g // 2 + 1]
    between = _costs(lower, lower[:, np.newaxis])  # a row for each upper end: see argmin below
    # best[k]: the least cost of all intervals below an entry of the lower half whose value is k.
    best = between[:, 0]
    choices = []
    for _ in range((1 << (bits - 1)) - 2):
        candidates = best + between
        choice = candidates.argmin(axis=1)
        best = np.take_along_axis(candidates, choice[:, np.newaxis], axis=1)[:, 0]
        choices.append(choice)
    # The upper half mirrors the lower one; one interval lies across the middle.
    half = [int((2 * best + _costs(lower, -lower)).argmin())]
    for choice in reversed(choices):
        half.append(int(choice[half[-1]]))
    entries = [0, *reversed(half)]
    return LookupTable([*entries, *(g - k for k in reversed(entries))])


def rounding_variance(table: LookupTable, threshold: float) -> float:
    """Variance that unbiased rounding to the table's points adds to a standard normal."""
    x = _points(table.granularity, threshold)[list(table.entries)]
    return float(_costs(x[:-1], x[1:]).sum())


def clamping_error(threshold: float) -> float:
    """Mean square that clamping a standard normal to ±``threshold`` takes away."""
    t = threshold
    tail = math.erfc(t / math.sqrt(2)) / 2
    return 2 * ((1 + t * t) * tail - t * math.exp(-t * t / 2) / math.sqrt(2 * math.pi))


def _points(granularity: int, threshold: float) -> np.ndarray:
    return threshold * (2 * np.arange(granularity + 1) / granularity - 1)


def _costs(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """∫ (high − u)(u − low) φ(u) du from ``low`` to ``high``; infinite where they are crossed."""
    # ∫φ, ∫uφ and ∫u²φ between the two.
    mass = _below(high) - _below(low)
    first = _density(low) - _density(high)
    second = mass + low * _density(low) - high * _density(high)
    cost = (low + high) * first - second - low * high * mass
    return np.where(low <= high, np.maximum(cost, 0), np.inf)


def _density(x: np.ndarray) -> np.ndarray:
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _below(x: np.ndarray) -> np.ndarray:
    values = [math.erfc(-value / math.sqrt(2)) / 2 for value in x.flat]
    return np.array(values).reshape(x.shape)


def _check_bits(bits: int) -> None:
    if bits not in INDEX_BITS:
        raise ValueError(f"An index has 2, 3 or 4 bits, not {bits!r}")

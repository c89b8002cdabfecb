"""From real numbers to int8: ranges of activations, scales of weights.

The scheme is TensorFlow Lite's: activations asymmetric with one scale a tensor, weights symmetric
with one scale an output channel, biases int32 in steps of their product.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["RangeObserver", "activation_quantization", "quantize_weights"]

Array = npt.NDArray[Any]
WEIGHT_MAX = 127
"""Weights use −127 to 127, so that the range is symmetric."""
BIAS_MAX = 1 << 30
"""Biases use half of what int32 holds; the other half is for the products."""
SAMPLES = 1 << 22
"""Values of a tensor that percentiles are taken of; of larger ones an even selection."""


class RangeObserver:
    """The range of a tensor's real values over a calibration set.

    Parameters
    ----------
    percentile : float
        100: from the least to the greatest value. Less, above 50: that percentile and its
        complement, so that a few outliers do not cost every other value its precision.
    """

    def __init__(self, percentile: float = 100.0):
        if not 50 < percentile <= 100:
            raise ValueError(f"The percentile must be above 50 and at most 100, not {percentile}")
        self.percentile = percentile
        self._low, self._high = np.inf, -np.inf
        self._samples: list[Array] = []

    def observe(self, values: Array) -> None:
        """Take the values of some pictures into account."""
        self._low = min(self._low, float(values.min()))
        self._high = max(self._high, float(values.max()))
        if self.percentile < 100:
            self._samples.append(values.ravel().copy())
            if sum(map(len, self._samples)) > 2 * SAMPLES:
                self._samples = [self._selection()]

    def _selection(self) -> Array:
        values = np.concatenate(self._samples)
        return values[:: -(-len(values) // SAMPLES)]

    def range(self) -> tuple[float, float]:
        """The least and the greatest real value to represent."""
        if self._low > self._high:
            raise ValueError("No values were observed")
        if self.percentile == 100:
            return self._low, self._high
        bounds = np.percentile(self._selection(), [100 - self.percentile, self.percentile])
        return float(bounds[0]), float(bounds[1])


def activation_quantization(low: float, high: float) -> tuple[float, int]:
    """Scale (a float32 number) and zero point whose int8 values cover ``low`` to ``high``.

    The range is widened to hold 0 where it does not, and shifted by less than half a step so that
    0 is a value exactly: padding and rectifiers need it.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / 255))
    if scale == 0:
        return 1.0, 0  # nothing but zeros
    return scale, int(np.clip(np.rint(-128 - low / scale), -128, 127))


def quantize_weights(
    weights: Array, bias: Array, input_scale: float
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Weights [O, ...] and bias [O] as integers, and the weights' scales [O].

    A channel's scale is the least with which both its weights and its bias fit: a channel of
    zeros, or of weights that are tiny beside its bias, takes the bias's.
    """
    flat = np.abs(weights.reshape(len(weights), -1)).max(axis=1).astype(np.float64)
    wanted = np.maximum(flat / WEIGHT_MAX, np.abs(bias) / (BIAS_MAX * input_scale))
    smallest = float(np.finfo(np.float32).tiny)
    scales = np.where(wanted > 0, np.maximum(wanted, smallest), 1.0).astype(np.float32)
    steps = scales.astype(np.float64)
    columns = steps.reshape(-1, *[1] * (weights.ndim - 1))
    integers = np.clip(np.rint(weights / columns), -WEIGHT_MAX, WEIGHT_MAX).astype(np.int8)
    return integers, np.rint(bias / (input_scale * steps)).astype(np.int32), scales

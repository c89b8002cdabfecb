"""From sums to int8 values, in the integers of ``hdl/vision/datapath/requantize.py``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from eyas.interfaces.vision.isa import MULTIPLIER_FRACTION

__all__ = ["Requantizer"]

Integers = npt.NDArray[np.int64]


class Requantizer:
    """Requantises a layer's channels; what depends on the parameters alone is worked out once.

    Parameters
    ----------
    parameters : mapping of str to int64 array
        ``bias``, ``multiplier``, ``shift``, ``pre_shift`` and ``rounds_once`` of each channel, in
        one shape that broadcasts against the sums'.
    fields : mapping of str to int
        The instruction: ``out_zero_point``, ``clamp_min``, ``clamp_max``.
    """

    def __init__(self, parameters: Mapping[str, Integers], fields: Mapping[str, int]) -> None:
        once = parameters["rounds_once"] != 0
        shift = parameters["shift"]
        self._bias = parameters["bias"]
        self._multiplier = parameters["multiplier"]
        self._pre_shift = parameters["pre_shift"] if parameters["pre_shift"].any() else None
        # The first rounding: to nearest, halves upwards; none where the product is rounded once.
        self._first_half = np.where(once, 0, 1 << (MULTIPLIER_FRACTION - 1))
        self._first_shift = np.where(once, 0, MULTIPLIER_FRACTION)
        # The second one: halves away from zero, by 1 less for a negative number.
        last = shift + np.where(once, MULTIPLIER_FRACTION, 0)
        self._last_shift = last if last.any() else None
        self._last_half = np.where(last > 0, np.int64(1) << np.maximum(last - 1, 0), 0)
        self._away = np.where(last > 0, -1, 0)
        self._zero_point = fields["out_zero_point"]
        self._range = fields["clamp_min"], fields["clamp_max"]

    def __call__(self, sums: npt.NDArray[np.generic]) -> npt.NDArray[np.int8]:
        """int8 values of ``sums``: whole numbers of any type, each within 33 bits."""
        y = sums.astype(np.int64)
        y += self._bias
        if self._pre_shift is not None:
            y <<= self._pre_shift
        y = y.astype(np.int32).astype(np.int64)  # wraps, as 32 bits do
        y *= self._multiplier
        y += self._first_half
        y >>= self._first_shift
        if self._last_shift is not None:
            negative = y >> 63
            negative &= self._away
            y += self._last_half
            y += negative
            y >>= self._last_shift
        y += self._zero_point
        low, high = self._range
        np.minimum(y, high, out=y)
        np.maximum(y, low, out=y)
        return y.astype(np.int8)

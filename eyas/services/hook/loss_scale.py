"""Asks the GradScaler of fp16 training by what the loss is multiplied."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

__all__ = ["NO_SCALER", "LossScale", "Scaler", "current_scale"]

NO_SCALER = 0.0
"""Stands for "the loss is not scaled, and a value that is not finite is an error"."""


@runtime_checkable
class Scaler(Protocol):
    """What the hook needs of a ``torch.amp.GradScaler``."""

    def get_scale(self) -> float:
        """The scale of the loss whose gradients come next."""

    def is_enabled(self) -> bool:
        """Whether it scales, and skips steps whose gradients are not finite."""


LossScale = Scaler | Callable[[], float]


def current_scale(source: LossScale | None) -> float:
    """The scale now, or NO_SCALER; ValueError when it is no positive number."""
    if source is None:
        return NO_SCALER
    if isinstance(source, Scaler):
        if not source.is_enabled():
            return NO_SCALER
        scale = source.get_scale()
    elif callable(source):
        scale = source()
    else:
        raise TypeError(f"A scaler is a GradScaler or a function, not {source!r}")
    if not (isinstance(scale, int | float) and math.isfinite(scale) and scale > 0):
        raise ValueError(f"The loss's scale must be a positive number, not {scale!r}")
    return float(scale)

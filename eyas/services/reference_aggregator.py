"""A short import path for :mod:`eyas.services.aggregation.reference`."""

from __future__ import annotations

from eyas.services.aggregation.reference import ReferenceAggregator

__all__ = ["ReferenceAggregator"]

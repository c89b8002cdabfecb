"""The public name of :mod:`eyas.services.aggregation.reference`, as README has it."""

from __future__ import annotations

from eyas.services.aggregation.reference import ReferenceAggregator

__all__ = ["ReferenceAggregator"]

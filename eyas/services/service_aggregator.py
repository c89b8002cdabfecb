"""The public name of :mod:`eyas.services.aggregation.client`, as README has it."""

from __future__ import annotations

from eyas.services.aggregation.client import ServiceAggregator

__all__ = ["ServiceAggregator"]

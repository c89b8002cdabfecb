"""A short import path for :mod:`eyas.services.aggregation.client`."""

from __future__ import annotations

from eyas.services.aggregation.client import ServiceAggregator

__all__ = ["ServiceAggregator"]

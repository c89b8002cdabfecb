"""What workers and aggregator agree on for one training run; it needs no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from eyas.interfaces.thc.formats import LANE_BITS, LookupTable, check_sums

__all__ = ["DEFAULT_TIMEOUT", "TrainingJob"]

DEFAULT_TIMEOUT = 1800.0
"""Seconds that is waited for a slow worker: gloo's default in PyTorch, half an hour."""


@dataclass(frozen=True)
class TrainingJob:
    """Table, workers and lane width of one training run, which stay the same to its end.

    Parameters
    ----------
    table : LookupTable
        What an index stands for.
    workers : int
        How many contribute.
    lane_bits : int
        8 or 16: the width of a sum.  A job whose sums might not fit is refused with ValueError.
    """

    table: LookupTable
    workers: int
    lane_bits: int

    def __post_init__(self) -> None:
        check_sums(self.table.granularity, self.workers, self.lane_bits)

    @classmethod
    def fitting(cls, table: LookupTable, workers: int, lane_bits: int | None = None) -> TrainingJob:
        """The job with the narrowest lanes that hold its sums, unless a width is asked for."""
        narrow, wide = LANE_BITS
        fits = table.granularity * workers < 1 << narrow
        return cls(table, workers, lane_bits or (narrow if fits else wide))

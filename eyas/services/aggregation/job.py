"""What is aggregated; without PyTorch, which the service does not need."""

from __future__ import annotations

from dataclasses import dataclass

from eyas.interfaces.thc.formats import LANE_BITS, LookupTable, check_sums

__all__ = ["Job"]


@dataclass(frozen=True)
class Job:
    """What is aggregated, fixed for a whole training run.

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
    def fitting(cls, table: LookupTable, workers: int) -> Job:
        """The job with the narrowest lanes that hold its sums."""
        narrow, wide = LANE_BITS
        fits = table.granularity * workers < 1 << narrow
        return cls(table, workers, narrow if fits else wide)

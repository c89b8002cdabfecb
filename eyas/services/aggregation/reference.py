"""The aggregator in PyTorch: the same integers as the hardware's, without hardware."""

from __future__ import annotations

import torch
from torch import Tensor

from eyas.services.aggregation.aggregator import Sums
from eyas.services.aggregation.collectives import Peers
from eyas.services.aggregation.training_job import TrainingJob
from models.thc.aggregate import aggregate

__all__ = ["ReferenceAggregator"]


class ReferenceAggregator:
    """Rank 0 gathers all packed indices, looks them up, adds, and broadcasts the sums.

    What moves between processes is what would move to and from a switch: indices up, sums of 8 or
    16 bits down.
    """

    resent_bytes = 0

    def __init__(self) -> None:
        self._job: TrainingJob | None = None
        self._peers: Peers | None = None

    def facts(self) -> dict[str, object]:
        """Nothing but its kind."""
        return {"aggregator": "reference"}

    def start(self, job: TrainingJob, peers: Peers) -> None:
        """Any job will do."""
        self._job, self._peers = job, peers

    def aggregate(self, packed: Tensor, count: int) -> Sums:
        """The sums over all workers."""
        job, peers = self._job, self._peers
        if job is None or peers is None:
            raise RuntimeError("The aggregator was not started")
        parts = peers.gather(packed, "Gathering the indices")
        # gloo knows no 16-bit integers: sums travel as bytes.
        narrow = job.lane_bits == 8
        wire = torch.empty(count * job.lane_bits // 8, dtype=torch.uint8)
        if parts:
            sums = aggregate(parts, job.table, count, job.lane_bits)
            wire = sums.to(torch.uint8) if narrow else sums.to(torch.int16).view(torch.uint8)
        peers.broadcast(wire, "Sending the sums")
        if narrow:
            return Sums(wire.to(torch.int32), job.workers)
        return Sums(wire.view(torch.int16).to(torch.int32) & 0xFFFF, job.workers)

    def close(self) -> None:
        """Nothing to do."""

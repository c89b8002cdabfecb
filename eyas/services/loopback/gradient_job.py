"""A training job's gradients become packets of THC's indices, and its results gradients again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eyas.interfaces.switch.packet import Lanes
from eyas.interfaces.switch.states import Policy
from eyas.interfaces.thc.formats import check_sums
from models.switch.records import JobEntry
from models.switch.system import Contribution, Job
from models.switch.terms import JobTerms
from models.switch.worker import Delivery
from models.thc.aggregate import lookup
from models.thc.codec import Codec
from models.thc.packing import pack

__all__ = ["GradientJob", "PreparedJob"]

TIMEOUT = 24.0
"""RTO: three times the longest way to the server and back, four hops of up to two units."""


@dataclass(frozen=True)
class GradientJob:
    """The gradients that the workers of one training job exchange, round by round.

    Parameters
    ----------
    gradients : sequence of sequence of Tensor
        For each round each worker's gradient, all of one length.
    priority : int
        Of its packets, 1 to 255.
    needed : int or None
        A quorum; None: all workers.
    """

    gradients: Sequence[Sequence[Tensor]]
    priority: int = 128
    needed: int | None = None


class PreparedJob:
    """The packets of a GradientJob, and what the job's results are checked against.

    Parameters
    ----------
    number : int
        In the job table.
    source : GradientJob
    codec : Codec
    policy : Policy
    window : int
        W of each worker; under SWITCHML half of ``own``.
    own : int
        Slots of its own under SWITCHML.
    epoch : int
        Of the job's packets.

    Attributes
    ----------
    job : models.switch.system.Job
        To be run; its ``delivered`` is what the methods look at.
    """

    def __init__(
        self,
        number: int,
        source: GradientJob,
        codec: Codec,
        policy: Policy,
        window: int,
        own: int,
        epoch: int,
    ) -> None:
        self.source = source
        self.codec = codec
        workers = len(source.gradients[0])
        granularity = codec.table.granularity
        lanes = Lanes.UINT8 if workers * granularity < 256 else Lanes.UINT16
        check_sums(granularity, workers, 8 * lanes.dtype.itemsize)
        entry = JobEntry(
            epoch=epoch,
            workers=workers,
            needed=source.needed or workers,
            lanes=lanes,
            table=codec.table.entries,
            base=number * own,
            size=own,
        )
        if policy is Policy.SWITCHML:
            window = own // 2
        self._norms: list[Tensor] = []
        self._packed: list[list[Tensor]] = []
        contributions: list[list[Contribution]] = [[] for _ in range(workers)]
        for step, vectors in enumerate(source.gradients):
            norms = torch.stack([codec.norms(vector) for vector in vectors]).amax(dim=0)
            self._norms.append(norms)
            self._packed.append([])
            for worker, vector in enumerate(vectors):
                indices = codec.encode(vector, norms, step=step, worker=worker)
                self._packed[-1].append(pack(indices, codec.table.bits))
                contributions[worker] += [
                    Contribution(pack(part, 4).numpy().tobytes(), len(part), source.priority)
                    for part in indices.split(lanes.coordinates)
                ]
        terms = JobTerms(number, entry, policy, window, timeout=TIMEOUT)
        self.job = Job(terms, contributions)

    def decode(self, worker: int, step: int) -> Tensor:
        """The mean gradient of a round, as a worker knows it."""
        sums, bitmaps = self._round(worker, step)
        workers = self.job.terms.entry.workers
        added: Tensor | int = workers
        if self.job.terms.quorum:
            added = torch.stack([bitmaps >> w & 1 for w in range(workers)]).sum(dim=0)
        length = self.source.gradients[step][0].numel()
        norms = self._norms[step]
        return self.codec.decode(sums, norms, added=added, step=step, length=length)

    def exact(self, worker: int, step: int) -> bool:
        """Whether a worker's sums of a round are the reference's, of the workers that are in."""
        sums, bitmaps = self._round(worker, step)
        expected = torch.zeros_like(sums)
        for number, data in enumerate(self._packed[step]):
            values = lookup(data, self.codec.table, len(sums)).to(torch.int32)
            expected += values * (bitmaps >> number & 1).to(torch.int32)
        return torch.equal(sums, expected)

    def error(self, step: int) -> float:
        """Squared error of worker 0's mean, as a share of the true one's square."""
        mean = torch.stack(list(self.source.gradients[step])).mean(dim=0)
        return float((self.decode(0, step) - mean).square().sum() / mean.square().sum())

    def _round(self, worker: int, step: int) -> tuple[Tensor, Tensor]:
        """A worker's sums of a round, and for each coordinate the bitmap of who is in."""
        log = sorted(self.job.delivered[worker], key=_number)
        packets = len(log) // len(self.source.gradients)
        log = log[step * packets : (step + 1) * packets]
        sums = np.concatenate([delivery.sums for delivery in log]).astype(np.int32)
        bitmaps = np.concatenate([np.full(len(item.sums), item.bitmap, np.int64) for item in log])
        return torch.from_numpy(sums), torch.from_numpy(bitmaps)


def _number(delivery: Delivery) -> int:
    return delivery.number

"""The rounds of training, one after the other: a bucket's gradients become all workers' mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from eyas.services.aggregation.aggregator import Aggregator, Traffic
from eyas.services.aggregation.collectives import Peers
from eyas.services.aggregation.training_job import TrainingJob
from eyas.services.hook.health import BadGradient, Health
from eyas.services.hook.loss_scale import NO_SCALER
from models.thc.codec import Codec
from models.thc.feedback import ErrorFeedback
from models.thc.packing import pack

__all__ = ["Round", "Rounds"]


@dataclass(frozen=True)
class Round:
    """A bucket of gradients and its place in training.

    ``number`` and ``last`` are its place in the step; ``gradients`` are views of ``buffer``, one
    for each of ``names``; ``scale`` is the loss's, or NO_SCALER.
    """

    step: int
    number: int
    last: bool
    buffer: Tensor
    gradients: list[Tensor]
    names: list[str]
    scale: float


class Rounds:
    """Runs rounds, by one thread.

    Attributes
    ----------
    traffic : Traffic
        What this worker sent and was sent; without what was sent again.
    failure : Exception or None
        What ended the rounds.
    """

    def __init__(
        self,
        codec: Codec,
        form: Literal["float", "fixed"],
        job: TrainingJob,
        peers: Peers,
        aggregator: Aggregator,
        feedback: ErrorFeedback,
    ) -> None:
        self.traffic = Traffic()
        self.failure: Exception | None = None
        self._codec = codec
        self._form: Literal["float", "fixed"] = form
        self._job = job
        self._peers = peers
        self._health = Health(peers)
        self._aggregator = aggregator
        self._feedback = feedback
        self._residuals: list[tuple[str, Tensor, float]] = []
        self._overflowed = False

    def run(self, round_: Round) -> Exception | None:
        """One round; what went wrong in it, or in one before it."""
        if self.failure is None:
            try:
                self._exchange(round_)
            except Exception as error:  # reaches the user through the future
                self.failure = error
        return self.failure

    @torch.no_grad()
    def _exchange(self, round_: Round) -> None:
        if round_.number == 0:  # what an interrupted backward pass left is void
            self._residuals, self._overflowed = [], False
        codec, step, stream = self._codec, round_.step, round_.number
        scale = round_.scale if round_.scale != NO_SCALER else 1.0
        parts = [
            self._feedback.correct(name, gradient.to(torch.float32), scale).flatten()
            for name, gradient in zip(round_.names, round_.gradients, strict=True)
        ]
        vector = torch.cat(parts)
        mine = codec.norms(vector)
        norms = self._health.agree(mine, parts, round_.names, step, round_.scale)
        if norms is None:
            self._overflow(round_)
            self.traffic.count_norms(mine.numel() + self._health.words)
            return
        indices = codec.encode(
            vector, norms, step=step, worker=self._peers.rank, stream=stream, form=self._form
        )
        packed = pack(indices, codec.table.bits)
        sums = self._aggregator.aggregate(packed, indices.numel())
        left = codec.residual(
            vector, indices, norms, step=step, stream=stream, included=sums.included
        )
        mean = codec.decode(
            sums.values, norms, added=sums.added, step=step, stream=stream, length=vector.numel()
        )
        self.traffic.count_norms(norms.numel() + self._health.words)
        self.traffic.count_packets(
            vector.numel(), indices.numel(), codec.table.bits, self._job.lane_bits
        )
        sizes = [part.numel() for part in parts]
        for name, gradient, error, found in zip(
            round_.names, round_.gradients, left.split(sizes), mean.split(sizes), strict=True
        ):
            gradient.copy_(found.view_as(gradient))
            # Alike on all workers, for all have the same mean.
            if gradient.dtype != torch.float32 and not bool(gradient.isfinite().all()):
                if round_.scale == NO_SCALER:
                    raise BadGradient(
                        f"The mean gradient of {name} is beyond {gradient.dtype} at step {step}"
                    )
                self._overflow(round_)
                return
            self._residuals.append((name, error.view_as(gradient), scale))
        if round_.last or round_.scale == NO_SCALER:
            self._keep_residuals()

    def _overflow(self, round_: Round) -> None:
        """Let whoever scales the loss see it, on all workers."""
        round_.buffer.fill_(torch.nan)
        self._overflowed = True
        self._residuals = []

    def _keep_residuals(self) -> None:
        """The step will be taken, unless a bucket overflowed: then nothing of it counts."""
        if not self._overflowed:
            for residual in self._residuals:
                self._feedback.keep(*residual)
        self._residuals = []

"""What the communication hook asks of an aggregator, and what it answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Protocol

from torch import Tensor

from eyas.services.aggregation.collectives import Peers
from eyas.services.aggregation.job import Job

__all__ = ["Aggregator", "AggregatorError", "Sums", "Traffic"]


class AggregatorError(RuntimeError):
    """The aggregator refused, failed or is gone; the message says which."""


@dataclass(frozen=True)
class Sums:
    """What came back for one vector.

    Members
    -------
    values : Tensor
        int32, one for each index.
    added : int or Tensor
        How many workers are in the sums: one number, or one for each index.
    included : Tensor or None
        Whether this worker is among them, one truth value for each index; ``None``: everywhere.
    """

    values: Tensor
    added: int | Tensor
    included: Tensor | None = None


@dataclass
class Traffic:
    """Bytes between one worker and its aggregator since the start, by what they are.

    Payload is what the gradient's own coordinates take; padding is what fills blocks.  Headers are
    those of :mod:`eyas.interfaces.switch.packet`, also where an aggregator moves plain tensors.
    """

    payload_up: int = 0
    payload_down: int = 0
    padding_up: int = 0
    padding_down: int = 0
    norms_up: int = 0
    norms_down: int = 0
    headers_up: int = 0
    headers_down: int = 0
    resent_up: int = field(default=0)
    """Whole packets that were sent again."""

    @property
    def total_up(self) -> int:
        """All that this worker sent."""
        return sum(value for name, value in asdict(self).items() if name.endswith("_up"))

    @property
    def total_down(self) -> int:
        """All that was sent to this worker."""
        return sum(value for name, value in asdict(self).items() if name.endswith("_down"))


class Aggregator(Protocol):
    """Adds the workers' indices.  One thread calls it, in the same order on all workers."""

    def facts(self) -> dict[str, object]:
        """Settings that must be alike on all workers, by name."""

    def start(self, job: Job, peers: Peers) -> None:
        """Get ready for ``job``; all workers call this together.

        Raises
        ------
        ValueError
            When this aggregator cannot add such a job.
        AggregatorError
            When it cannot be started or reached.
        """

    def aggregate(self, packed: Tensor, count: int) -> Sums:
        """Add ``count`` indices, packed two to a byte (uint8, CPU), to the other workers'."""

    @property
    def resent_bytes(self) -> int:
        """Bytes of packets that were sent again since the start."""

    def close(self) -> None:
        """Say goodbye; nothing is raised, and it may be called twice."""

"""The interface between the communication hook and whoever adds the workers' indices."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Protocol

from torch import Tensor

from eyas.interfaces.switch.packet import HEADER_BYTES, Lanes
from eyas.interfaces.thc.formats import packed_size
from eyas.services.aggregation.collectives import Peers
from eyas.services.aggregation.training_job import TrainingJob

__all__ = ["Aggregator", "AggregatorError", "Sums", "Traffic"]


class AggregatorError(RuntimeError):
    """The aggregator refused, failed or is gone; the message says which."""


@dataclass(frozen=True)
class Sums:
    """The answer of an aggregator: the sums for one vector.

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

    def count_norms(self, words: int) -> None:
        """An all-reduce of so many 32-bit words."""
        self.norms_up += 4 * words
        self.norms_down += 4 * words

    def count_packets(self, length: int, indices: int, bits: int, lane_bits: int) -> None:
        """The exchange of a vector of ``length`` coordinates, padded to ``indices``."""
        lanes = Lanes.UINT8 if lane_bits == 8 else Lanes.UINT16
        lane_bytes = lane_bits // 8
        headers = -(-indices // lanes.coordinates) * HEADER_BYTES
        up, down = packed_size(length, bits), length * lane_bytes
        self.payload_up += up
        self.payload_down += down
        self.padding_up += packed_size(indices, bits) - up
        self.padding_down += indices * lane_bytes - down
        self.headers_up += headers
        self.headers_down += headers

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

    def start(self, job: TrainingJob, peers: Peers) -> None:
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

"""What adds inside the aggregation service: the model in PyTorch, or the Verilated overlay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from eyas.services.aggregation.training_job import TrainingJob

__all__ = ["UNITS", "ModelUnit", "SimulatedUnit", "Unit"]


class Unit(Protocol):
    """Adds the workers' contributions of one training job."""

    def configure(self, job: TrainingJob) -> None:
        """Load the job's table; ValueError when this unit cannot add such a job."""

    def add(self, payloads: Sequence[bytes], coordinates: int) -> npt.NDArray[Any]:
        """Sums (unsigned integers) of the workers' packed indices, a stretch of each."""

    def close(self) -> None:
        """Let go of whatever it holds."""


class ModelUnit:
    """Adds by :mod:`models.thc.aggregate`, the model with which the overlay is compared."""

    def configure(self, job: TrainingJob) -> None:
        """Keep the job."""
        self._job = job

    def add(self, payloads: Sequence[bytes], coordinates: int) -> npt.NDArray[Any]:
        """Look up and add in PyTorch, which the overlay's service never loads."""
        import torch

        from models.thc.aggregate import aggregate

        parts = [torch.from_numpy(np.frombuffer(data, np.uint8).copy()) for data in payloads]
        job = self._job
        return aggregate(parts, job.table, coordinates, job.lane_bits).numpy()

    def close(self) -> None:
        """Nothing to do."""


class SimulatedUnit:
    """The Verilated THC overlay, through its driver."""

    def __init__(self) -> None:
        from drivers.simulated.thc import thc_board
        from drivers.thc import ThcAggregator

        self._board = thc_board()
        self._driver = ThcAggregator(self._board)

    def configure(self, job: TrainingJob) -> None:
        """Open the job on the overlay, which refuses what it cannot add."""
        self._driver.open(job.table, job.workers, lane_bits=job.lane_bits)

    def add(self, payloads: Sequence[bytes], coordinates: int) -> npt.NDArray[Any]:
        """One descriptor, one interrupt."""
        data = np.stack([np.frombuffer(payload, np.uint8) for payload in payloads])
        return self._driver.aggregate(data, coordinates)

    def close(self) -> None:
        """End the simulation."""
        self._driver.close()
        self._board.close()


UNITS: dict[str, Callable[[], Unit]] = {"model": ModelUnit, "simulated": SimulatedUnit}
"""Units by name."""

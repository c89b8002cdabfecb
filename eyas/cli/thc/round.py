"""A round of compressed gradients on the simulated board, for ``eyas demo``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eyas.cli.common.console import say

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch import Tensor

    from models.vision.networks import Pictures, VisionNet

__all__ = ["Round", "run_round"]

WORKERS = 4
SHARE = 32
"""Pictures that each worker's gradient is of."""


@dataclass(frozen=True)
class Round:
    """The figures of a round; ``exact``: every sum of the RTL equals the reference."""

    coordinates: int
    sums: int
    bytes_up: int
    cycles: int
    error: float
    exact: bool

    def show(self) -> None:
        """The answer's lines."""
        say(
            f"THC: {WORKERS} workers' gradients of {self.coordinates:,} coordinates, "
            f"{self.bytes_up:,} bytes each instead of {4 * self.coordinates:,}, summed by the RTL "
            f"without decompressing in {self.cycles:,} cycles; error of the mean {self.error:.2%}"
        )
        if self.exact:
            say(f"Proof: all {self.sums:,} sums equal the PyTorch reference, bit for bit")


def run_round(network: VisionNet, data: Pictures, bars: Progress) -> Round:
    """Gradients of real pictures: encoded, summed on the simulated board, decoded."""
    import numpy as np
    import torch

    from drivers.simulated.thc import thc_board
    from drivers.thc import ThcAggregator
    from models.thc.aggregate import aggregate
    from models.thc.codec import Codec
    from models.thc.packing import pack

    codec = Codec.default()
    gradients = [_gradient(network, data, worker) for worker in range(WORKERS)]
    norms = torch.stack([codec.norms(vector) for vector in gradients]).amax(dim=0)
    packed = [
        pack(codec.encode(vector, norms, step=0, worker=worker, form="fixed"), codec.table.bits)
        for worker, vector in enumerate(gradients)
    ]
    length = gradients[0].numel()
    count = codec.padded(length)
    task = bars.add_task("building the aggregator", total=100)
    with (
        thc_board(progress=lambda _, done: bars.update(task, completed=100 * done)) as board,
        ThcAggregator(board) as unit,
    ):
        bars.update(task, completed=100)
        unit.open(codec.table, WORKERS, lane_bits=8)
        found = unit.aggregate(torch.stack(packed).numpy(), count)
        cycles = unit.cycles
    expected = aggregate(packed, codec.table, count, 8)
    mean = torch.stack(gradients).mean(dim=0)
    sums = torch.from_numpy(found.astype(np.int32))
    decoded = codec.decode(sums, norms, added=WORKERS, step=0, length=length)
    return Round(
        coordinates=length,
        sums=count,
        bytes_up=packed[0].numel(),
        cycles=cycles,
        error=float((decoded - mean).square().sum() / mean.square().sum()),
        exact=torch.equal(sums, expected),
    )


def _gradient(network: VisionNet, data: Pictures, worker: int) -> Tensor:
    """All of the network's gradients on one worker's pictures, as one vector."""
    import torch
    from torch.nn import functional

    part = slice(worker * SHARE, (worker + 1) * SHARE)
    labels = torch.from_numpy(data.train_labels[part].astype("int64"))
    loss = functional.cross_entropy(network(network.real(data.train_images[part])), labels)
    found = torch.autograd.grad(loss, list(network.parameters()))
    return torch.cat([gradient.flatten() for gradient in found])

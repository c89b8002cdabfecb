"""THC's speed in training beside PyTorch's own hooks, in one run.

A single process trains a layer whose backward pass costs next to nothing; measured is the time
from the call of each hook to its result, so that what remains is compressing, decompressing and
error feedback.  Then THC's parts by themselves.  Figures are coordinates a second, the median of
all runs; one thread.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import (
    allreduce_hook,
    fp16_compress_hook,
)
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel

from benchmarks.common import main
from eyas.services.aggregation.reference import ReferenceAggregator
from eyas.services.hook.thc_hook import ThcState, thc_hook
from models.thc.aggregate import lookup
from models.thc.codec import Codec
from models.thc.packing import pack

__all__ = ["measure"]

SHAPE = (1024, 1024)
WARM_UP = 3
Hook = Callable[[Any, Any], Any]


class _Layer(nn.Module):
    """A matrix whose gradient is the input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(SHAPE))

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight * x).sum()


def _hook_rate(state: Any, hook: Hook, runs: int, ddp: DistributedDataParallel) -> int:
    times: list[float] = []

    def timed(state, bucket):  # PyTorch reads annotations, and knows no postponed ones
        began = time.perf_counter()
        future = hook(state, bucket)
        future.wait()
        times.append(time.perf_counter() - began)
        return future

    ddp.register_comm_hook(state, timed)
    source = torch.Generator().manual_seed(1)
    for _ in range(WARM_UP + runs):
        ddp(torch.randn(SHAPE, generator=source)).backward()
    count = SHAPE[0] * SHAPE[1]
    return round(count / statistics.median(times[WARM_UP:]))


def _rate(count: int, runs: int, call: Callable[[], object]) -> int:
    times = []
    for _ in range(1 + runs):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return round(count / statistics.median(times[1:]))


def _parts(runs: int) -> dict[str, int]:
    codec, count = Codec.default(), SHAPE[0] * SHAPE[1]
    vector = torch.randn(count, generator=torch.Generator().manual_seed(1))
    norms = codec.norms(vector)

    def encode(form: Any) -> Tensor:
        return pack(codec.encode(vector, codec.norms(vector), step=0, worker=0, form=form), 4)

    packed = encode("float")
    sums = lookup(packed, codec.table, count)
    return {
        "encode_float": _rate(count, runs, lambda: encode("float")),
        "encode_fixed": _rate(count, runs, lambda: encode("fixed")),
        "decode": _rate(
            count, runs, lambda: codec.decode(sums, norms, added=1, step=0, length=count)
        ),
    }


def measure(runs: int) -> dict[str, Any]:
    """Coordinates a second by hook, and of THC's parts."""
    torch.set_num_threads(1)
    store = dist.HashStore()
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    figures: dict[str, Any] = {"coordinates": SHAPE[0] * SHAPE[1]}
    try:
        for name, make in _HOOKS.items():
            ddp = DistributedDataParallel(_Layer(), bucket_cap_mb=64)
            state, hook = make(ddp)
            figures[name] = _hook_rate(state, hook, runs, ddp)
            if isinstance(state, ThcState):
                state.close()
    finally:
        dist.destroy_process_group()
    return {**figures, **_parts(runs)}


def _thc(form: Any) -> Callable[[DistributedDataParallel], tuple[Any, Hook]]:
    return lambda ddp: (ThcState(ddp, ReferenceAggregator(), form=form), thc_hook)


def _power(rank: int) -> Callable[[DistributedDataParallel], tuple[Any, Hook]]:
    def make(ddp: DistributedDataParallel) -> tuple[Any, Hook]:
        state = PowerSGDState(None, matrix_approximation_rank=rank, start_powerSGD_iter=2)
        return state, powerSGD_hook

    return make


_HOOKS: dict[str, Callable[[DistributedDataParallel], tuple[Any, Hook]]] = {
    "hook_allreduce": lambda ddp: (None, allreduce_hook),
    "hook_fp16": lambda ddp: (None, fp16_compress_hook),
    "hook_powersgd_rank1": _power(1),
    "hook_powersgd_rank4": _power(4),
    "hook_thc_float": _thc("float"),
    "hook_thc_fixed": _thc("fixed"),
}


if __name__ == "__main__":
    main("thc_codec", __doc__, measure, 10)

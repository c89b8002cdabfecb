"""What the tests' workers do: small models, trained for a few steps with the hook."""

from __future__ import annotations

import os
import time
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from eyas.services.aggregation.aggregator import Aggregator
from eyas.services.aggregation.client import ServiceAggregator
from eyas.services.aggregation.collectives import Peers
from eyas.services.aggregation.reference import ReferenceAggregator
from eyas.services.aggregation.training_job import TrainingJob
from eyas.services.hook.thc_hook import ThcState, thc_hook
from models.thc.codec import Codec
from models.thc.table import Quantizer

SEED = 11


def model() -> nn.Module:
    """3,370 parameters, the same on all ranks."""
    torch.manual_seed(SEED)
    return nn.Sequential(nn.Linear(16, 120), nn.ReLU(), nn.Linear(120, 10), nn.ReLU(), nn.Flatten())


def wrapped(bucket_mb: float = 0.004) -> DistributedDataParallel:
    """The model in several buckets."""
    return DistributedDataParallel(model(), bucket_cap_mb=bucket_mb)


def batch(rank: int, step: int) -> Tensor:
    source = torch.Generator().manual_seed(1000 * step + rank)
    return torch.randn(8, 16, generator=source)


def steps(
    rank: int, ddp: DistributedDataParallel, first: int, last: int, spoil: Any = None
) -> None:
    optimizer = torch.optim.SGD(ddp.parameters(), 0.05, 0.9)
    for step in range(first, last):
        optimizer.zero_grad()
        loss = ddp(batch(rank, step)).square().mean()
        if spoil is not None:
            loss = loss + spoil(step, ddp.module)
        loss.backward()
        optimizer.step()


def weights(ddp: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in ddp.parameters()])


def train(
    rank: int,
    count: int,
    aggregator: Aggregator | None,
    codec: Codec | None = None,
    **options: Any,
) -> tuple[Tensor, dict[str, int]]:
    """Weights and traffic after ``count`` steps."""
    ddp = wrapped()
    state = ThcState(ddp, aggregator, codec, **options)
    try:
        ddp.register_comm_hook(state, thc_hook)
        steps(rank, ddp, 0, count)
        return weights(ddp), vars(state.traffic)
    finally:
        state.close()


def by_reference(rank: int, count: int, *args: Any, **options: Any) -> tuple[Tensor, Any]:
    return train(rank, count, ReferenceAggregator(), *args, **options)


def with_options(rank: int, options: dict[str, Any]) -> tuple[Tensor, Any]:
    return train(rank, 3, ReferenceAggregator(), Codec.default(), **options)


def plain(rank: int, count: int, hook: bool) -> Tensor:
    """PyTorch's all-reduce hook, or this hook in bypass mode."""
    if hook:
        return train(rank, count, None)[0]
    ddp = wrapped()
    ddp.register_comm_hook(None, allreduce_hook)
    steps(rank, ddp, 0, count)
    return weights(ddp)


def one_round(rank: int, form: str, bits: int = 4) -> tuple[list[Tensor], dict[str, Tensor]]:
    """This rank's own gradients, and what the hook made of all ranks'."""
    codec = Codec(Quantizer.optimal(bits), seed=SEED)
    own = model()
    own(batch(rank, 0)).square().mean().backward()
    ddp = DistributedDataParallel(model())
    state = ThcState(ddp, ReferenceAggregator(), codec, form=form)
    ddp.register_comm_hook(state, thc_hook)
    ddp(batch(rank, 0)).square().mean().backward()
    state.close()
    found = {name: parameter.grad for name, parameter in ddp.module.named_parameters()}
    return [parameter.grad for parameter in own.parameters()], found


def checkpointed(rank: int, count: int, again_at: int) -> tuple[Tensor, Tensor]:
    """Weights after ``count`` steps: in one go, and with everything made anew from a checkpoint."""
    whole = by_reference(rank, count)[0]
    torch.manual_seed(SEED)
    saved: dict[str, Any] = {}
    for first, last in ((0, again_at), (again_at, count)):
        ddp = wrapped()
        state = ThcState(ddp, ReferenceAggregator())
        optimizer = torch.optim.SGD(ddp.parameters(), 0.05, 0.9)
        ddp.register_comm_hook(state, thc_hook)
        if saved:
            ddp.module.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            state.load_state_dict(saved["hook"])
        for step in range(first, last):
            optimizer.zero_grad()
            ddp(batch(rank, step)).square().mean().backward()
            optimizer.step()
        saved = {
            "model": {name: value.clone() for name, value in ddp.module.state_dict().items()},
            "optimizer": optimizer.state_dict(),
            "hook": state.state_dict(),
        }
        state.close()
    return whole, weights(ddp)


def foreign_checkpoint(rank: int, changes: dict[str, Any]) -> None:
    ddp = wrapped()
    state = ThcState(ddp, ReferenceAggregator())
    try:
        state.load_state_dict({**state.state_dict(), **changes})
    finally:
        state.close()


def at_other_steps(rank: int) -> None:
    ddp = wrapped()
    state = ThcState(ddp, ReferenceAggregator())
    state.step = 5 + rank
    try:
        ddp.register_comm_hook(state, thc_hook)
        steps(rank, ddp, 0, 1)
    finally:
        state.close()


def bad_gradient(rank: int, bad_rank: int, value: float) -> tuple[str, str, bool, bool]:
    """The error of a gradient that holds ``value`` at step 2, and what the state says after it."""
    ddp = wrapped()
    state = ThcState(ddp, ReferenceAggregator())
    ddp.register_comm_hook(state, thc_hook)

    def spoil(step: int, module: nn.Module) -> Tensor:
        bias = module[2].bias
        return bias[3] * (value if step == 2 and rank == bad_rank else 0.0)

    try:
        steps(rank, ddp, 0, 5, spoil)
    except RuntimeError as error:
        errors = state.state_dict()["errors"]
        finite = all(bool(error.isfinite().all()) for error in errors.values())
        return str(error), str(state.failure), finite, state.step == 3
    finally:
        state.close()
    raise AssertionError("nothing was raised")


def zero_gradients(rank: int) -> tuple[Tensor, dict[str, Tensor]]:
    ddp = wrapped()
    state = ThcState(ddp, ReferenceAggregator())
    ddp.register_comm_hook(state, thc_hook)
    for _ in range(2):
        (ddp(batch(rank, 0)) * 0).sum().backward()
    errors = state.state_dict()["errors"]
    state.close()
    return torch.cat([p.grad.flatten() for p in ddp.parameters()]), errors


def other_settings(rank: int, name: str) -> None:
    """Rank 1 differs from the others in one setting."""
    odd = rank == 1
    quantizer = Quantizer.uniform() if name == "table" and odd else Quantizer.optimal()
    codec = Codec(quantizer, seed=2 if name == "seed" and odd else 1)
    module = nn.Linear(3, 2 if name == "parameters" and odd else 4)
    lanes = 16 if name == "lanes" and odd else None
    ThcState(module, ReferenceAggregator(), codec, lane_bits=lanes)


def small_buckets(rank: int) -> tuple[list[list[int]], Tensor, dict[str, Tensor]]:
    """Buckets of each step, and the gradients' names while buckets are rebuilt."""
    ddp = wrapped()
    state = ThcState(ddp, ReferenceAggregator())
    seen: list[list[int]] = []

    def spy(state, bucket):  # PyTorch reads annotations, and knows no postponed ones
        if bucket.index() == 0:
            seen.append([])
        seen[-1].append(bucket.buffer().numel())
        return thc_hook(state, bucket)

    ddp.register_comm_hook(state, spy)
    steps(rank, ddp, 0, 3)
    state.close()
    return seen, weights(ddp), state.state_dict()["errors"]


def die_at(rank: int, dying: int, step: int, sleep: float | None) -> tuple[float, str]:
    """Rank ``dying`` ends (or sleeps) before ``step``; how long each rank waited, and its error."""
    ddp = wrapped()
    state = ThcState(ddp, ReferenceAggregator(), timeout=4, grace=3)
    ddp.register_comm_hook(state, thc_hook)
    steps(rank, ddp, 0, step)
    if rank == dying:
        if sleep is None:
            os._exit(9)
        time.sleep(sleep)
    began = time.monotonic()
    try:
        steps(rank, ddp, step, step + 1)
    except RuntimeError:
        return time.monotonic() - began, str(state.failure)
    finally:
        state.close()
    raise AssertionError("nothing was raised")


def stay_away(rank: int, absent: int) -> str:
    """Rank ``absent`` makes no state."""
    if rank == absent:
        return ""
    try:
        ThcState(model(), ReferenceAggregator(), timeout=2, grace=1)
    except RuntimeError as error:
        return str(error)
    raise AssertionError("nothing was raised")


def close_early(rank: int, closing: int, service: bool) -> str:
    """Rank ``closing`` closes its state while the others go on."""
    ddp = wrapped()
    aggregator = ServiceAggregator("model") if service else ReferenceAggregator()
    state = ThcState(ddp, aggregator, grace=3)
    ddp.register_comm_hook(state, thc_hook)
    try:
        if rank == closing:
            return ""
        steps(rank, ddp, 0, 1)
    except RuntimeError:
        return str(state.failure)
    finally:
        state.close()
    raise AssertionError("nothing was raised")


def patient(rank: int, seconds: float) -> bool:
    """Rank 0 is away between two steps; whether training goes on."""
    ddp = wrapped()
    state = ThcState(ddp, ReferenceAggregator(), grace=0.5)
    ddp.register_comm_hook(state, thc_hook)
    steps(rank, ddp, 0, 1)
    time.sleep(seconds if rank == 0 else 0)
    steps(rank, ddp, 1, 2)
    state.close()
    return state.failure is None


def by_service(
    rank: int, count: int, options: dict[str, Any], lane_bits: int | None = None
) -> tuple[Tensor, dict[str, int]]:
    """Through the service, with the model in place of the overlay."""
    return train(rank, count, ServiceAggregator("model", **options), lane_bits=lane_bits)


def kill_service(rank: int) -> tuple[float, str]:
    """Rank 0 kills the service between two steps; how long each rank waited, and its error."""
    ddp = wrapped()
    aggregator = ServiceAggregator("model")
    state = ThcState(ddp, aggregator)
    ddp.register_comm_hook(state, thc_hook)
    steps(rank, ddp, 0, 1)
    dist.barrier()
    if aggregator._process is not None:
        aggregator._process.kill()
    began = time.monotonic()
    try:
        steps(rank, ddp, 1, 2)
    except RuntimeError:
        return time.monotonic() - began, str(state.failure)
    finally:
        state.close()
    raise AssertionError("nothing was raised")


def mismatched_service(rank: int) -> None:
    """Rank 1 tells the service of other lanes; the workers themselves do not compare theirs."""
    peers = Peers()
    aggregator = ServiceAggregator("model", timeout=5)
    job = TrainingJob(Codec.default().table, 3, 8 if rank != 1 else 16)
    if rank == 1:
        time.sleep(1)  # the others begin the job
    try:
        aggregator.start(job, peers)
    finally:
        dist.barrier()
        aggregator._sound = False
        aggregator.close()

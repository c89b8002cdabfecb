"""What users' training scripts do beside plain steps: subgroups, fp16, wrappers, checkpoints."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from eyas.services.aggregation.aggregator import Aggregator
from eyas.services.aggregation.client import ServiceAggregator
from eyas.services.aggregation.reference import ReferenceAggregator
from eyas.services.hook.thc_hook import ThcState, thc_hook
from tests.services import jobs

OVERFLOW = 3e38


AGGREGATORS: dict[str, Callable[[], Aggregator | None]] = {
    "reference": ReferenceAggregator,
    "service": lambda: ServiceAggregator("model"),
    "bypass": lambda: None,
}


def in_subgroups(rank: int, size: int, aggregator: str) -> Tensor:
    """Neighbours train in groups of ``size``, each on the data of ranks 0, 1, …"""
    world = dist.get_world_size()
    groups = [dist.new_group(list(range(first, first + size))) for first in range(0, world, size)]
    group = groups[rank // size]
    ddp = DistributedDataParallel(jobs.model(), process_group=group, bucket_cap_mb=0.004)
    state = ThcState(ddp, AGGREGATORS[aggregator]())
    try:
        ddp.register_comm_hook(state, thc_hook)
        jobs.steps(rank % size, ddp, 0, 4)
        return jobs.weights(ddp)
    finally:
        state.close()


def overlapping_groups(rank: int) -> list[Tensor]:
    """Rank 0 and 1, then all: rank 2 has been in one group less than the others."""
    pair = dist.new_group([0, 1])
    found = []
    for group in (pair, None) if rank < 2 else (None,):
        ddp = DistributedDataParallel(jobs.model(), process_group=group)
        state = ThcState(ddp, ReferenceAggregator())
        ddp.register_comm_hook(state, thc_hook)
        jobs.steps(rank, ddp, 0, 2)
        state.close()
        found.append(jobs.weights(ddp))
    return found


def another_group(rank: int) -> None:
    pairs = [dist.new_group([0, 1]), dist.new_group([0, 2]), dist.new_group([1, 2])]
    del pairs[1 if rank == 1 else 2 if rank == 0 else 0]
    ThcState(jobs.wrapped(), ReferenceAggregator(), process_group=pairs[0])


def scaled(
    rank: int, count: int, make: Callable[[], Any] | None, skipped: int | None = None
) -> tuple[Tensor, dict[str, Tensor], list[float], list[bool]]:
    """Weights, errors, scales and skips; at step ``skipped`` rank 1's gradients overflow.

    Without a scaler nothing overflows, and that step is left out as GradScaler would.
    """
    ddp = jobs.wrapped()
    scaler = make() if make else None
    state = ThcState(ddp, ReferenceAggregator(), scaler=scaler)
    ddp.register_comm_hook(state, thc_hook)
    optimizer = torch.optim.SGD(ddp.parameters(), 0.05, 0.9)
    scales, skips = [], []
    for step in range(count):
        if scaler is None and step == skipped:
            state.step += 1
            continue
        optimizer.zero_grad()
        loss = ddp(jobs.batch(rank, step)).square().mean()
        if scaler is None:
            loss.backward()
            optimizer.step()
            continue
        scales.append(scaler.get_scale())
        if step == skipped and rank == 1:
            # In one parameter, so that other buckets of the step are sound.
            loss = loss + ddp.module[2].bias[3] * OVERFLOW
        before = jobs.weights(ddp).clone()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        skips.append(torch.equal(before, jobs.weights(ddp)))
    errors = state.state_dict()["errors"]
    state.close()
    return jobs.weights(ddp), errors, scales, skips


def grad_scaler() -> torch.amp.GradScaler:
    """One that grows every second step."""
    return torch.amp.GradScaler("cpu", init_scale=2.0**14, growth_interval=2)


def overflow_without_scaling(rank: int, bad_rank: int, value: float) -> tuple[str, None]:
    """As :func:`tests.services.jobs.bad_gradient`, with a scaler that is not enabled."""
    ddp = jobs.wrapped()
    state = ThcState(ddp, ReferenceAggregator(), scaler=disabled_scaler())
    ddp.register_comm_hook(state, thc_hook)
    factor = value if rank == bad_rank else 0.0
    try:
        jobs.steps(rank, ddp, 0, 1, lambda step, module: module[2].bias[3] * factor)
    except RuntimeError as error:
        return str(error), None
    finally:
        state.close()
    raise AssertionError("nothing was raised")


def disabled_scaler() -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", enabled=False)


def half(rank: int, count: int) -> tuple[Tensor, list[float], str]:
    """An fp16 model under autocast; the scale begins too large for the first steps' gradients."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)
    torch.manual_seed(jobs.SEED)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 10))
    ddp = DistributedDataParallel(model)
    state = ThcState(ddp, ReferenceAggregator(), scaler=scaler)
    ddp.register_comm_hook(state, thc_hook)
    optimizer = torch.optim.SGD(ddp.parameters(), 0.05)
    losses = []
    for _ in range(count):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.float16):
            output = ddp(jobs.batch(rank, 0))
        loss = output.float().square().mean()
        losses.append(loss.item())
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    state.close()
    return jobs.weights(ddp), losses, f"{scaler.get_scale():g} {state.failure}"


def half_weights(rank: int, scaled: bool) -> tuple[str, bool]:
    """Parameters in fp16 whose mean gradient is beyond it: the failure, and whether all is NaN."""
    ddp = DistributedDataParallel(nn.Linear(8, 8).half())
    state = ThcState(ddp, ReferenceAggregator(), scaler=(lambda: 1.0) if scaled else None)
    # Error feedback makes the mean larger than any gradient of this step.
    error = {"weight": torch.full((8, 8), 60000.0)}
    state.load_state_dict({**state.state_dict(), "errors": error})
    ddp.register_comm_hook(state, thc_hook)
    try:
        (ddp(torch.full((1, 8), 30000.0).half()) * 1.0).sum().backward()
    except RuntimeError:
        return str(state.failure), False
    finally:
        state.close()
    gradients = [parameter.grad for parameter in ddp.parameters()]
    return str(state.failure), all(bool(gradient.isnan().all()) for gradient in gradients)


def unlike_scales(rank: int) -> None:
    ddp = jobs.wrapped()
    state = ThcState(ddp, ReferenceAggregator(), scaler=lambda: 4.0 if rank == 1 else 2.0)
    try:
        ddp.register_comm_hook(state, thc_hook)
        jobs.steps(rank, ddp, 0, 1)
    finally:
        state.close()


def errors_through_compile(rank: int, wrapping: str) -> tuple[list[str], list[str], str | None]:
    """Errors' names with a compiled model, and after a plain model has loaded them."""
    model = jobs.model()
    model = torch.compile(model, backend="eager") if wrapping == "inside" else model
    ddp = DistributedDataParallel(model)
    whole = torch.compile(ddp, backend="eager") if wrapping == "outside" else ddp
    state = ThcState(whole, ReferenceAggregator())
    ddp.register_comm_hook(state, thc_hook)
    optimizer = torch.optim.SGD(ddp.parameters(), 0.05)
    for step in range(2):
        optimizer.zero_grad()
        whole(jobs.batch(rank, step)).square().mean().backward()
        optimizer.step()
    saved = state.state_dict()
    state.close()
    plain = ThcState(jobs.wrapped(), ReferenceAggregator())
    # As a version that knew no wrappers saved it.
    old = {f"_orig_mod.{name}": error for name, error in saved["errors"].items()}
    plain.load_state_dict({**saved, "errors": old})
    loaded = plain.state_dict()["errors"]
    plain.close()
    equal = all(torch.equal(loaded[name], error) for name, error in saved["errors"].items())
    return list(saved["errors"]), list(loaded), None if equal else "errors differ"


def bad_checkpoint(rank: int, changes: dict[str, Any]) -> str:
    """What a checkpoint of another model is answered, and that nothing was loaded of it."""
    ddp = jobs.wrapped()
    state = ThcState(ddp, ReferenceAggregator())
    saved = {**state.state_dict(), "step": 9, **changes}
    saved = {key: value for key, value in saved.items() if value is not None}
    try:
        state.load_state_dict(saved)
    except ValueError as error:
        assert state.step == 0
        assert not state.state_dict()["errors"]
        return str(error)
    finally:
        state.close()
    raise AssertionError("nothing was raised")


def pickled(rank: int) -> tuple[bool, str, str]:
    """Whether a state goes on from its pickle; what the unpickled one itself answers."""
    ddp = jobs.wrapped()
    state = ThcState(ddp, ReferenceAggregator())
    ddp.register_comm_hook(state, thc_hook)
    jobs.steps(rank, ddp, 0, 2)
    copy = pickle.loads(pickle.dumps(state))
    copy.close()
    mine, its = state.state_dict(), copy.state_dict()
    equal = mine["step"] == its["step"] == copy.step == 2 and all(
        torch.equal(its["errors"][name], error) for name, error in mine["errors"].items()
    )
    state.close()
    again = ThcState(ddp.module, ReferenceAggregator())
    again.load_state_dict(its)
    again.close()
    answers = []
    for use in (copy.load_state_dict, lambda its: thc_hook(copy, None)):
        try:
            use(its)
        except RuntimeError as error:
            answers.append(str(error))
    return equal, *answers


class Bag(nn.Module):
    """An embedding with sparse gradients, before a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(20, 4, sparse=True, mode="sum")
        self.out = nn.Linear(4, 2)

    def forward(self, numbers: Tensor) -> Tensor:
        return self.out(self.bag(numbers))


def sparse(rank: int, hidden: bool) -> None:
    """``hidden``: the layer does not say it while the state is made."""
    model = Bag()
    ddp = DistributedDataParallel(model)
    model.bag.sparse = not hidden
    state = ThcState(ddp, ReferenceAggregator())
    model.bag.sparse = True
    ddp.register_comm_hook(state, thc_hook)
    try:
        ddp(torch.arange(6).view(2, 3)).sum().backward()
    finally:
        state.close()


def complex_numbers(rank: int) -> None:
    ddp = DistributedDataParallel(nn.Linear(3, 3, dtype=torch.complex64))
    state = ThcState(ddp, ReferenceAggregator())
    ddp.register_comm_hook(state, thc_hook)
    try:
        ddp(torch.ones(1, 3, dtype=torch.complex64)).abs().sum().backward()
    finally:
        state.close()

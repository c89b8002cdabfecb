"""THC in PyTorch's data-parallel training: ``ddp.register_comm_hook(state, thc_hook)``.

::

    state = ThcState(ddp, ReferenceAggregator())
    ddp.register_comm_hook(state, thc_hook)

For each bucket of gradients the hook starts a round and returns its future at once; one thread runs
the rounds in the order of the buckets, which is the same on all workers.
"""

# No postponed annotations: PyTorch reads those of thc_hook.
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from eyas.interfaces.switch.packet import HEADER_BYTES, Lanes
from eyas.interfaces.thc.formats import packed_size
from eyas.services.aggregation.aggregator import Aggregator, Traffic
from eyas.services.aggregation.collectives import Peers
from eyas.services.aggregation.job import Job
from eyas.services.hook.health import Health
from models.thc.codec import Codec
from models.thc.feedback import ErrorFeedback
from models.thc.packing import pack

__all__ = ["ThcState", "thc_hook"]


@dataclass(frozen=True)
class _Round:
    """A bucket, as the hook's thread works on it."""

    step: int
    number: int
    buffer: Tensor
    gradients: list[Tensor]
    names: list[str]


class ThcState:
    """What the hook keeps between rounds.  All workers construct it together, with like settings.

    A failure (a bad gradient, a lost worker or aggregator) is raised by ``backward()`` on every
    worker, as the RuntimeError that PyTorch makes of a failed hook; ``failure`` holds the original.
    No further round is run after one.

    Parameters
    ----------
    module : nn.Module
        The model, wrapped in DistributedDataParallel or not: for the parameters' names.
    aggregator : Aggregator or None
        Who adds the indices; None bypasses THC: PyTorch's own all-reduce, bit for bit.
    codec : Codec or None
        THC's parameters; the default ones when None.
    form : "float" or "fixed"
        Arithmetic of the encoder: PyTorch's, or the hardware's bit for bit.
    lane_bits : int or None
        8 or 16; the narrowest that holds the sums when None.
    process_group : ProcessGroup or None
        That of the DistributedDataParallel module.
    timeout, grace : float
        Seconds; see :class:`eyas.services.aggregation.collectives.Peers`.

    Raises
    ------
    ValueError
        When the sums of so many workers do not fit, or the workers' settings differ.
    AggregatorError, PeerLost
        When the aggregator or a worker is missing at the start.
    """

    def __init__(
        self,
        module: nn.Module,
        aggregator: Aggregator | None,
        codec: Codec | None = None,
        *,
        form: Literal["float", "fixed"] = "float",
        lane_bits: int | None = None,
        process_group: dist.ProcessGroup | None = None,
        timeout: float = 60.0,
        grace: float = 5.0,
    ) -> None:
        if form not in ("float", "fixed"):
            raise ValueError(f"Form must be float or fixed, not {form!r}")
        if isinstance(module, DistributedDataParallel):
            module = module.module
        self.process_group = process_group
        self.aggregator = aggregator
        self.codec = codec or Codec.default()
        self.form = form
        self.step = 0
        self.failure: Exception | None = None
        self._names = {parameter: name for name, parameter in module.named_parameters()}
        self._feedback = ErrorFeedback()
        self._traffic = Traffic()
        self._closed = False
        if aggregator is None:
            return
        self._peers = Peers(process_group, timeout, grace)
        table, workers = self.codec.table, self._peers.size
        self.job = (
            Job.fitting(table, workers) if lane_bits is None else Job(table, workers, lane_bits)
        )
        self._check_alike()
        self._health = Health(self._peers)
        try:
            aggregator.start(self.job, self._peers)
        except Exception:
            aggregator.close()
            raise
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="eyas-thc")

    @property
    def traffic(self) -> Traffic:
        """What this worker sent and was sent so far; none in bypass mode."""
        resent = self.aggregator.resent_bytes if self.aggregator else 0
        return replace(self._traffic, resent_up=resent)

    def start_round(self, bucket: GradBucket) -> Future[Tensor]:
        """Begin the exchange of one bucket; nothing here waits."""
        if self._closed:
            raise RuntimeError("This hook's state is closed")
        step, buffer = self.step, bucket.buffer()
        if bucket.is_last():
            self.step += 1
        gradients = bucket.gradients()
        names = [self._name(parameter) for parameter in bucket.parameters()]
        if buffer.device.type != "cpu":
            raise ValueError(f"The THC hook takes gradients on the CPU, not on {buffer.device}")
        round_ = _Round(step, bucket.index(), buffer, gradients, names)
        done: Future[Exception | None] = Future()
        self._thread.submit(self._run, round_, done)

        def result(future: Future[Exception | None]) -> Tensor:
            failure = future.value()
            if failure is not None:
                raise failure
            return buffer

        return done.then(result)

    def state_dict(self) -> dict[str, Any]:
        """Step counter and this worker's errors: a checkpoint has one for each worker."""
        return {
            "step": self.step,
            "errors": self._feedback.state_dict(),
            "worker": self._peers.rank if self.aggregator else 0,
            "workers": self._peers.size if self.aggregator else 1,
            "codec": self.codec.fingerprint,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint of the same worker."""
        mine = self.state_dict()
        for key, what in (
            ("codec", "THC parameters"),
            ("workers", "number of workers"),
            ("worker", "worker"),
        ):
            if state[key] != mine[key]:
                raise ValueError(
                    f"The checkpoint belongs to another {what} ({state[key]}, here {mine[key]}): "
                    f"each worker loads its own, with the settings it was saved with"
                )
        self._feedback.load_state_dict(state["errors"])
        self.step = int(state["step"])

    def close(self) -> None:
        """End the thread and take leave of the aggregator; may be called twice."""
        if self._closed or self.aggregator is None:
            return
        self._closed = True
        self._thread.shutdown(wait=True)
        self.aggregator.close()

    def _check_alike(self) -> None:
        """Refuse to start with workers whose settings differ."""
        names = sorted((name, tuple(p.shape)) for p, name in self._names.items())
        mine = {
            "table": self.codec.table.entries,
            "clamped share": self.codec.quantizer.clamp,
            "seed": self.codec.seed,
            "block": self.codec.block,
            "single norm": self.codec.single_norm,
            "arithmetic": self.form,
            "lane width": self.job.lane_bits,
            "set of parameters (checksum)": zlib.crc32(repr(names).encode()),
            **(self.aggregator.facts() if self.aggregator else {}),
        }
        first, *others = self._peers.all_gather_object(mine, "Comparing the workers' settings")
        for rank, found in enumerate(others, 1):
            for name in sorted(first.keys() | found.keys()):
                if found.get(name) != first.get(name):
                    raise ValueError(
                        f"Rank {rank} has another {name} ({found.get(name)}) than rank 0 "
                        f"({first.get(name)}): all workers must have the same"
                    )

    def _name(self, parameter: Tensor) -> str:
        try:
            return self._names[parameter]  # type: ignore[index]
        except KeyError:
            raise ValueError(
                f"A bucket holds a parameter of shape {tuple(parameter.shape)} that is not in the "
                f"model given to ThcState"
            ) from None

    def _run(self, round_: _Round, done: Future[Exception | None]) -> None:
        """One round, in the hook's own thread."""
        if self.failure is None:
            try:
                self._exchange(round_)
            except Exception as error:  # reaches the user through the future
                self.failure = error
        done.set_result(self.failure)

    @torch.no_grad()
    def _exchange(self, round_: _Round) -> None:
        assert self.aggregator is not None
        codec, step, stream = self.codec, round_.step, round_.number
        parts = [
            self._feedback.correct(name, gradient.to(torch.float32)).flatten()
            for name, gradient in zip(round_.names, round_.gradients, strict=True)
        ]
        vector = torch.cat(parts)
        norms = self._health.agree(codec.norms(vector), parts, round_.names, step)
        indices = codec.encode(
            vector, norms, step=step, worker=self._peers.rank, stream=stream, form=self.form
        )
        packed = pack(indices, codec.table.bits)
        sums = self.aggregator.aggregate(packed, indices.numel())
        left = codec.residual(
            vector, indices, norms, step=step, stream=stream, included=sums.included
        )
        mean = codec.decode(
            sums.values, norms, added=sums.added, step=step, stream=stream, length=vector.numel()
        )
        sizes = [part.numel() for part in parts]
        for name, gradient, error, found in zip(
            round_.names, round_.gradients, left.split(sizes), mean.split(sizes), strict=True
        ):
            self._feedback.keep(name, error.view_as(gradient))
            gradient.copy_(found.view_as(gradient))
        self._count(vector.numel(), indices.numel(), norms.numel())

    def _count(self, length: int, indices: int, norms: int) -> None:
        bits, lane_bytes = self.codec.table.bits, self.job.lane_bits // 8
        lanes = Lanes.UINT8 if lane_bytes == 1 else Lanes.UINT16
        headers = -(-indices // lanes.coordinates) * HEADER_BYTES
        exchanged = 4 * (norms + self._health.words)
        up, down = packed_size(length, bits), length * lane_bytes
        traffic = self._traffic
        traffic.payload_up += up
        traffic.payload_down += down
        traffic.padding_up += packed_size(indices, bits) - up
        traffic.padding_down += indices * lane_bytes - down
        traffic.norms_up += exchanged
        traffic.norms_down += exchanged
        traffic.headers_up += headers
        traffic.headers_down += headers


def thc_hook(state: ThcState, bucket: GradBucket) -> Future[Tensor]:
    """The communication hook: the mean of all workers' gradients, by THC."""
    if state.aggregator is None:
        return allreduce_hook(state.process_group, bucket)  # type: ignore[arg-type]
    return state.start_round(bucket)

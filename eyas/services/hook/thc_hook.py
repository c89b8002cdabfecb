"""THC in PyTorch's data-parallel training: ``ddp.register_comm_hook(state, thc_hook)``.

::

    state = ThcState(ddp, ReferenceAggregator())
    ddp.register_comm_hook(state, thc_hook)

For each bucket of gradients the hook starts a round and returns its future at once; one thread runs
the rounds in the order of the buckets, which is the same on all workers.
"""

# No postponed annotations: PyTorch reads those of thc_hook.
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Literal

import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.futures import Future

from eyas.services.aggregation.aggregator import Aggregator, Traffic
from eyas.services.aggregation.collectives import Peers
from eyas.services.aggregation.training_job import DEFAULT_TIMEOUT, TrainingJob
from eyas.services.hook.checkpoint import read_checkpoint
from eyas.services.hook.loss_scale import LossScale, current_scale
from eyas.services.hook.parameters import (
    Parameters,
    check_gradients,
    group_of,
    refuse_sparse,
    unwrapped,
)
from eyas.services.hook.rounds import Round, Rounds
from eyas.services.hook.settings import refuse_differences
from models.thc.codec import Codec
from models.thc.feedback import ErrorFeedback

__all__ = ["ThcState", "thc_hook"]


class ThcState:
    """What the hook keeps between rounds.  All workers construct it together, with like settings.

    The workers are the ranks of the module's process group.  A failure (a bad gradient, a lost
    worker or aggregator) is raised by ``backward()`` on every worker, as the RuntimeError that
    PyTorch makes of a failed hook; ``failure`` holds the original.  No further round is run after
    one.

    A pickled state holds the checkpoint alone: what comes out of the pickle answers
    :meth:`state_dict`, for a new state to load, and takes part in no round.

    Parameters
    ----------
    module : nn.Module
        The model, wrapped in DistributedDataParallel (and ``torch.compile``) or not.
    aggregator : Aggregator or None
        Who adds the indices; None bypasses THC: PyTorch's own all-reduce, bit for bit.
    codec : Codec or None
        THC's parameters; the default ones when None.
    form : "float" or "fixed"
        Arithmetic of the encoder: PyTorch's, or the hardware's bit for bit.
    lane_bits : int or None
        8 or 16; the narrowest that holds the sums when None.
    scaler : GradScaler, callable or None
        For fp16 training, where an overflow is a normal event: who scales the loss, or a function
        that returns the scale.  When a worker's gradients are not finite, the bucket's gradients
        become NaN on all workers, so that GradScaler skips the step on all of them, and the error
        feedback stays as it was before the step.  Errors follow a change of the scale.  None (and
        a GradScaler that is not enabled): gradients that are not finite are a failure.  May be
        set later, as ``state.scaler``, before the first round.
    process_group : ProcessGroup or None
        Of a module that is not wrapped yet, which will be given the same group; a wrapped one has
        its own.
    timeout, grace : float
        Seconds; see :class:`eyas.services.aggregation.collectives.Peers`.

    Raises
    ------
    ValueError
        When the sums of so many workers do not fit, the workers' settings differ, the module has
        another process group, or a layer makes sparse gradients.
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
        scaler: LossScale | None = None,
        process_group: dist.ProcessGroup | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        grace: float = 5.0,
    ) -> None:
        if form not in ("float", "fixed"):
            raise ValueError(f"Form must be float or fixed, not {form!r}")
        current_scale(scaler)
        module, ddp = unwrapped(module)
        self.process_group = group_of(ddp, process_group)
        self.aggregator = aggregator
        self.codec = codec or Codec.default()
        self.form: Literal["float", "fixed"] = form
        self.scaler = scaler
        self.step = 0
        self._parameters = Parameters(module)
        self._feedback = ErrorFeedback()
        self._closed = False
        self._unpickled: dict[str, Any] | None = None
        self._rounds: Rounds | None = None
        if aggregator is None:
            return
        refuse_sparse(module, ddp)
        self._peers = Peers(self.process_group, timeout, grace)
        try:
            self.job = TrainingJob.fitting(self.codec.table, self._peers.size, lane_bits)
            self._check_alike()
            aggregator.start(self.job, self._peers)
        except Exception:
            aggregator.close()
            self._peers.close()
            raise
        self._rounds = Rounds(self.codec, form, self.job, self._peers, aggregator, self._feedback)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="eyas-thc")

    @property
    def failure(self) -> Exception | None:
        """What ended the rounds; None while all is well."""
        return self._rounds.failure if self._rounds else None

    @property
    def traffic(self) -> Traffic:
        """What this worker sent and was sent so far; none in bypass mode."""
        if self._rounds is None or self.aggregator is None:
            return Traffic()
        return replace(self._rounds.traffic, resent_up=self.aggregator.resent_bytes)

    def start_round(self, bucket: GradBucket) -> Future[Tensor]:
        """Begin the exchange of one bucket; nothing here waits."""
        self._require_alive()
        assert self._rounds is not None
        buffer = bucket.buffer()
        parameters = bucket.parameters()
        try:
            check_gradients(buffer, parameters)
            round_ = Round(
                step=self.step,
                number=bucket.index(),
                last=bucket.is_last(),
                buffer=buffer,
                gradients=bucket.gradients(),
                names=[self._parameters.name(parameter) for parameter in parameters],
                scale=current_scale(self.scaler),
            )
        except Exception as error:
            # This worker alone cannot take part: no round follows, and the others are told so
            # behind those that are under way.
            self._rounds.failure = error
            self._thread.submit(self._peers.close)
            raise
        if round_.last:
            self.step += 1
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
        if self._unpickled is not None:
            return self._unpickled
        return {
            "step": self.step,
            "errors": self._feedback.state_dict(),
            "worker": self._peers.rank if self.aggregator else 0,
            "workers": self._peers.size if self.aggregator else 1,
            "codec": self.codec.fingerprint,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint of the same worker.

        ValueError, and nothing is changed, when it belongs to another worker, number of workers,
        set of THC's parameters or model.
        """
        self._require_alive()
        step, errors = read_checkpoint(state, self.state_dict(), self._parameters.shapes)
        self._feedback.load_state_dict(errors)
        self.step = step

    def close(self) -> None:
        """End the thread and take leave of the aggregator; may be called twice."""
        if self._closed or self.aggregator is None:
            return
        self._closed = True
        self._thread.shutdown(wait=True)
        self._peers.close()  # first: whoever still waits for this worker must not keep it waiting
        self.aggregator.close()

    def __getstate__(self) -> dict[str, Any]:
        """The checkpoint: threads, sockets and process groups belong to one process."""
        return self.state_dict()

    def __setstate__(self, checkpoint: dict[str, Any]) -> None:
        self._unpickled = checkpoint
        self._closed = True
        self._rounds = None
        self.aggregator = self.process_group = self.scaler = None
        self.step = checkpoint["step"]

    def _require_alive(self) -> None:
        if self._unpickled is not None:
            raise RuntimeError(
                "This ThcState came out of a pickle: construct a new one with the module and the "
                "aggregator, and give its load_state_dict() what state_dict() of this one returns"
            )
        if self._closed:
            raise RuntimeError("This hook's state is closed")

    def _check_alike(self) -> None:
        assert self.aggregator is not None
        shapes, facts = self._parameters.shapes, self.aggregator.facts()
        refuse_differences(self.codec, self.form, self.job, shapes, facts, self._peers)

    def _run(self, round_: Round, done: Future[Exception | None]) -> None:
        """One round, in the hook's own thread."""
        assert self._rounds is not None
        done.set_result(self._rounds.run(round_))

    def bypass(self, bucket: GradBucket) -> Future[Tensor]:
        """PyTorch's own all-reduce in the module's group."""
        self._require_alive()
        return allreduce_hook(self.process_group, bucket)  # type: ignore[arg-type]


def thc_hook(state: ThcState, bucket: GradBucket) -> Future[Tensor]:
    """The communication hook: the mean of all workers' gradients, by THC."""
    return state.start_round(bucket) if state.aggregator else state.bypass(bucket)

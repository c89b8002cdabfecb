"""One worker of ``eyas thc train``: it trains on its share of every batch, once a scheme."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from eyas.interfaces.switch.packet import HEADER_BYTES, MAX_WORKERS, Lanes
from eyas.services.aggregation.aggregator import Aggregator, Traffic
from eyas.services.aggregation.client import ServiceAggregator
from eyas.services.aggregation.reference import ReferenceAggregator
from eyas.services.aggregation.training_job import DEFAULT_TIMEOUT, TrainingJob
from eyas.services.hook.thc_hook import ThcState, thc_hook
from eyas.services.training.pictures import DATASETS, load, network
from models.thc.codec import Codec
from models.thc.table import Quantizer
from models.vision.networks import Pictures, VisionNet

__all__ = ["AGGREGATORS", "SCHEMES", "Report", "Settings", "work"]

SCHEMES = ("fp32", "thc", "uthc")
"""Plain gradients by PyTorch's all-reduce; THC; THC with the uniform table."""
AGGREGATORS = ("reference", "simulated", "model")
"""PyTorch's own; the service with the Verilated overlay; the service with the overlay's model."""
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4


@dataclass(frozen=True)
class Settings:
    """The settings of a training run, the same for all workers.

    Parameters
    ----------
    dataset : str
        One of :data:`eyas.services.training.pictures.DATASETS`.
    workers : int
        Processes.
    rounds : int
        Steps with each scheme.
    batch : int
        Pictures that a worker takes in a step.
    learning_rate : float
        The highest of a one-cycle schedule; SGD with momentum.
    seed : int
        For weights, the order of pictures, and THC's random draws.
    schemes : tuple of str
        Of :data:`SCHEMES`, one after the other.
    points : int
        How often accuracy is measured, the end included.
    aggregator : str
        One of :data:`AGGREGATORS`.
    loss_rate : float
        Share of packets that the service drops on purpose, each way.
    quorum : int or None
        Contributions after which a sum is complete, whoever is late; all when None.
    timeout : float
        Seconds that a worker waits for a slow one.
    """

    dataset: str = "fashion-mnist"
    workers: int = 4
    rounds: int = 1000
    batch: int = 32
    learning_rate: float = 0.2
    seed: int = 1
    schemes: tuple[str, ...] = SCHEMES
    points: int = 10
    aggregator: str = "reference"
    loss_rate: float = 0.0
    quorum: int | None = None
    timeout: float = DEFAULT_TIMEOUT

    def __post_init__(self) -> None:
        for name, least in (("workers", 2), ("rounds", 1), ("batch", 1), ("points", 1)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name.capitalize()} must be at least {least}, not {getattr(self, name)}"
                )
        for what, value, choices in (
            ("data set", self.dataset, DATASETS),
            ("aggregator", self.aggregator, AGGREGATORS),
            *(("scheme", scheme, SCHEMES) for scheme in self.schemes),
        ):
            if value not in choices:
                raise ValueError(f"The {what} must be one of {', '.join(choices)}, not {value!r}")
        if not 0 <= self.loss_rate < 1:
            raise ValueError(f"Loss rate must be 0 to less than 1, not {self.loss_rate}")
        if self.quorum is not None and not 1 <= self.quorum <= self.workers:
            raise ValueError(f"Quorum must be 1 to {self.workers} workers, not {self.quorum}")
        if self.aggregator == "reference" and (self.loss_rate or self.quorum is not None):
            raise ValueError(
                "The reference aggregator loses no packets: loss and a quorum need another one"
            )
        for scheme in set(self.schemes) - {"fp32"}:
            TrainingJob.fitting(self.codec(scheme).table, self.workers)
        if self.aggregator != "reference" and self.workers > MAX_WORKERS:
            raise ValueError(
                f"Packets name at most {MAX_WORKERS} workers, not {self.workers}: use fewer, or "
                f"the reference aggregator"
            )

    def codec(self, scheme: str) -> Codec:
        """THC's parameters for ``scheme``."""
        quantizer = Quantizer.uniform() if scheme == "uthc" else Quantizer.optimal()
        return Codec(quantizer, seed=self.seed)

    def new_aggregator(self) -> Aggregator:
        """An aggregator for one scheme."""
        if self.aggregator == "reference":
            return ReferenceAggregator()
        return ServiceAggregator(
            self.aggregator,
            loss_rate=self.loss_rate,
            quorum=self.quorum,
            timeout=self.timeout,
        )


@dataclass(frozen=True)
class Report:
    """A worker's state at one point of training: ``traffic`` in bytes, the weights' SHA-256."""

    scheme: str
    round: int
    accuracy: float
    traffic: dict[str, int]
    seconds: float
    weights: str


def work(settings: Settings, rank: int, port: int, out: Connection) -> None:
    """A worker process: sends a Report at every point, or one sentence when it cannot go on."""
    try:
        torch.set_num_threads(1)
        store = dist.TCPStore("127.0.0.1", port, is_master=False)  # type: ignore[attr-defined]
        dist.init_process_group("gloo", store=store, rank=rank, world_size=settings.workers)
        data = load(settings.dataset)
        for scheme in settings.schemes:
            _train(settings, scheme, rank, data, out.send)
        dist.barrier()
        dist.destroy_process_group()
    except Exception as error:
        out.send(f"{error}")
    finally:
        out.close()


def _train(
    settings: Settings,
    scheme: str,
    rank: int,
    data: Pictures,
    report: Callable[[Report], None],
) -> None:
    torch.manual_seed(settings.seed)
    model = network(settings.dataset)
    # Batch statistics stay a worker's own until accuracy is measured.
    ddp = DistributedDataParallel(model, forward_sync_buffers=False)
    state = ThcState(
        ddp,
        None if scheme == "fp32" else settings.new_aggregator(),
        settings.codec(scheme),
        timeout=settings.timeout,
    )
    try:
        ddp.register_comm_hook(state, thc_hook)
        _steps(settings, scheme, rank, data, ddp, state, report)
    except RuntimeError as error:
        raise state.failure or error from None
    finally:
        state.close()


def _steps(
    settings: Settings,
    scheme: str,
    rank: int,
    data: Pictures,
    ddp: DistributedDataParallel,
    state: ThcState,
    report: Callable[[Report], None],
) -> None:
    model: VisionNet = ddp.module
    images, targets = data.train_images, torch.from_numpy(data.train_labels).long()
    optimizer = torch.optim.SGD(
        model.parameters(), 0.1, MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.rounds + 1
    )
    order, together = _order(len(images), settings), settings.batch * settings.workers
    mirror = torch.Generator().manual_seed(settings.seed * settings.workers + rank)
    began = time.monotonic()
    model.train()
    for step in range(settings.rounds):
        mine = order[step * together + rank : (step + 1) * together : settings.workers]
        # Cloned: with one channel the strides would be those of another layout.
        batch = model.real(images[mine.numpy()]).clone(memory_format=torch.contiguous_format)
        if model.mirror:
            flipped = torch.rand(len(batch), 1, 1, 1, generator=mirror) < 0.5
            batch = torch.where(flipped, batch.flip(3), batch)
        optimizer.zero_grad()
        loss = functional.cross_entropy(ddp(batch), targets[mine])
        loss.backward()
        optimizer.step()
        schedule.step()
        done = step + 1
        if done * settings.points // settings.rounds > step * settings.points // settings.rounds:
            accuracy = _accuracy(model, data, rank, settings.workers)
            traffic = state.traffic if state.aggregator else _plain(model, done)
            seconds = time.monotonic() - began
            report(Report(scheme, done, accuracy, asdict(traffic), seconds, _digest(model)))


def _order(pictures: int, settings: Settings) -> Tensor:
    """The pictures' numbers in the order of the whole run: epoch after epoch, each shuffled."""
    source = torch.Generator().manual_seed(settings.seed)
    needed = settings.rounds * settings.batch * settings.workers
    epochs = -(-needed // pictures)
    return torch.cat([torch.randperm(pictures, generator=source) for _ in range(epochs)])[:needed]


def _plain(model: nn.Module, rounds: int) -> Traffic:
    """What fp32 costs a worker that sends its gradient to a server and gets the mean back."""
    length = sum(parameter.numel() for parameter in model.parameters())
    payload = 4 * length * rounds
    headers = -(-length // Lanes.INT32.coordinates) * HEADER_BYTES * rounds
    return Traffic(payload, payload, headers_up=headers, headers_down=headers)


@torch.no_grad()
def _accuracy(model: VisionNet, data: Pictures, rank: int, workers: int) -> float:
    """The share of held-out pictures classified as labelled, with the workers' mean statistics."""
    for buffer in model.buffers():
        if buffer.is_floating_point():
            dist.all_reduce(buffer)
            buffer /= workers
    model.eval()
    images, labels = data.test_images[rank::workers], torch.from_numpy(data.test_labels.copy())
    right = torch.zeros(1, dtype=torch.int64)
    for start in range(0, len(images), 500):
        found = model(model.real(images[start : start + 500])).argmax(1)
        right += int((found == labels[rank::workers][start : start + 500]).sum())
    dist.all_reduce(right)
    model.train()
    return int(right) / len(data.test_images)


def _digest(model: nn.Module) -> str:
    """SHA-256 of all parameters: equal where every bit is."""
    digest = hashlib.sha256()
    for parameter in model.parameters():
        digest.update(parameter.detach().numpy().tobytes())
    return digest.hexdigest()

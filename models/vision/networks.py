"""Two small float networks of our own, and how to train them: digits and clothes.

They are what the demo and the benchmarks run: every layer kind of the engine, few multiplications.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["DigitsNet", "FashionNet", "Pictures", "VisionNet", "accuracy", "digits", "train"]

Array = npt.NDArray[Any]
Progress = Callable[[int, int, float], None]
BATCH = 128
LEARNING_RATE = 6e-3
WEIGHT_DECAY = 1e-3


class VisionNet(nn.Sequential):
    """A network for uint8 pictures.

    ``forward`` takes real values, N × C × H × W; :meth:`real` makes them of raw pictures.
    """

    shape: ClassVar[tuple[int, int, int]]
    """Height, width and channels of a picture."""
    preprocess: ClassVar[tuple[float, float]]
    """Scale and offset: real value = uint8 · scale + offset."""
    labels: ClassVar[tuple[str, ...]]
    """Class names."""
    mirror: ClassVar[bool]
    """Whether a picture's mirror image is as good for training."""

    def real(self, images: Array) -> Tensor:
        """uint8 pictures N × H × W or N × H × W × C as the network takes them."""
        values = torch.from_numpy(images.reshape(len(images), *self.shape)).permute(0, 3, 1, 2)
        scale, offset = self.preprocess
        return values.float() * scale + offset


def _block(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


class DigitsNet(VisionNet):
    """Handwritten digits of 8 × 8 pixels, 0 to 16: 231,680 multiply-accumulates a picture."""

    shape = (8, 8, 1)
    preprocess = (1 / 16, 0.0)
    labels = tuple("0123456789")
    mirror = False

    def __init__(self) -> None:
        super().__init__(
            *_block(1, 16),
            *_block(16, 32, stride=2),
            *_block(32, 32),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(128, 10),
        )


class FashionNet(VisionNet):
    """Fashion-MNIST's clothes of 28 × 28 pixels: 1,919,872 multiply-accumulates a picture."""

    shape = (28, 28, 1)
    preprocess = (1 / 255, 0.0)
    labels = (
        "T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
        "ankle boot",
    )  # fmt: skip
    mirror = True

    def __init__(self) -> None:
        super().__init__(
            *_block(1, 16),
            nn.MaxPool2d(2),
            *_block(16, 32),
            *_block(32, 64, stride=2),
            nn.AvgPool2d(7),
            nn.Flatten(),
            nn.Linear(64, 10),
        )


def train(
    network: VisionNet,
    images: Array,
    labels: Array,
    seed: int,
    epochs: int,
    progress: Progress | None = None,
    threads: int = 1,
) -> None:
    """Train from weights that are drawn anew, and leave the network in evaluation mode.

    The same seed and number of threads give the same weights on one machine; torch's own random
    state and number of threads are left as they were.

    Parameters
    ----------
    network : VisionNet
        Trained in place.
    images : uint8 array [N, H, W] or [N, H, W, C]
        Raw pictures.
    labels : integer array [N]
        Their classes.
    seed : int
        For the weights, the order of the pictures and their mirroring.
    epochs : int
        Times that every picture is seen.
    progress : callable
        Called as ``progress(step, steps, loss)`` after each step.
    threads : int
        torch threads. More than one pays for the larger network alone, and only where the
        processor has nothing else to do.
    """
    values, targets = network.real(images), torch.from_numpy(labels.astype(np.int64))
    with torch.random.fork_rng(devices=[]), _threads(threads):
        torch.manual_seed(seed)
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
                module.reset_parameters()
        network.train()
        _optimize(network, values, targets, epochs, progress)
        network.eval()


def _optimize(
    network: VisionNet, values: Tensor, targets: Tensor, epochs: int, progress: Progress | None
) -> None:
    steps_per_epoch = len(values) // BATCH
    steps = epochs * steps_per_epoch
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for step in range(steps):
        position = step % steps_per_epoch * BATCH
        if position == 0:
            order = torch.randperm(len(values))
        chosen = order[position : position + BATCH]
        batch = values[chosen]
        if network.mirror:
            flipped = torch.rand(len(batch), 1, 1, 1) < 0.5
            batch = torch.where(flipped, batch.flip(3), batch)
        loss = functional.cross_entropy(network(batch), targets[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(step + 1, steps, loss.item())


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def accuracy(network: VisionNet, images: Array, labels: Array) -> float:
    """The share of raw pictures that the float network classifies as labelled."""
    right = sum(
        int((network(network.real(part)).argmax(1).numpy() == labels[start : start + 500]).sum())
        for start in range(0, len(images), 500)
        for part in [images[start : start + 500]]
    )
    return right / len(images)


class Pictures(NamedTuple):
    """Pictures to train with, and others to judge by."""

    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array


def digits() -> Pictures:
    """scikit-learn's handwritten digits (real scans): 1,437 to train with, 360 held out.

    uint8 [N, 8, 8], 0 to 16; the split is fixed and has all classes alike.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise ImportError("The digits come with scikit-learn: pip install 'eyas[train]'") from error
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(
        images.reshape(-1, 8, 8).astype(np.uint8), labels, test_size=360, random_state=0,
        stratify=labels,
    )  # fmt: skip
    return Pictures(parts[0], parts[2], parts[1], parts[3])

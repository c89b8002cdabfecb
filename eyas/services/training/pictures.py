"""The pictures that ``eyas thc train`` learns, and where they are looked for."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eyas.data_files import data_folders
from models.vision.networks import DigitsNet, FashionNet, Pictures, VisionNet, digits

__all__ = ["DATASETS", "load", "network"]

DATASETS = ("fashion-mnist", "digits")

Array = npt.NDArray[Any]


def network(dataset: str) -> VisionNet:
    """The network for ``dataset``, with weights from torch's random state."""
    return {"fashion-mnist": FashionNet, "digits": DigitsNet}[dataset]()


def load(dataset: str) -> Pictures:
    """Pictures to learn and to judge by; FileNotFoundError says how to get them."""
    if dataset == "digits":
        return digits()
    if dataset != "fashion-mnist":
        raise ValueError(f"A data set is one of {', '.join(DATASETS)}, not {dataset!r}")
    for folder in data_folders():
        if (folder / "fashion_mnist_train.npz").is_file():
            return Pictures(*_archive(folder, "train"), *_archive(folder, "test"))
        if (folder / "fashion_mnist" / "train-images-idx3-ubyte.gz").is_file():
            place = folder / "fashion_mnist"
            return Pictures(*_originals(place, "train"), *_originals(place, "t10k"))
    raise FileNotFoundError(
        "Fashion-MNIST was not found: fetch it with 'eyas fetch fashion-mnist', or set EYAS_DATA "
        "to the folder that holds it"
    )


def _archive(folder: Path, part: str) -> tuple[Array, Array]:
    with np.load(folder / f"fashion_mnist_{part}.npz") as archive:
        return archive["images"], archive["labels"]


def _originals(folder: Path, part: str) -> tuple[Array, Array]:
    """The four IDX files: a magic number and dimensions, big-endian, then bytes."""
    labels = np.frombuffer(_unpacked(folder / f"{part}-labels-idx1-ubyte.gz"), np.uint8, offset=8)
    images = np.frombuffer(_unpacked(folder / f"{part}-images-idx3-ubyte.gz"), np.uint8, offset=16)
    return images.reshape(len(labels), 28, 28), labels


def _unpacked(path: Path) -> bytes:
    with gzip.open(path) as file:
        return file.read()

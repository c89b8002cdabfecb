"""Where data that are not part of Eyas are looked for: published networks, Fashion-MNIST."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

__all__ = ["data_folders", "fashion_mnist", "find_data"]


def data_folders() -> Iterator[Path]:
    """EYAS_DATA, what ``eyas fetch`` fills by default, and a folder beside the repository."""
    if os.environ.get("EYAS_DATA"):
        yield Path(os.environ["EYAS_DATA"])
    yield Path("data")
    yield Path(__file__).resolve().parents[2] / "shared" / "data"


def find_data(name: str) -> Path | None:
    """The first file ``name``, relative to one of the folders; None when there is none."""
    return next((path for folder in data_folders() if (path := folder / name).is_file()), None)


def fashion_mnist() -> tuple[Array, Array, Array, Array]:
    """Fashion-MNIST: pictures (uint8 [N, 28, 28]) and labels to learn, then those to judge by.

    Read from the four files that ``eyas fetch`` brings, or from two archives
    ``fashion_mnist_train.npz`` and ``fashion_mnist_test.npz`` with ``images`` and ``labels``.
    FileNotFoundError says how to get them.
    """
    for folder in data_folders():
        if (folder / "fashion_mnist_train.npz").is_file():
            return *_archive(folder, "train"), *_archive(folder, "test")
        if (folder / "fashion_mnist" / "train-images-idx3-ubyte.gz").is_file():
            place = folder / "fashion_mnist"
            return *_originals(place, "train"), *_originals(place, "t10k")
    raise FileNotFoundError(
        "Fashion-MNIST was not found: fetch it with 'eyas fetch fashion-mnist', or set EYAS_DATA "
        "to the folder that holds it"
    )


def _archive(folder: Path, part: str) -> tuple[Array, Array]:
    import numpy as np

    with np.load(folder / f"fashion_mnist_{part}.npz") as archive:
        return archive["images"], archive["labels"]


def _originals(folder: Path, part: str) -> tuple[Array, Array]:
    """The four IDX files: a magic number and dimensions, big-endian, then bytes."""
    import numpy as np

    labels = np.frombuffer(_unpacked(folder / f"{part}-labels-idx1-ubyte.gz"), np.uint8, offset=8)
    images = np.frombuffer(_unpacked(folder / f"{part}-images-idx3-ubyte.gz"), np.uint8, offset=16)
    return images.reshape(len(labels), 28, 28), labels


def _unpacked(path: Path) -> bytes:
    with gzip.open(path) as file:
        return file.read()

"""Files in and out: pictures are checked when they are read, outputs before the work begins."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eyas.cli.common.errors import CommandError

__all__ = ["Pictures", "check_folder", "check_writable", "load_pictures"]

Pictures = npt.NDArray[Any]


def load_pictures(
    path: Path, limit: int | None = None
) -> tuple[Pictures, npt.NDArray[np.integer[Any]] | None]:
    """Pictures and, where the file has them, labels of the first ``limit`` pictures.

    Raises
    ------
    CommandError
        When the file is no .npz, has no array ``images``, or the arrays do not fit each other.
    """
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise CommandError(f"{path} is a single array, not an .npz with an array 'images'")
        with archive:
            arrays = {name: archive[name] for name in ("images", "labels") if name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CommandError(f"{path} is not a readable .npz file: {error}") from error
    if "images" not in arrays:
        raise CommandError(f"{path} holds no array 'images'")
    images, labels = arrays["images"], arrays.get("labels")
    if not len(images.shape) or not len(images):
        raise CommandError(f"{path} holds no pictures")
    if labels is not None and (labels.shape != images.shape[:1] or labels.dtype.kind not in "iu"):
        raise CommandError(
            f"{path}: labels must be {len(images)} integers, one a picture, "
            f"not {labels.dtype} of shape {labels.shape}"
        )
    return images[:limit], None if labels is None else labels[:limit]


def check_writable(path: Path | None) -> None:
    """Fail now rather than after minutes of work when ``path`` cannot be written."""
    if path is None:
        return
    if path.is_dir():
        raise CommandError(f"{path} is a folder, not a file that can be written")
    if not path.parent.is_dir():
        raise CommandError(f"{path} cannot be written: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise CommandError(f"{path} cannot be written: no permission in {path.parent}")


def check_folder(path: Path) -> None:
    """Fail now when the folder ``path`` neither is there nor can be made."""
    place = path
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise CommandError(f"{path} cannot be a folder: {place} is a file")
    if not os.access(place, os.W_OK):
        raise CommandError(f"{path} cannot be written: no permission in {place}")

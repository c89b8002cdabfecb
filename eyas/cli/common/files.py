"""Reads and checks pictures; checks before the work that outputs can be written."""

from __future__ import annotations

import gzip
import os
import re
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from eyas.cli.common.errors import CommandError

if TYPE_CHECKING:
    from eyas.interfaces.vision.program_file import Program

__all__ = ["Pictures", "check_folder", "check_pictures", "check_writable", "load_pictures"]

Pictures = npt.NDArray[Any]


def load_pictures(
    path: Path, limit: int | None = None
) -> tuple[Pictures, npt.NDArray[np.integer[Any]] | None]:
    """Pictures and, where there are any, labels of the first ``limit`` pictures.

    The file is an .npz, or an IDX file of pictures as *eyas fetch fashion-mnist* writes it; its
    labels are in the file beside it.

    Raises
    ------
    CommandError
        When the file is none of these, holds no pictures, or labels do not fit them.
    """
    if re.search(r"-idx\d-ubyte(\.gz)?$", path.name):
        arrays = _idx_arrays(path)
    else:
        arrays = _npz_arrays(path)
    images, labels = arrays["images"], arrays.get("labels")
    if not len(images.shape) or not len(images):
        raise CommandError(f"{path} holds no pictures")
    if labels is not None and (labels.shape != images.shape[:1] or labels.dtype.kind not in "iu"):
        raise CommandError(
            f"{path}: labels must be {len(images)} integers, one a picture, "
            f"not {labels.dtype} of shape {labels.shape}"
        )
    return images[:limit], None if labels is None else labels[:limit]


def _npz_arrays(path: Path) -> dict[str, Pictures]:
    """The arrays ``images`` and, where there is one, ``labels`` of an .npz file."""
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise CommandError(f"{path} is a single array, not an .npz with an array 'images'")
        with archive:
            arrays = {name: archive[name] for name in ("images", "labels") if name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CommandError(f"{path} is not a readable .npz file: {error}") from error
    if "images" not in arrays:
        raise CommandError(f"{path} holds no array 'images'")
    return arrays


def _idx_arrays(path: Path) -> dict[str, Pictures]:
    """The pictures of an IDX file, and the labels of the one beside it, if that is there."""
    images = _idx(path)
    if images.ndim < 3:
        raise CommandError(f"{path} holds no pictures: give the file that has images in its name")
    beside = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    if beside == path or not beside.exists():
        return {"images": images}
    return {"images": images, "labels": _idx(beside)}


def _idx(path: Path) -> Pictures:
    """The array of uint8 in an IDX file: a magic number and sizes, big-endian, then bytes."""
    data = path.read_bytes()
    try:
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        rank = data[3] if len(data) > 3 and data[:3] == b"\0\0\x08" else 0
        sizes = np.frombuffer(data, ">u4", rank, 4).astype(int)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(sizes if rank else (0, 0))
    except (ValueError, EOFError, OSError, zlib.error) as error:
        raise CommandError(f"{path} is not a whole IDX file of bytes ({error})") from error


def check_pictures(images: Pictures, program: Program) -> None:
    """Fail now rather than after a build when the driver would refuse ``images``.

    Raises ValueError for a wrong shape or NaN, TypeError for a type that is none of the three.
    """
    from drivers.vision.pictures import PictureReader

    reader = PictureReader(program.manifest.input, program.manifest.preprocess)
    if reader.check(images).dtype.kind == "f" and np.isnan(images).any():
        raise ValueError("Pictures must be numbers, not NaN")


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
    if path.exists() and not os.access(path, os.W_OK):
        raise CommandError(f"{path} is there and cannot be written: no permission")


def check_folder(path: Path) -> None:
    """Fail now when the folder ``path`` neither is there nor can be made."""
    place = path
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise CommandError(f"{path} cannot be a folder: {place} is a file")
    if not os.access(place, os.W_OK):
        raise CommandError(f"{path} cannot be written: no permission in {place}")

"""User pictures to the int8 values that a program takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eyas.interfaces.vision.manifest import ProgramTensor

__all__ = ["PictureReader"]


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


class PictureReader:
    """Checks and quantises pictures for one program.

    Parameters
    ----------
    tensor : ProgramTensor
        The program's input.
    preprocess : (float, float)
        Scale and offset of a raw picture: real value = uint8 · scale + offset.
    """

    def __init__(self, tensor: ProgramTensor, preprocess: tuple[float, float]) -> None:
        self.shape = tensor.shape
        self.declared = tensor.declared or tensor.shape
        self.scale = np.float32(tensor.scale)
        self.zero_point = int(tensor.zero_point)
        scale, offset = preprocess
        self._table = self._quantize(np.arange(256) * scale + offset)
        # The commonest case by far: a raw picture in int8 is the same with its top bit flipped.
        self._flips = bool((self._table == np.arange(-128, 128)).all())

    def check(self, pictures: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return ``pictures`` as [N, H, W, C], still of their type.

        Raises ValueError for a wrong shape, TypeError for a type that is not uint8, int8 or
        floating.
        """
        pictures = np.asarray(pictures)
        if pictures.shape[1:] == self.declared:
            pictures = pictures.reshape(len(pictures), *self.shape)
        if pictures.ndim == 3 and self.shape[2] == 1:
            pictures = pictures[..., np.newaxis]
        if pictures.ndim != 4 or pictures.shape[1:] != self.shape:
            shapes = " or ".join(
                f"N × {_times(shape)}" for shape in dict.fromkeys((self.shape, self.declared))
            )
            raise ValueError(f"Pictures must have the shape {shapes}, not {_times(pictures.shape)}")
        if pictures.dtype not in (np.uint8, np.int8) and pictures.dtype.kind != "f":
            raise TypeError(f"Pictures must be uint8, int8 or floating, not {pictures.dtype}")
        return pictures

    def quantize_into(self, picture: npt.NDArray[Any], target: npt.NDArray[Any]) -> None:
        """Write one checked picture to the first bytes of ``target``, without a copy between."""
        place = target[: picture.size].view(np.int8).reshape(self.shape)
        if picture.dtype == np.int8:
            place[...] = picture
        elif picture.dtype == np.uint8 and self._flips:
            np.bitwise_xor(picture, np.uint8(0x80), out=place.view(np.uint8))
        elif picture.dtype == np.uint8:
            np.take(self._table, picture, out=place, mode="clip")  # "raise" would buffer
        else:
            place[...] = self._quantize(picture)

    def _quantize(self, values: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
        """Real values to int8: divided in float32, ties away from zero, saturated."""
        steps = np.asarray(values, dtype=np.float32) / self.scale
        if np.isnan(steps).any():
            raise ValueError("Pictures must be numbers, not NaN")
        steps = np.clip(steps, -1024, 1024)  # far outside int8: infinities saturate as well
        whole = np.trunc(steps)
        rounded = whole + np.copysign(np.abs(steps - whole) >= 0.5, steps)
        return np.clip(rounded + self.zero_point, -128, 127).astype(np.int8)

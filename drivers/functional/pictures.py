"""Pictures on their way into the activation memory, as ``hdl/vision/pictures`` lays them out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from drivers.functional.memories import Memories
from drivers.functional.walks import Indices
from eyas.interfaces.vision.records import PATCH_LINE_BYTES, PATCH_MARGIN

__all__ = ["PictureLoader"]

BEAT = 8
CHUNK = 9
"""Bytes of a patch's row that are cut at once."""


class PictureLoader:
    """Lays out the pictures of one program; the places are worked out once.

    Parameters
    ----------
    header : mapping of str to int
        The program's.
    memories : Memories
        Where the pictures go.

    Attributes
    ----------
    fits : bool
        Whether a picture of ``source_words`` 64-bit words is what the header describes; if not,
        jobs end with WRONG_SIZE.  Patches whose rows leave no margin in the line buffer do not fit;
        here RTL may be more generous, by some bytes.
    cycles : int
        Estimate of what a picture takes: a beat, a piece of eight channels or a chunk of nine bytes
        a cycle, whichever are more.
    """

    def __init__(self, header: Mapping[str, int], memories: Memories) -> None:
        self._memories = memories
        self._header = header
        shape = tuple(
            header[name] for name in ("input_height", "input_width", "input_channels_count")
        )
        self._shape = shape
        height, width, channels = shape
        self._patches: Indices | None = None
        picture_bytes = height * width * channels
        self.fits = min(shape) > 0
        if header["patch_kernel_rows"]:
            patch = -(-header["patch_kernel_rows"] * header["patch_run_bytes"] // BEAT) * BEAT
            self.fits &= -(-height * width * patch // BEAT) == -(-picture_bytes // BEAT)
            picture_bytes = header["patch_picture_bytes"]
            self.fits &= self._patches_fit()
        self.fits &= header["source_words"] == -(-picture_bytes // BEAT)
        pieces = -(-channels // min(memories.config.input_channels, BEAT))
        chunks = header["patch_kernel_rows"] * -(-header["patch_run_bytes"] // CHUNK)
        self.cycles = max(header["source_words"], height * width * max(pieces, chunks))
        if not self.fits:
            return
        if header["patch_kernel_rows"]:
            self._patches = self._cut(patch)
        self._places = self._place(channels)

    def load(self, data: npt.NDArray[np.uint8]) -> None:
        """Lay out the picture in ``data``, as it stands in DRAM."""
        height, width, channels = self._shape
        if self._patches is not None:
            padded = np.append(data, np.uint8(self._header["patch_zero_point"] & 0xFF))
            pixels = padded.take(self._patches).reshape(height * width, -1)[:, :channels]
        else:
            pixels = data[: height * width * channels].reshape(height * width, channels)
        lanes = self._memories.config.input_channels
        blocks = self._places.shape[1]
        if channels < blocks * lanes:
            full = np.zeros((height * width, blocks * lanes), np.uint8)
            full[:, :channels] = pixels
            pixels = full
        words = np.ascontiguousarray(pixels).view(self._memories.word)
        self._memories.words[self._places] = words

    def _place(self, channels: int) -> Indices:
        """Where each word of each pixel goes, [pixels, blocks]."""
        header, config = self._header, self._memories.config
        height, width, _ = self._shape
        skip = header["input_skip_q"] * config.pixels + header["input_skip_r"]
        linear = np.arange(height)[:, np.newaxis] * (width - 1 + skip) + np.arange(width)
        blocks = -(-channels // config.input_channels)
        origin = (header["input_base"] + np.arange(blocks) * header["input_plane"]) * config.pixels
        return (linear.reshape(-1, 1) + origin) % self._memories.capacity

    def _patches_fit(self) -> bool:
        header = self._header
        row_bytes = header["patch_row_bytes"]
        height, width, _ = self._shape
        last_row = header["patch_start"] + (height - 1) * header["patch_row_step"]
        last_byte = header["patch_start_byte"] + (width - 1) * header["patch_pixel_step"]
        return (
            header["patch_kernel_rows"] * row_bytes <= PATCH_LINE_BYTES - PATCH_MARGIN
            and last_row < header["patch_picture_bytes"]
            and last_byte < row_bytes
        )

    def _cut(self, patch: int) -> Indices:
        """For each byte of each patch its byte of the picture, or of the zero point behind it:
        [rows, columns, patch]."""
        header = self._header
        height, width, _ = self._shape
        run = header["patch_run_bytes"]
        place = np.arange(patch)
        kernel_row, byte = np.divmod(place, max(1, run))
        row = (
            header["patch_start"]
            + np.arange(height)[:, np.newaxis] * header["patch_row_step"]
            + kernel_row * header["patch_row_bytes"]
        )[:, np.newaxis]
        side = (
            header["patch_start_byte"]
            + np.arange(width)[:, np.newaxis] * header["patch_pixel_step"]
            + byte
        )
        inside = (
            (row >= 0)
            & (row < header["patch_picture_bytes"])
            & (side >= 0)
            & (side < header["patch_row_bytes"])
            & (kernel_row < header["patch_kernel_rows"])
        )
        return np.where(inside, row + side, header["source_words"] * BEAT)

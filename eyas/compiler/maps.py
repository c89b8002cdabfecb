"""How a feature map lies in the banks of the activation memory."""

from __future__ import annotations

from dataclasses import dataclass

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.manifest import MapPlace
from models.vision.graph import Tensor

__all__ = ["MapLayout", "Window", "layout_of"]


@dataclass(frozen=True)
class Window:
    """How a layer slides over its input: what decides which bank rule it wants.

    Parameters
    ----------
    out_height, out_width : int
        Pixels of the output map.
    stride_y, stride_x : int
        Input rows and columns from one output pixel to the next.
    tiles, group_cycles : int
        How often the map is walked, and what a group of pixels costs.
    """

    out_height: int
    out_width: int
    stride_y: int
    stride_x: int
    tiles: int
    group_cycles: int

    def group_pixels(self, pixels: int) -> int:
        """Output pixels a group: one where neighbours would stand in the same bank."""
        return 1 if self.stride_x % pixels == 0 else pixels

    def runs_on(self, pitch: int, pixels: int) -> bool:
        """Whether groups can run on across row ends without two lanes meeting in a bank."""
        return (
            self.group_pixels(pixels) == pixels
            and self.out_width >= pixels
            and (self.stride_y * pitch - self.stride_x * self.out_width) % pixels == 0
        )

    def groups(self, pitch: int, pixels: int) -> int:
        """Groups of output pixels with this pitch of the input map."""
        if self.runs_on(pitch, pixels):
            return -(-self.out_height * self.out_width // pixels)
        return self.out_height * -(-self.out_width // self.group_pixels(pixels))


@dataclass(frozen=True)
class MapLayout:
    """Place of one map: pixel (x, y) of block b is linear position ``y · pitch + x`` of plane b.

    Parameters
    ----------
    height, width, channels : int
        The map's shape.
    pitch : int
        Linear positions from one row to the next, at least ``width``.
    blocks : int
        Planes of ``input_channels`` channels.
    plane : int
        Words of each bank that a plane takes.
    base : int
        First word.
    """

    height: int
    width: int
    channels: int
    pitch: int
    blocks: int
    plane: int
    base: int = 0

    @property
    def words(self) -> int:
        """Words of each bank that the map takes."""
        return self.plane * self.blocks

    @property
    def values(self) -> int:
        """Values of the map, one byte each, without what fills up words and rows."""
        return self.height * self.width * self.channels

    @property
    def count(self) -> int:
        """Linear positions from the first pixel of a plane to its last."""
        return (self.height - 1) * self.pitch + self.width

    def place(self) -> MapPlace:
        """As it stands in a program's manifest."""
        shape = (self.height, self.width, self.channels)
        return MapPlace(shape, self.base, self.plane, self.pitch, self.blocks, self.count)


def layout_of(tensor: Tensor, pitch: int, config: VisionConfig) -> MapLayout:
    """The map of ``tensor`` with this pitch; where it stands is left open."""
    height, width, channels = tensor.shape
    return MapLayout(
        height=height,
        width=width,
        channels=channels,
        pitch=pitch,
        blocks=-(-channels // config.input_channels),
        plane=-(-((height - 1) * pitch + width) // config.pixels),
    )

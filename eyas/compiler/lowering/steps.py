"""What the engine will do, before it is known where the maps stand.

A node of the graph becomes a :class:`Step` or several; a step becomes one instruction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from eyas.compiler.errors import CompileError
from eyas.compiler.lowering.lane import ChannelParameters
from eyas.compiler.maps import Window
from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import INSTRUCTION, Op
from models.vision.graph import Tensor

__all__ = [
    "Choice",
    "Part",
    "Shape",
    "Source",
    "Step",
    "Touch",
    "check_limit",
    "no_weights",
    "sliding",
]

Padding = tuple[int, int, int, int]


@dataclass(frozen=True)
class Shape:
    """The loops of one step.

    Parameters
    ----------
    op : Op
        Operation.
    kernel : (int, int)
        Rows and columns of the window.
    stride : (int, int)
        Input rows and columns between output pixels (1 where there is only one).
    padding_top, padding_left : int
        Padded rows and columns before the map; negative where the step begins inside it.
    in_blocks : int
        Blocks reduced for each tap.
    tile_planes : int
        Planes of the input map from one tile's first to the next one's.
    tiles : int
        Tiles of output channels; blocks when pooling.
    drain : int
        Requantisation cycles a group.
    passes : int
        Passes a group.
    group_cycles : int
        Cycles a group.
    merged : bool
        Whether the pixel lanes share the one window: ``kernel`` then counts in columns of theirs.
    """

    op: Op
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding_top: int
    padding_left: int
    in_blocks: int
    tile_planes: int
    tiles: int
    drain: int
    passes: int
    group_cycles: int
    merged: bool = False

    def window(self, out_height: int, out_width: int) -> Window:
        """What decides the input map's layout."""
        return Window(
            out_height, out_width, self.stride[0], self.stride[1], self.tiles, self.group_cycles
        )


@dataclass(frozen=True)
class Source:
    """A map as a step reads it: perhaps with a margin that a Pad node put around it.

    Parameters
    ----------
    tensor : Tensor
        What stands in memory.
    margin : (int, int, int, int)
        Rows above and below, columns left and right, that read as the zero point.
    """

    tensor: Tensor
    margin: Padding = (0, 0, 0, 0)

    @property
    def height(self) -> int:
        """Rows with the margin."""
        return self.tensor.shape[0] + self.margin[0] + self.margin[1]

    @property
    def width(self) -> int:
        """Columns with the margin."""
        return self.tensor.shape[1] + self.margin[2] + self.margin[3]

    @property
    def channels(self) -> int:
        """Channels."""
        return self.tensor.shape[2]

    def padded(self, padding: Padding) -> Padding:
        """The margin with a layer's own ``padding`` around it."""
        top, bottom, left, right = (a + b for a, b in zip(self.margin, padding, strict=True))
        return top, bottom, left, right


@dataclass(frozen=True)
class Part:
    """A rectangle of output pixels.

    Parameters
    ----------
    top, left : int
        Its first row and column.
    height, width : int
        Its size.
    """

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class Step:
    """One instruction without addresses.

    Parameters
    ----------
    name, op : str
        How reports call it: the node's name (and the part's) and operation.
    inputs : tuple of str
        Tensors that it reads.
    output : str
        Tensor that it writes.
    shape : Shape
        Its loops.
    part : Part
        Output pixels that it computes.
    fields : dict of str to int
        Fields of INSTRUCTION that no layout changes: zero points, clamp.
    weights : int8 array [rows][output_channels][input_channels]
        Rows of weight memory, zero where there is no channel.
    parameters : list of rows, each a list of ChannelParameters
        Rows of parameter memory.
    completes : bool
        Whether the output is complete behind this step.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str
    shape: Shape
    part: Part
    fields: Mapping[str, int]
    weights: npt.NDArray[np.int8]
    parameters: list[list[ChannelParameters]]
    completes: bool = field(default=True)

    def array_cycles(self, pitch: int, config: VisionConfig) -> int | None:
        """Cycles of its passes when its input map has this pitch; None when it cannot run so."""
        window = self.shape.window(self.part.height, self.part.width)
        groups = window.groups(pitch, config.pixels)
        return self.shape.tiles * groups * self.shape.group_cycles


class Touch(Protocol):
    """What has a name, reads maps and writes one: a step, or what will be none."""

    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> tuple[str, ...]: ...
    @property
    def output(self) -> str: ...


Choice = Sequence[Step]
"""Steps that compute the same: one of them will run."""


def no_weights(config: VisionConfig) -> npt.NDArray[np.int8]:
    """Weights of a step that has none."""
    return np.zeros((0, config.output_channels, config.input_channels), np.int8)


def check_limit(label: str, what: str, value: int, field: str) -> None:
    """CompileError when ``value`` is beyond what the instruction's ``field`` holds."""
    limit = INSTRUCTION.by_name[field]
    if not limit.minimum <= value <= limit.maximum:
        raise CompileError(
            f"{label}: {abs(value)} {what}, the engine takes at most "
            f"{limit.maximum if value > 0 else -limit.minimum}"
        )


def sliding(
    label: str,
    op: Op,
    source: Source,
    target: Tensor,
    config: VisionConfig,
    *,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: Padding = (0, 0, 0, 0),
    in_blocks: int = 1,
    tile_planes: int = 0,
    tiles: int,
    tile_blocks: int = 1,
    merged: bool = False,
) -> Shape:
    """The loops of a window of ``kernel`` that slides over ``source`` to make ``target``.

    Parameters
    ----------
    label : str
        How messages name the layer.
    padding : (int, int, int, int)
        Top, bottom, left, right, with the source's margin.
    tile_blocks : int
        Output blocks a tile.
    merged : bool
        Whether the pixel lanes share the one window.

    Raises
    ------
    CompileError
        When a size is beyond what the engine takes.
    """
    in_height, in_width, _ = source.tensor.shape
    out_height, out_width, out_channels = target.shape
    stride = (1 if out_height == 1 else stride[0], 1 if out_width == 1 else stride[1])
    check_limit(label, "rows of the window", kernel[0], "kernel_height")
    check_limit(label, "columns of the window", kernel[1], "kernel_width")
    check_limit(label, "vertical stride", stride[0], "stride_y")
    check_limit(label, "horizontal stride", stride[1], "stride_x")
    check_limit(label, "top padding", -padding[0], "start_y")
    check_limit(label, "left padding", -padding[2], "start_x")
    for name, height, width in (("in", in_height, in_width), ("out", out_height, out_width)):
        check_limit(label, f"{name}put rows", height, f"{name}_height")
        check_limit(label, f"{name}put columns", width, f"{name}_width")
    if merged:
        kernel = (kernel[0], -(-kernel[1] // config.pixels))
    passes = kernel[0] * kernel[1] * in_blocks
    drain = tile_blocks * config.drains_per_word
    check_limit(label, "passes a group", passes, "passes")
    check_limit(label, "input blocks", in_blocks, "in_blocks")
    check_limit(label, "tiles of channels", tiles, "tiles")
    check_limit(label, "output blocks", -(-out_channels // config.input_channels), "out_blocks")
    return Shape(
        op=op,
        kernel=kernel,
        stride=stride,
        padding_top=padding[0],
        padding_left=padding[2],
        in_blocks=in_blocks,
        tile_planes=tile_planes,
        tiles=tiles,
        drain=drain,
        passes=passes,
        group_cycles=max(passes, drain),
        merged=merged,
    )

"""Steps of depthwise convolutions that the engine's depthwise unit computes.

The unit reads a column of three input pixels a cycle, from the left edge to the right one, and so
finishes a pixel in as many columns as the stride has.  What it cannot take is a convolution with
diagonal weights (:mod:`eyas.compiler.lowering.convolution`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from eyas.compiler.lowering.convolution import parameter_rows, requantisation_fields
from eyas.compiler.lowering.requantization import of_convolution
from eyas.compiler.lowering.steps import Padding, Part, Shape, Source, Step, sliding
from eyas.compiler.maps import MapLayout
from eyas.interfaces.vision.config import DEPTHWISE_KERNEL, VisionConfig
from eyas.interfaces.vision.isa import Op
from models.vision.graph import DepthwiseConv2D, Graph

__all__ = ["DepthwiseStep", "depthwise", "is_native", "row_cycles", "walk"]


def is_native(node: DepthwiseConv2D, padding: Padding, config: VisionConfig) -> bool:
    """Whether the depthwise unit of ``config`` can compute ``node``.

    A smaller kernel is one of 3 × 3 with zeros.  What the input map's pitch has to say about it
    comes later: :meth:`DepthwiseStep.array_cycles`.

    Parameters
    ----------
    padding : (int, int, int, int)
        Top, bottom, left, right, with the source's margin.
    """
    left, stride = padding[2], node.stride[1]
    full_group = config.pixels * stride
    first_group = DEPTHWISE_KERNEL - left + (config.pixels - 1) * stride
    return (
        node.multiplier == 1
        and max(node.window) <= DEPTHWISE_KERNEL <= config.pixels
        and left < DEPTHWISE_KERNEL
        and min(full_group, first_group) >= config.drains_per_word
    )


class DepthwiseStep(Step):
    """A step of the depthwise unit."""

    def array_cycles(self, pitch: int, config: VisionConfig) -> int | None:
        """Cycles of its columns; None when three rows would not stand in three banks."""
        return None if pitch % config.pixels == 0 else self.column_cycles(config)

    def column_cycles(self, config: VisionConfig) -> int:
        """Cycles of its columns, a column each, and of all rows of weights but a tile's last."""
        columns = sum(row_cycles(self.shape, self.part.width, config))
        return self.shape.tiles * (self.part.height * columns + config.depthwise_weight_rows - 1)


def depthwise(
    graph: Graph, node: DepthwiseConv2D, source: Source, config: VisionConfig
) -> DepthwiseStep:
    """A native depthwise convolution; only where :func:`is_native`."""
    target = graph.tensors[node.output]
    shape = sliding(
        node.label,
        Op.DEPTHWISE,
        source,
        target,
        config,
        kernel=(DEPTHWISE_KERNEL, DEPTHWISE_KERNEL),
        stride=node.stride,
        padding=source.padded(node.padding),
        tile_planes=1,
        tiles=-(-source.channels // config.input_channels),
    )
    columns = config.pixels * shape.stride[1]
    shape = replace(shape, passes=columns, group_cycles=columns)
    channels = of_convolution(node, source.tensor, target)
    return DepthwiseStep(
        name=node.name,
        op=node.op,
        inputs=(source.tensor.name,),
        output=node.output,
        shape=shape,
        part=Part(0, 0, *target.shape[:2]),
        fields=requantisation_fields(graph, node, in_zero_point=source.tensor.zero_point),
        weights=_weight_rows(node.weights, shape, config),
        parameters=parameter_rows(channels, shape, config),
    )


def row_cycles(shape: Shape, out_width: int, config: VisionConfig) -> list[int]:
    """Columns until each group of a row of ``out_width`` output pixels is complete, from the one
    before; the last group waits for its requantisation."""
    stride = shape.stride[1]
    full, rest = divmod(out_width, config.pixels)
    cycles = [config.pixels * stride] * full + [rest * stride] * (rest > 0)
    # The first pixel is complete when the columns of its window that are inside have come.
    cycles[0] += DEPTHWISE_KERNEL - shape.padding_left - stride
    cycles[-1] = max(cycles[-1], shape.drain)
    return cycles


def walk(shape: Shape, reads: MapLayout, writes: MapLayout, config: VisionConfig) -> dict[str, int]:
    """The fields that say where the maps stand and how the engine walks over them."""
    pixels = config.pixels
    stride_y, stride_x = shape.stride
    groups = row_cycles(shape, writes.width, config)
    back = -(len(groups) - 1) * pixels
    fields = {
        # Output pixels: groups that stop at row ends.
        "row_mode": 1,
        "group_pixels": pixels,
        "groups": writes.height * len(groups),
        "tiles": shape.tiles,
        "drain": shape.drain,
        "parameter_step": shape.drain,
        "out_base": writes.base,
        "out_plane": writes.plane,
        "out_blocks": writes.blocks,
        "out_height": writes.height,
        "out_width": writes.width,
        "out_wrap_x": back,
        "out_tile_step": writes.plane,
        # Input: a lane a row of the window, from row to row of the output.
        "in_base": reads.base,
        "in_plane": reads.plane,
        "in_height": reads.height,
        "in_width": reads.width,
        "in_tile_step": shape.tile_planes * reads.plane,
        "in_blocks": shape.in_blocks,
        "kernel_height": shape.kernel[0],
        "kernel_width": shape.kernel[1],
        "stride_y": stride_y,
        "stride_x": stride_x,
        "lane_y": 1,
        "lane_x": 0,
        "row_width": 0,
        "start_y": -shape.padding_top,
        "start_x": 0,
        "wrap_x": 0,
        # Columns.
        "row_groups": len(groups),
        "first_fill": DEPTHWISE_KERNEL - shape.padding_left,
        "first_cycles": groups[0],
        "group_cycles": shape.group_cycles,
        "last_cycles": groups[-1],
        "passes": shape.passes,
        "weight_step": config.depthwise_weight_rows,
    }
    for name, distance in (
        ("start", -shape.padding_top * reads.pitch),
        ("lane", reads.pitch),
        ("wrap", stride_y * reads.pitch),
        ("tap_x", 1),
        ("out_step", pixels),
        ("out_wrap", writes.pitch + back),
    ):
        fields[f"{name}_q"], fields[f"{name}_r"] = divmod(distance, pixels)
    return fields


def _weight_rows(
    kernels: npt.NDArray[np.int8], shape: Shape, config: VisionConfig
) -> npt.NDArray[np.int8]:
    """Rows of the tiles, one after the other: tap t = 3·ky + kx of a tile's channels is a word, in
    row t // output_channels and column t % output_channels."""
    channels, rows, columns = kernels.shape
    taps = DEPTHWISE_KERNEL**2
    padded = np.zeros(
        (shape.tiles * config.input_channels, DEPTHWISE_KERNEL, DEPTHWISE_KERNEL), np.int8
    )
    padded[:channels, :rows, :columns] = kernels
    words = padded.reshape(shape.tiles, config.input_channels, taps).transpose(0, 2, 1)
    missing = -taps % config.output_channels
    return np.pad(words, ((0, 0), (0, missing), (0, 0))).reshape(
        -1, config.output_channels, config.input_channels
    )

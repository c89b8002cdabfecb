"""From the nodes of a quantised graph to layers of the engine: instruction fields and constants."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eyas.compiler.allocate import Allocation
from eyas.compiler.errors import CompileError
from eyas.compiler.maps import MapLayout, Window
from eyas.compiler.requantization import (
    ChannelParameters,
    average,
    identity,
    of_convolution,
    of_fully_connected,
)
from eyas.interfaces.configs import VisionConfig
from eyas.interfaces.vision_isa import INSTRUCTION, Op
from models.vision.graph import (
    AveragePool2D,
    Conv2D,
    FullyConnected,
    Graph,
    MaxPool2D,
    Node,
    Pool2D,
)

__all__ = ["Layer", "Shape", "lower", "shape_of"]


@dataclass(frozen=True)
class Shape:
    """The loops of one layer.

    Parameters
    ----------
    op : Op
        Operation.
    kernel : (int, int)
        Rows and columns of the window.
    stride : (int, int)
        Input rows and columns between output pixels (1 where there is only one).
    padding_top, padding_left : int
        Padded rows and columns before the map.
    in_blocks : int
        Blocks reduced for each tap.
    tiles : int
        Tiles of output channels; blocks when pooling.
    drain : int
        Requantisation cycles a group.
    passes : int
        Passes a group.
    group_cycles : int
        Cycles a group.
    """

    op: Op
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding_top: int
    padding_left: int
    in_blocks: int
    tiles: int
    drain: int
    passes: int
    group_cycles: int

    def window(self, out_height: int, out_width: int) -> Window:
        """What decides the input map's layout."""
        return Window(
            out_height, out_width, self.stride[0], self.stride[1], self.tiles, self.group_cycles
        )


@dataclass(frozen=True)
class Layer:
    """One instruction with what belongs to it.

    Parameters
    ----------
    name, op : str
        The node's name and operation.
    output : str
        Tensor that it writes.
    macs : int
        Nominal multiply-accumulates.
    fields : dict of str to int
        Fields of INSTRUCTION but ``weight_base`` and ``parameter_base``.
    weights : int8 array [rows][output_channels][input_channels]
        Rows of weight memory, zero where there is no channel.
    parameters : list of rows, each a list of ChannelParameters
        Rows of parameter memory.
    """

    name: str
    op: str
    output: str
    macs: int
    fields: dict[str, int]
    weights: npt.NDArray[np.int8]
    parameters: list[list[ChannelParameters]]


def shape_of(graph: Graph, node: Node, config: VisionConfig) -> Shape:
    """The loops of ``node``; CompileError when the engine cannot run it."""
    in_height, in_width, in_channels = graph.tensors[node.input].shape
    out_height, out_width, out_channels = graph.tensors[node.output].shape
    blocks = -(-in_channels // config.input_channels)
    if isinstance(node, Conv2D):
        op, kernel, stride, padding = Op.CONV, node.window, node.stride, node.padding
    elif isinstance(node, FullyConnected):
        # A convolution whose window is the whole map.
        op, kernel, stride, padding = Op.CONV, (in_height, in_width), (1, 1), (0, 0, 0, 0)
    elif isinstance(node, Pool2D):
        op = Op.MAX_POOL if isinstance(node, MaxPool2D) else Op.SUM_POOL
        kernel, stride, padding = node.window, node.stride, node.padding
    else:
        raise CompileError(f"{node.label}: the engine has no such operation")

    stride = (1 if out_height == 1 else stride[0], 1 if out_width == 1 else stride[1])
    if config.pixels > 1 and stride[1] % config.pixels == 0:
        raise CompileError(
            f"{node.label}: a horizontal stride of {stride[1]} makes the {config.pixels} pixel "
            f"lanes meet in one bank; use one that is no multiple of {config.pixels}"
        )
    _check(node, "rows of the window", kernel[0], "kernel_height")
    _check(node, "columns of the window", kernel[1], "kernel_width")
    _check(node, "vertical stride", stride[0], "stride_y")
    _check(node, "horizontal stride", stride[1], "stride_x")
    _check(node, "top padding", -padding[0], "start_y")
    _check(node, "left padding", -padding[2], "start_x")
    for name, height, width in (("in", in_height, in_width), ("out", out_height, out_width)):
        _check(node, f"{name}put rows", height, f"{name}_height")
        _check(node, f"{name}put columns", width, f"{name}_width")

    if op is Op.CONV:
        tile_blocks = -(-min(out_channels, config.output_channels) // config.input_channels)
        in_blocks, tiles = blocks, -(-out_channels // config.output_channels)
    else:
        tile_blocks, in_blocks, tiles = 1, 1, blocks
    drain = tile_blocks * config.drains_per_word
    passes = kernel[0] * kernel[1] * in_blocks
    _check(node, "passes a group", passes, "passes")
    _check(node, "input blocks", in_blocks, "in_blocks")
    _check(node, "output blocks", -(-out_channels // config.input_channels), "out_blocks")
    if op is not Op.CONV and passes > 4096:
        raise CompileError(f"{node.label}: a window of {passes} values, the engine pools 4096")
    return Shape(
        op=op,
        kernel=kernel,
        stride=stride,
        padding_top=padding[0],
        padding_left=padding[2],
        in_blocks=in_blocks,
        tiles=tiles,
        drain=drain,
        passes=passes,
        group_cycles=max(passes, drain),
    )


def _check(node: Node, what: str, value: int, field: str) -> None:
    limit = INSTRUCTION.by_name[field]
    if not limit.minimum <= value <= limit.maximum:
        raise CompileError(
            f"{node.label}: {abs(value)} {what}, the engine takes at most "
            f"{limit.maximum if value > 0 else -limit.minimum}"
        )


def lower(
    graph: Graph, shapes: Iterable[Shape], allocation: Allocation, config: VisionConfig
) -> list[Layer]:
    """The layers of ``graph``, one a node, in its order."""
    return [
        _layer(graph, index, node, shape, allocation, config)
        for index, (node, shape) in enumerate(zip(graph.nodes, shapes, strict=True))
    ]


def _layer(
    graph: Graph,
    index: int,
    node: Node,
    shape: Shape,
    allocation: Allocation,
    config: VisionConfig,
) -> Layer:
    source, target = graph.tensors[node.input], graph.tensors[node.output]
    reads, writes = allocation.maps[node.input], allocation.maps[node.output]
    if isinstance(node, (Conv2D, FullyConnected)):
        kernels = node.weights.reshape(len(node.weights), *shape.kernel, source.shape[2])
        weights = _weight_rows(kernels, shape, config)
        channels = (
            of_convolution(node, source, target)
            if isinstance(node, Conv2D)
            else of_fully_connected(node, source, target)
        )
        parameters = _parameter_rows(channels, shape, config)
        zero_points = {"in_zero_point": source.zero_point, "out_zero_point": target.zero_point}
    else:
        weights = np.zeros((0, config.output_channels, config.input_channels), np.int8)
        count = shape.kernel[0] * shape.kernel[1]
        one = average(count) if isinstance(node, AveragePool2D) else identity()
        parameters = [[one] * config.requantize_channels] * shape.drain
        # Integers are pooled as they are; a padded tap must never be the maximum.
        zero_points = {"in_zero_point": -128, "out_zero_point": 0}
    return Layer(
        name=node.name,
        op=node.op,
        output=node.output,
        macs=node.macs(graph.tensors),
        fields={
            "op": shape.op,
            "layer": index,
            "release_input": int(allocation.release == index),
            "clamp_min": node.activation_min,
            "clamp_max": node.activation_max,
            **zero_points,
            **_walk(shape, reads, writes, config),
        },
        weights=weights,
        parameters=parameters,
    )


def _walk(
    shape: Shape, reads: MapLayout, writes: MapLayout, config: VisionConfig
) -> dict[str, int]:
    """The constants by which the engine walks over the two maps."""
    pixels = config.pixels
    stride_y, stride_x = shape.stride
    window = shape.window(writes.height, writes.width)
    row_mode = not window.runs_on(reads.pitch, pixels)
    # Output columns from a lane's last group in a row to its next row.
    back = pixels - writes.width if not row_mode else -((writes.width - 1) // pixels) * pixels
    fields = {
        "row_mode": int(row_mode),
        "in_base": reads.base,
        "in_plane": reads.plane,
        "in_height": reads.height,
        "in_width": reads.width,
        "kernel_height": shape.kernel[0],
        "kernel_width": shape.kernel[1],
        "in_blocks": shape.in_blocks,
        "stride_y": stride_y,
        "stride_x": stride_x,
        "start_y": -shape.padding_top,
        "start_x": -shape.padding_left,
        "wrap_x": back * stride_x,
        "in_tile_step": 0 if shape.op is Op.CONV else reads.plane,
        "passes": shape.passes,
        "group_cycles": shape.group_cycles,
        "drain": shape.drain,
        "parameter_step": shape.drain if shape.op is Op.CONV else 0,
        "tiles": shape.tiles,
        "groups": window.groups(reads.pitch, pixels),
        "out_base": writes.base,
        "out_plane": writes.plane,
        "out_blocks": writes.blocks,
        "out_height": writes.height,
        "out_width": writes.width,
        "out_wrap_x": back,
        "out_tile_step": shape.drain // config.drains_per_word * writes.plane,
    }
    for name, distance in (
        ("start", -(shape.padding_top * reads.pitch + shape.padding_left)),
        ("wrap", stride_y * reads.pitch + back * stride_x),
        ("tap_x", 1),
        ("tap_y", reads.pitch - (shape.kernel[1] - 1)),
        ("out_wrap", writes.pitch + back),
    ):
        fields[f"{name}_q"], fields[f"{name}_r"] = divmod(distance, pixels)
    return fields


def _weight_rows(
    kernels: npt.NDArray[np.int8], shape: Shape, config: VisionConfig
) -> npt.NDArray[np.int8]:
    """Rows in the order of the passes: tile, kernel row, kernel column, block."""
    outputs, rows, columns, inputs = kernels.shape
    padded = np.zeros(
        (
            shape.tiles * config.output_channels,
            rows,
            columns,
            shape.in_blocks * config.input_channels,
        ),
        np.int8,
    )
    padded[:outputs, :, :, :inputs] = kernels
    split = padded.reshape(
        shape.tiles,
        config.output_channels,
        rows,
        columns,
        shape.in_blocks,
        config.input_channels,
    )
    return np.ascontiguousarray(
        split.transpose(0, 2, 3, 4, 1, 5).reshape(-1, config.output_channels, config.input_channels)
    )


def _parameter_rows(
    channels: list[ChannelParameters], shape: Shape, config: VisionConfig
) -> list[list[ChannelParameters]]:
    """Rows of ``requantize_channels``; channels that are none give the zero point."""
    width = config.requantize_channels
    count = shape.tiles * shape.drain * width
    padded = channels + [ChannelParameters()] * (count - len(channels))
    return [padded[start : start + width] for start in range(0, count, width)]

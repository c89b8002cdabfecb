"""Steps of the layers that multiply by weights on the array: convolutions and what can be one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eyas.compiler.lowering.lane import ChannelParameters
from eyas.compiler.lowering.requantization import of_convolution, of_fully_connected
from eyas.compiler.lowering.steps import Part, Shape, Source, Step, sliding
from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import Op
from models.vision.graph import Conv2D, DepthwiseConv2D, FullyConnected, Graph, Node

__all__ = [
    "convolution",
    "diagonal_convolution",
    "fully_connected",
    "parameter_rows",
    "requantisation_fields",
    "weight_rows",
]


def convolution(graph: Graph, node: Conv2D, source: Source, config: VisionConfig) -> Step:
    """A convolution: every tile of output channels reads every block of input channels."""
    return _step(
        graph,
        node,
        source,
        node.weights,
        of_convolution(node, source.tensor, graph.tensors[node.output]),
        config,
        stride=node.stride,
        padding=source.padded(node.padding),
    )


def fully_connected(
    graph: Graph, node: FullyConnected, source: Source, config: VisionConfig
) -> Step:
    """A convolution whose window is the whole map."""
    return _step(
        graph,
        node,
        source,
        node.weights.reshape(len(node.weights), source.height, source.width, source.channels),
        of_fully_connected(node, source.tensor, graph.tensors[node.output]),
        config,
    )


def diagonal_convolution(
    graph: Graph, node: DepthwiseConv2D, source: Source, config: VisionConfig
) -> Step:
    """A depthwise convolution of any kernel and multiplier, as a convolution of mostly zeros.

    Where the channels of a tile come from blocks of their own, only those are read.
    """
    outputs, rows, columns = node.weights.shape
    inputs_a_tile, uneven = divmod(config.output_channels, node.multiplier)
    blocks_a_tile, uneven_blocks = divmod(inputs_a_tile, config.input_channels)
    apart = not uneven and not uneven_blocks and blocks_a_tile > 0
    if not apart:
        blocks_a_tile = -(-source.channels // config.input_channels)
    first_input = (
        np.arange(outputs) // config.output_channels * blocks_a_tile * config.input_channels
        if apart
        else np.zeros(outputs, np.int64)
    )
    kernels = np.zeros((outputs, rows, columns, blocks_a_tile * config.input_channels), np.int8)
    channel = np.arange(outputs)
    kernels[channel, :, :, channel // node.multiplier - first_input] = node.weights
    return _step(
        graph,
        node,
        source,
        kernels,
        of_convolution(node, source.tensor, graph.tensors[node.output]),
        config,
        stride=node.stride,
        padding=source.padded(node.padding),
        tile_planes=blocks_a_tile if apart else 0,
    )


def _step(
    graph: Graph,
    node: Node,
    source: Source,
    kernels: npt.NDArray[np.int8],
    channels: list[ChannelParameters],
    config: VisionConfig,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    tile_planes: int = 0,
) -> Step:
    """A step with ``kernels`` [output][row][column][input that the output's tile reads]."""
    target = graph.tensors[node.output]
    outputs, rows, columns, inputs = kernels.shape
    shape = sliding(
        node.label,
        Op.CONV,
        source,
        target,
        config,
        kernel=(rows, columns),
        stride=stride,
        padding=padding,
        in_blocks=-(-inputs // config.input_channels),
        tile_planes=tile_planes,
        tiles=-(-outputs // config.output_channels),
        tile_blocks=-(-min(outputs, config.output_channels) // config.input_channels),
    )
    return Step(
        name=node.name,
        op=node.op,
        inputs=(source.tensor.name,),
        output=node.output,
        shape=shape,
        part=Part(0, 0, *target.shape[:2]),
        fields=requantisation_fields(graph, node, in_zero_point=source.tensor.zero_point),
        weights=weight_rows(kernels, shape, config),
        parameters=parameter_rows(channels, shape, config),
    )


def requantisation_fields(graph: Graph, node: Node, *, in_zero_point: int) -> dict[str, int]:
    """The fields that say what a padded tap reads as, and how results become int8."""
    return {
        "in_zero_point": in_zero_point,
        "out_zero_point": graph.tensors[node.output].zero_point,
        "clamp_min": node.activation_min,
        "clamp_max": node.activation_max,
    }


def weight_rows(
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


def parameter_rows(
    channels: list[ChannelParameters], shape: Shape, config: VisionConfig
) -> list[list[ChannelParameters]]:
    """Rows of ``requantize_channels``; channels that are none give the zero point."""
    width = config.requantize_channels
    count = shape.tiles * shape.drain * width
    padded = channels + [ChannelParameters()] * (count - len(channels))
    return [padded[start : start + width] for start in range(0, count, width)]

"""Steps of the layers that run on the pooling unit: a window over each channel by itself."""

from __future__ import annotations

from itertools import groupby

from eyas.compiler.errors import CompileError
from eyas.compiler.lowering.convolution import requantisation_fields
from eyas.compiler.lowering.lane import ChannelParameters
from eyas.compiler.lowering.pooling import MAX_COUNT
from eyas.compiler.lowering.requantization import average, identity
from eyas.compiler.lowering.rescaling import of_mean, of_requantize
from eyas.compiler.lowering.steps import Part, Source, Step, no_weights, sliding
from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import Op
from models.vision.graph import AveragePool2D, Graph, MaxPool2D, Mean, Node, Pad, Requantize

MERGED_COLUMNS = 250
"""Columns of a window that the lanes can share: a tap's column has 8 bits."""

__all__ = ["average_pool", "max_pool", "mean", "pad", "requantize"]


def max_pool(graph: Graph, node: MaxPool2D, source: Source, config: VisionConfig) -> Step:
    """A maximum; the pool's own padding never wins, a margin that a Pad made may."""
    return _pool(
        graph,
        node,
        source,
        config,
        Op.MAX_POOL,
        identity(),
        kernel=node.window,
        stride=node.stride,
        padding=source.padded(node.padding),
        in_zero_point=source.tensor.zero_point if any(source.margin) else -128,
    )


def pad(graph: Graph, node: Pad, source: Source, config: VisionConfig) -> Step:
    """A copy with the zero point around it."""
    return _pool(
        graph,
        node,
        source,
        config,
        Op.MAX_POOL,
        identity(),
        padding=source.padded(node.padding),
        in_zero_point=source.tensor.zero_point,
    )


def average_pool(
    graph: Graph, node: AveragePool2D, source: Source, config: VisionConfig
) -> list[Step]:
    """An average for each rectangle of outputs whose windows hold the same number of values.

    The values of a margin that a Pad made count, the pool's own padding does not.
    """
    _check_values(node, node.window)
    height, width, _ = graph.tensors[node.output].shape
    sides = zip((source.height, source.width), node.window, node.stride, strict=True)
    rows, columns = (
        _runs(size, window, stride, before, count)
        for (size, window, stride), before, count in zip(
            sides, (node.padding[0], node.padding[2]), (height, width), strict=True
        )
    )
    parts = [
        (Part(top, left, part_height, part_width), row_values * column_values)
        for top, part_height, row_values in rows
        for left, part_width, column_values in columns
    ]
    # Last rectangle first: one may begin early, and is put right by those that come after it.
    parts.reverse()
    return [
        _pool(
            graph,
            node,
            source,
            config,
            Op.SUM_POOL,
            average(values),
            kernel=node.window,
            stride=node.stride,
            padding=source.padded(node.padding),
            in_zero_point=source.tensor.zero_point if any(source.margin) else 0,
            part=part,
            number=number if len(parts) > 1 else None,
            completes=number == len(parts),
        )
        for number, (part, values) in enumerate(parts, 1)
    ]


def mean(graph: Graph, node: Mean, source: Source, config: VisionConfig) -> Step:
    """The sum of the whole map, rescaled by the number of its values."""
    target = graph.tensors[node.output]
    return _pool(
        graph,
        node,
        source,
        config,
        Op.SUM_POOL,
        of_mean(node.label, source.tensor, target, source.height * source.width),
        kernel=(source.height, source.width),
        padding=source.margin,
        in_zero_point=source.tensor.zero_point,
        out_zero_point=target.zero_point,
    )


def requantize(graph: Graph, node: Requantize, source: Source, config: VisionConfig) -> Step:
    """A sum of single values, rescaled."""
    target = graph.tensors[node.output]
    return _pool(
        graph,
        node,
        source,
        config,
        Op.SUM_POOL,
        of_requantize(node.label, source.tensor, node.ratio(graph.tensors)),
        in_zero_point=source.tensor.zero_point,
        out_zero_point=target.zero_point,
    )


def _runs(
    size: int, window: int, stride: int, before: int, outputs: int
) -> list[tuple[int, int, int]]:
    """First output, number of outputs and values a window, for each run of equal windows."""

    def values(output: int) -> int:
        first = output * stride - before
        return min(first + window, size) - max(first, 0)

    runs = []
    for count, members in groupby(range(outputs), key=values):
        run = list(members)
        runs.append((run[0], len(run), count))
    return runs


def _check_values(node: Node, window: tuple[int, int]) -> None:
    values = window[0] * window[1]
    if values > MAX_COUNT:
        raise CompileError(
            f"{node.label}: a window of {values} values, the engine pools {MAX_COUNT}"
        )


def _pool(
    graph: Graph,
    node: Node,
    source: Source,
    config: VisionConfig,
    op: Op,
    parameters: ChannelParameters,
    *,
    in_zero_point: int,
    kernel: tuple[int, int] = (1, 1),
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    out_zero_point: int = 0,
    part: Part | None = None,
    number: int | None = None,
    completes: bool = True,
) -> Step:
    """A pool with the same parameters for each channel; integers are pooled as they are."""
    _check_values(node, kernel)
    target = graph.tensors[node.output]
    # Columns beyond the map read as 0, which adds nothing.
    merged = (
        op is Op.SUM_POOL
        and target.shape[:2] == (1, 1)
        and 1 < kernel[1] == source.width < MERGED_COLUMNS
        and config.pixels > 1
        and not any((*padding, *source.margin))
    )
    shape = sliding(
        node.label,
        op,
        source,
        target,
        config,
        kernel=kernel,
        stride=stride,
        padding=padding,
        tile_planes=1,
        merged=merged,
        tiles=-(-source.channels // config.input_channels),
    )
    return Step(
        name=node.name if number is None else f"{node.name} part {number}",
        op=node.op,
        inputs=(source.tensor.name,),
        output=node.output,
        shape=shape,
        part=part or Part(0, 0, *target.shape[:2]),
        fields={
            **requantisation_fields(graph, node, in_zero_point=0 if merged else in_zero_point),
            "out_zero_point": out_zero_point,
        },
        weights=no_weights(config),
        parameters=[[parameters] * config.requantize_channels] * shape.drain,
        completes=completes,
    )

"""The step of a residual add: one pass for each of two maps that lie alike."""

from __future__ import annotations

from eyas.compiler.lowering.add import add_parameters, table_fields
from eyas.compiler.lowering.convolution import requantisation_fields
from eyas.compiler.lowering.steps import Part, Source, Step, no_weights, sliding
from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import Op
from models.vision.graph import Add, Graph

__all__ = ["residual_add"]


def residual_add(graph: Graph, node: Add, source: Source, config: VisionConfig) -> Step:
    """A sum of two maps with the same pitch; the second stands for the next block of the first."""
    target = graph.tensors[node.output]
    other = graph.tensors[node.other]
    shape = sliding(
        node.label,
        Op.ADD,
        source,
        target,
        config,
        kernel=(1, 1),
        in_blocks=2,
        tile_planes=1,
        tiles=-(-source.channels // config.input_channels),
    )
    parameters = add_parameters(node.label, source.tensor, other, target)
    return Step(
        name=node.name,
        op=node.op,
        inputs=(node.input, node.other),
        output=node.output,
        shape=shape,
        part=Part(0, 0, *target.shape[:2]),
        fields={
            **requantisation_fields(graph, node, in_zero_point=source.tensor.zero_point),
            **table_fields(source.tensor, other),
        },
        weights=no_weights(config),
        parameters=[[parameters] * config.requantize_channels] * shape.drain,
    )

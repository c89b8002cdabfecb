"""Whether weights, parameters and instructions fit in their memories, with the figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eyas.compiler.lowering.steps import Step
from eyas.interfaces.vision import limits
from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import INSTRUCTION
from models.vision.graph import Graph
from models.vision.weighted_nodes import WeightedNode

__all__ = ["shortages"]


def shortages(
    steps: Sequence[Step], graph: Graph, config: VisionConfig, *, is_sketch: bool = False
) -> Iterator[str]:
    """A sentence for each memory that is too small; it names the layer that is too much.

    Parameters
    ----------
    steps : sequence of Step
        What will run.
    graph : Graph
        The network before anything was folded: its weights are the unpacked ones.
    config : VisionConfig
        The array.
    is_sketch : bool
        Whether constant channels could not be folded yet: the message says so.
    """
    most = limits.layers(config)
    if len(steps) > most:
        yield (
            f"The network has {len(steps)} layers, the engine takes {most} "
            f"({config.instruction_words} words of instructions, {INSTRUCTION.word_count} a layer)"
        )
    unpacked = sum(node.weights.nbytes for node in graph.nodes if isinstance(node, WeightedNode))
    yield from _rows(
        [(step.name, len(step.weights)) for step in steps],
        config.weight_rows,
        "weights as packed for this array",
        f"; {unpacked / 1024:.1f} KiB unpacked"
        + (", before constant channels are folded" if is_sketch else ""),
        limits.weight_row_bytes(config) / 1024,
    )
    yield from _rows(
        [(step.name, len(step.parameters)) for step in steps],
        config.parameter_rows,
        "requantisation parameters",
        "",
        limits.parameter_row_bytes(config) / 1024,
    )


def _rows(
    sizes: list[tuple[str, int]], limit: int, what: str, more: str, row_kib: float
) -> Iterator[str]:
    """A sentence where the rows of all layers together are more than ``limit``."""
    used, total = 0, sum(count for _, count in sizes)
    for name, rows in sizes:
        if used + rows > limit:
            yield (
                f"The network needs {total * row_kib:.1f} KiB of {what} ({total} rows{more}), the "
                f"engine has {limit * row_kib:.1f} KiB ({limit} rows): layer {name!r} needs "
                f"{rows} rows where {limit - used} are left"
            )
            return
        used += rows

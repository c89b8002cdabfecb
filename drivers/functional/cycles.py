"""Cycles from an instruction's own fields: what the RTL takes, without running it.

A layer's cycles are exact (they equal the compiler's, which tests compare with the RTL), and so is
how they divide into array, waits, drain and tables. What passes around a core's run is an estimate,
made in :mod:`drivers.functional.jobs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import INSTRUCTION, Op

__all__ = ["TABLES", "LayerCycles", "layer_cycles"]

READER = 5
"""Cycles from a pass to its pixels."""
REQUANTISER = 15
"""Cycles from a sum to its int8 value."""
WRITE_BACK = 2
"""Cycles from a word's last value to the layer's end."""
DEPTHWISE = 10
"""Cycles from a column to its sum."""
FETCH = INSTRUCTION.word_count + 3
"""Cycles in which an instruction is fetched."""
TABLES = 261
"""Cycles in which an ADD's tables are filled."""


class LayerCycles(NamedTuple):
    """The layer counters, as the registers of the same names."""

    cycles: int
    array: int
    requantize: int
    drain: int
    table: int = 0


def layer_cycles(fields: Mapping[str, int], config: VisionConfig) -> LayerCycles:
    """Cycles from the layer's start to its last result."""
    if fields["op"] == Op.DEPTHWISE:
        return _depthwise(fields, config)
    # The array: 4 for a pair of products, a cycle a level of the adder tree, 1 to accumulate.
    array = 4 + (config.input_channels // 2).bit_length() - 1 + 1
    pipeline = READER + array + fields["drain"] + REQUANTISER + WRITE_BACK
    if fields["merge_lanes"]:
        pipeline += config.pixels - 1
    groups = fields["tiles"] * fields["groups"]
    # The last group's results leave without the wait for a next one.
    wait = fields["group_cycles"] - fields["passes"]
    return LayerCycles(
        1 + groups * fields["group_cycles"] - wait + pipeline,
        groups * fields["passes"],
        groups * wait,
        pipeline - wait,
    )


def _depthwise(fields: Mapping[str, int], config: VisionConfig) -> LayerCycles:
    row_groups = max(1, fields["row_groups"])
    columns = fields["first_cycles"]
    if row_groups > 1:
        columns += (row_groups - 2) * fields["group_cycles"] + fields["last_cycles"]
    read = fields["tiles"] * (fields["groups"] // row_groups) * columns
    loads = fields["tiles"] * (config.depthwise_weight_rows - 1)
    pipeline = READER + DEPTHWISE + fields["drain"] + REQUANTISER + WRITE_BACK
    return LayerCycles(1 + read + loads + pipeline, read, 0, pipeline)

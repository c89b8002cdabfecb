"""Where the pixel lanes stand, group after group: what ``hdl/vision/loops/walker.py`` counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Indices", "InputWalk", "OutputWalk", "input_walk", "output_walk"]

Indices = npt.NDArray[np.intp]


class InputWalk(NamedTuple):
    """First tap of each lane [groups, lanes]: linear position, row and column in the input map."""

    position: Indices
    y: Indices
    x: Indices


class OutputWalk(NamedTuple):
    """Output pixel of each lane [groups, lanes]: linear position; whether it is written."""

    position: Indices
    inside: npt.NDArray[np.bool_]


def _wraps(fields: Mapping[str, int], steps: int, lanes: int, row_width: int) -> Indices:
    """For each lane how often it has gone to another row, before each of ``steps`` groups."""
    limit = row_width - fields["group_pixels"]
    always = row_width == 0
    wraps = np.zeros((steps, lanes), np.intp)
    for lane in range(1 if fields["row_mode"] else lanes):
        x, count = lane, 0
        for step in range(steps):
            wraps[step, lane] = count
            if always or x >= limit:
                count += 1
                x += fields["out_wrap_x"]
            else:
                x += fields["group_pixels"]
    if fields["row_mode"]:
        wraps[:] = wraps[:, :1]
    return wraps


def _distance(fields: Mapping[str, int], name: str, pixels: int) -> int:
    return fields[f"{name}_q"] * pixels + fields[f"{name}_r"]


def input_walk(fields: Mapping[str, int], steps: int, pixels: int) -> InputWalk:
    """The input side's walk over ``steps`` groups of a layer's tile.

    Positions are linear numbers from the tile's origin, not yet reduced to the memory's size.
    """
    lane = np.arange(pixels)
    wraps = _wraps(fields, steps, pixels, fields["row_width"])
    steady = np.arange(steps)[:, np.newaxis] - wraps
    start, apart, step, wrap = (
        _distance(fields, name, pixels) for name in ("start", "lane", "step", "wrap")
    )
    return InputWalk(
        start + lane * apart + steady * step + wraps * wrap,
        fields["start_y"] + lane * fields["lane_y"] + wraps * fields["stride_y"],
        fields["start_x"]
        + lane * fields["lane_x"]
        + steady * fields["step_x"]
        + wraps * fields["wrap_x"],
    )


def output_walk(fields: Mapping[str, int], steps: int, pixels: int) -> OutputWalk:
    """The output side's walk over ``steps`` groups of a layer's tile."""
    lane = np.arange(pixels)
    wraps = _wraps(fields, steps, pixels, fields["out_width"])
    steady = np.arange(steps)[:, np.newaxis] - wraps
    step, wrap = (_distance(fields, name, pixels) for name in ("out_step", "out_wrap"))
    x = lane + steady * fields["group_pixels"] + wraps * fields["out_wrap_x"]
    inside = (
        (wraps < fields["out_height"]) & (x < fields["out_width"]) & (lane < fields["group_pixels"])
    )
    return OutputWalk(lane + steady * step + wraps * wrap, inside)

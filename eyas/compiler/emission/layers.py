"""From steps to layers of the engine: instructions whose maps have their places."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from eyas.compiler.lowering import depthwise
from eyas.compiler.lowering.steps import Part, Shape, Step
from eyas.compiler.maps import MapLayout
from eyas.compiler.placing.allocate import Allocation
from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import Op

__all__ = ["Layer", "lower"]


@dataclass(frozen=True, eq=False)
class Layer:
    """One instruction with what belongs to it.

    Parameters
    ----------
    step : Step
        What it does, with its weights and parameters.
    fields : dict of str to int
        Fields of INSTRUCTION but ``weight_base`` and ``parameter_base``.
    """

    step: Step
    fields: dict[str, int]


def lower(steps: Iterable[Step], allocation: Allocation, config: VisionConfig) -> list[Layer]:
    """The layers of ``steps``, in their order."""
    return [
        Layer(
            step,
            {
                "op": step.shape.op,
                "layer": index,
                "release_input": int(allocation.release == index),
                **step.fields,
                **_places(step, allocation, config),
            },
        )
        for index, step in enumerate(steps)
    ]


def _places(step: Step, allocation: Allocation, config: VisionConfig) -> dict[str, int]:
    """The fields that say where the maps stand and how the engine walks over them."""
    reads, writes = allocation.maps[step.inputs[0]], allocation.maps[step.output]
    if step.shape.op is Op.DEPTHWISE:
        return depthwise.walk(step.shape, reads, writes, config)
    part = _from_bank_zero(step.part, writes.pitch, config.pixels)
    # A part is a map of its own within the other: both begin at its first pixel.
    place = (part.top * writes.pitch + part.left) // config.pixels
    target = replace(writes, height=part.height, width=part.width, base=writes.base + place)
    top = part.top * step.shape.stride[0] - step.shape.padding_top
    left = part.left * step.shape.stride[1] - step.shape.padding_left
    skipped_rows, skipped_columns = max(0, top), max(0, left)
    source = replace(reads, height=reads.height - skipped_rows, width=reads.width - skipped_columns)
    shape = replace(step.shape, padding_top=skipped_rows - top, padding_left=skipped_columns - left)
    fields = _walk(shape, source, target, config)
    fields["start_q"], fields["start_r"] = divmod(top * reads.pitch + left, config.pixels)
    if step.shape.op is Op.ADD:
        second = allocation.maps[step.inputs[1]]
        fields["in_plane"] = (second.base - reads.base) % config.bank_words
    return fields


def _from_bank_zero(part: Part, pitch: int, pixels: int) -> Part:
    """``part``, begun the fewest pixels earlier so that its first one stands in bank 0.

    What is written too much belongs to parts above and to the left, which come later.
    """
    earlier = [
        Part(top, left, part.top + part.height - top, part.left + part.width - left)
        for top in range(part.top, max(-1, part.top - pixels), -1)
        for left in range(part.left, max(-1, part.left - pixels), -1)
        if (top * pitch + left) % pixels == 0
    ]
    return min(earlier, key=lambda item: item.height * item.width)


def _walk(
    shape: Shape, reads: MapLayout, writes: MapLayout, config: VisionConfig
) -> dict[str, int]:
    """The constants by which the engine walks over the two maps."""
    pixels = config.pixels
    stride_y, stride_x = shape.stride
    window = shape.window(writes.height, writes.width)
    group = window.group_pixels(pixels)
    # Lanes that share a window stand on neighbouring columns of it.
    lane = 1 if shape.merged else stride_x
    tap = pixels if shape.merged else 1
    row_mode = not window.runs_on(reads.pitch, pixels)
    # Output columns from a lane's last group in a row to its next row.
    back = group - writes.width if not row_mode else -((writes.width - 1) // group) * group
    fields = {
        "row_mode": int(row_mode),
        "merge_lanes": int(shape.merged),
        "in_base": reads.base,
        "in_plane": reads.plane,
        "in_height": reads.height,
        "in_width": reads.width,
        "kernel_height": shape.kernel[0],
        "kernel_width": shape.kernel[1],
        "in_blocks": shape.in_blocks,
        "stride_y": stride_y,
        "stride_x": stride_x,
        "lane_y": 0,
        "lane_x": lane,
        "group_pixels": group,
        "step_x": group * stride_x,
        "row_width": writes.width,
        "start_y": -shape.padding_top,
        "start_x": -shape.padding_left,
        "wrap_x": back * stride_x,
        "in_tile_step": shape.tile_planes * reads.plane,
        "weight_step": shape.passes,
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
        ("lane", lane),
        ("step", group * stride_x),
        ("wrap", stride_y * reads.pitch + back * stride_x),
        ("tap_x", tap),
        ("tap_y", reads.pitch - (shape.kernel[1] - 1) * tap),
        ("out_step", group),
        ("out_wrap", writes.pitch + back),
    ):
        fields[f"{name}_q"], fields[f"{name}_r"] = divmod(distance, pixels)
    return fields

"""The vision engine's macro-instruction: one a layer, as data.

Layout of a map in activation memory: planes of ``input_channels`` channels.  Pixel (x, y) of a
plane has the linear number ``lin = y · pitch + x``; it stands in bank ``lin mod P`` at word
``base + block · plane + lin div P`` where P is the number of pixels computed side by side.  A pair
(q, r) in the fields below stands for the linear distance ``q · P + r``, 0 <= r < P.

A layer runs as: for each tile of output channels (or block, when pooling): for each group of P output
pixels: for each kernel row, kernel column, input block: one pass.
"""

from __future__ import annotations

import enum

from eyas.interfaces.fields import Field, Record

__all__ = ["INSTRUCTION", "MULTIPLIER_FRACTION", "PARAMETER", "TABLE_FRACTION", "Op"]

MULTIPLIER_FRACTION = 31
"""Bits behind the binary point of a parameter's multiplier."""
TABLE_FRACTION = 11
"""Bits that the entries of an ADD's tables lose, rounded half up, before their own right shift."""


class Op(enum.IntEnum):
    """Operation of an instruction."""

    END = 0
    """The program's end: the output map is complete."""
    CONV = 1
    """Convolution (a fully connected layer is one with a single output pixel)."""
    MAX_POOL = 2
    """Maximum over the window; padded taps count as ``in_zero_point``, which the compiler sets to −128."""
    SUM_POOL = 3
    """Sum over the window; requantisation turns it into the average."""
    DEPTHWISE = 4
    """Depthwise convolution with a 3 × 3 kernel: a column of three pixels a cycle."""
    ADD = 5
    """Sum of two maps, each value through its table: two passes a group, one a map."""


def _f(name: str, width: int, doc: str, signed: bool = False) -> Field:
    return Field(name, width, doc, signed)


INSTRUCTION = Record(
    "instruction",
    1024,
    (
        _f("op", 4, "operation (Op)"),
        _f("row_mode", 1, "groups of pixels stop at row ends; else they run on across them"),
        _f(
            "release_input", 1, "when this layer ends the picture's region is free for the next one"
        ),
        _f("layer", 8, "layer number, for counters and errors"),
        # Reading the input map.
        _f("in_base", 16, "word of the input map's first plane, the same in each bank"),
        _f("in_plane", 16, "words from one input plane to the next"),
        _f("in_height", 12, "rows of the input map"),
        _f("in_width", 12, "columns of the input map"),
        _f("in_zero_point", 8, "value of a padded tap", True),
        _f("kernel_height", 8, "rows of the window"),
        _f("kernel_width", 8, "columns of the window"),
        _f("in_blocks", 8, "input blocks reduced for each tap (1 when pooling)"),
        _f("stride_y", 4, "input rows between output rows"),
        _f("stride_x", 4, "input columns between output columns"),
        _f("lane_q", 16, "distance from a lane's first tap to the next lane's, q"),
        _f("lane_r", 4, "the same, r"),
        _f("lane_y", 4, "the same, rows"),
        _f("lane_x", 4, "the same, columns"),
        _f(
            "group_pixels", 4, "output pixels a group: P, or 1 where the lanes would meet in a bank"
        ),
        _f("step_q", 16, "distance from a lane's first tap to its next group's in the row, q"),
        _f("step_r", 4, "the same, r"),
        _f("step_x", 16, "the same, columns"),
        _f(
            "row_width",
            12,
            "output columns behind which a lane's input goes to the next row (0: always)",
        ),
        _f("start_q", 16, "first tap of output pixel (0, 0): −(pad_top·pitch + pad_left), q", True),
        _f("start_r", 4, "the same, r"),
        _f("start_y", 8, "row of that tap: −pad_top", True),
        _f("start_x", 8, "column of that tap: −pad_left", True),
        _f(
            "wrap_q", 16, "distance of a lane's first tap to its next group's at a row end, q", True
        ),
        _f("wrap_r", 4, "the same, r"),
        _f("wrap_x", 16, "change of a lane's input column at a row end", True),
        _f("tap_x_q", 8, "distance from a tap to the next in its row, q"),
        _f("tap_x_r", 4, "the same, r"),
        _f("tap_y_q", 16, "distance from a row's last tap to the next row's first, q", True),
        _f("tap_y_r", 4, "the same, r"),
        _f("in_tile_step", 16, "added to in_base at each tile; 0 where tiles share their input"),
        # Weights, parameters and the loops.
        _f("weight_base", 16, "first weight row, from the program's base"),
        _f("weight_step", 16, "weight rows a tile"),
        _f("passes", 16, "passes a group: kernel_height · kernel_width · in_blocks"),
        _f("group_cycles", 16, "cycles a group takes: max(passes, drain, drains a word)"),
        _f("drain", 8, "requantisation cycles a group, a multiple of the drains a word"),
        _f("parameter_base", 16, "first parameter row, from the program's base"),
        _f("parameter_step", 8, "parameter rows a tile (0: the same rows for each tile)"),
        _f("tiles", 12, "tiles of output channels"),
        _f("groups", 20, "groups of pixels a tile"),
        # Writing the output map.
        _f("out_base", 16, "word of the output map's first plane"),
        _f("out_plane", 16, "words from one output plane to the next"),
        _f("out_blocks", 8, "planes of the output map; words beyond are not written"),
        _f("out_height", 12, "rows of the output map"),
        _f("out_width", 12, "columns of the output map"),
        _f("out_step_q", 4, "distance of a lane's output pixel to its next group's in the row, q"),
        _f("out_step_r", 4, "the same, r"),
        _f(
            "out_wrap_q",
            16,
            "distance of a lane's output pixel to its next group's at a row end, q",
            True,
        ),
        _f("out_wrap_r", 4, "the same, r"),
        _f("out_wrap_x", 16, "change of a lane's output column at a row end", True),
        _f("out_tile_step", 16, "words from one tile's first output plane to the next tile's"),
        _f("out_zero_point", 8, "added after requantisation", True),
        _f("clamp_min", 8, "least output value (fused activation)", True),
        _f("clamp_max", 8, "greatest output value", True),
        # Pools with one output pixel.
        _f("merge_lanes", 1, "SUM_POOL: the lanes take neighbouring columns of one window"),
        # DEPTHWISE: a row of output pixels is a run of input columns, one a cycle.
        _f("row_groups", 12, "groups a row"),
        _f("first_fill", 4, "columns until a row's first output pixel is complete: 3 − pad_left"),
        _f("first_cycles", 8, "columns until a row's first group is complete"),
        _f("last_cycles", 8, "columns of a row's last group, where it is not the first"),
        # ADD: entry q of a table is round(round-half-up((start + (q + 128) · step) / 2^11) / 2^shift),
        # the 11 being TABLE_FRACTION.
        _f("table_a_start", 44, "first map's table: (−128 − zero_point) · step", True),
        _f("table_a_step", 32, "the same: Q31 multiplier"),
        _f("table_a_shift", 5, "the same: right shift, halves away from zero"),
        _f("table_b_start", 44, "second map's table", True),
        _f("table_b_step", 32, "the same"),
        _f("table_b_shift", 5, "the same"),
    ),
    "One layer. Bits above the last field are reserved and zero.",
)

PARAMETER = Record(
    "parameter",
    128,
    (
        _f(
            "bias", 32, "added to the accumulator: the layer's bias with −zero_point·Σweights", True
        ),
        _f("multiplier", 31, "Q31 multiplier, 2^30 to 2^31 − 1, or 0"),
        Field("shift", 5, "right shift after the multiplication, 0 to 31", offset=64),
        Field("pre_shift", 4, "left shift before the multiplication, 0 to 15", offset=69),
        _f(
            "rounds_once",
            1,
            "skip the first rounding: the product is rounded once, by the right shift",
        ),
    ),
    "How one output channel is requantised.",
)

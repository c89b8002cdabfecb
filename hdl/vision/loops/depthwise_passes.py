"""The loops of a depthwise layer: one column of input pixels a cycle."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import INSTRUCTION
from hdl.parts.layout import record_layout
from hdl.vision.loops.passes import TileOrigins, pass_layout

__all__ = ["DepthwisePasses"]


class DepthwisePasses(wiring.Component):
    """Runs the loops tile, output row, group of pixels, input column.

    A row of output pixels is a run over the columns of its three input rows, without a break
    between groups.  The first column comes as many cycles after ``start`` as a tile has rows of
    weights, which is 1 where the array has at least nine output channels.

    Parameters
    ----------
    config : VisionConfig
        Shape and depths.

    Members
    -------
    instruction : In
        The layer, constant from ``start`` to ``done``.
    weight_base : In
        First weight row of the running program.
    start : In(1)
        Begins the layer.
    issue : Out(pass_layout)
        The column of this cycle: ``first`` of its row, ``last`` of its group.  ``weight_row``
        counts with ``load``.
    strobe : Out(pixels)
        The column completes this pixel of the group.
    load : Out(weight_rows)
        ``weight_row`` is this row of the tile's weights.
    restart, step : Out(1)
        For the walker of the input side: first row of a tile; next row.
    done : Out(1)
        In the layer's last cycle.
    """

    def __init__(self, config: VisionConfig):
        self.config = config
        self.weight_rows = config.depthwise_weight_rows
        super().__init__(
            {
                "instruction": In(record_layout(INSTRUCTION)),
                "weight_base": In(ceil_log2(config.weight_rows)),
                "start": In(1),
                "issue": Out(pass_layout(config)),
                "strobe": Out(config.pixels),
                "load": Out(self.weight_rows),
                "restart": Out(1),
                "step": Out(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        layer = self.instruction
        running = Signal()

        # Every loop counts down, so that its end is a comparison with zero. Columns are read while
        # the tile's last row of weights or none is.
        rows_left = Signal(max(1, (self.weight_rows - 1).bit_length()), reset_less=True)
        # A group's columns are as many as its pixels are apart, few beside a row's first or last.
        columns_left = Signal(max(len(layer.first_cycles), len(layer.last_cycles)), reset_less=True)
        row_groups_left = Signal.like(layer.row_groups, reset_less=True)
        groups_left = Signal.like(layer.groups, reset_less=True)
        tiles_left = Signal.like(layer.tiles, reset_less=True)
        next_is_last = Signal(reset_less=True)  # of a row's groups; each lasts two cycles or more
        m.d.sync += next_is_last.eq(row_groups_left == 1)
        reading = Signal()
        group_end = Signal()
        row_end = Signal()
        tile_end = Signal()
        begin_row = Signal()
        begin_tile = Signal()
        m.d.comb += [
            reading.eq(running & (rows_left == 0)),
            group_end.eq(reading & (columns_left == 0)),
            row_end.eq(group_end & (row_groups_left == 0)),
            tile_end.eq(group_end & (groups_left == 0)),
            self.done.eq(tile_end & (tiles_left == 0)),
            begin_tile.eq(self.start | (tile_end & ~self.done)),
            begin_row.eq(self.start | (row_end & ~self.done)),
            self.restart.eq(begin_tile),
            self.step.eq(row_end & ~tile_end),
        ]
        with m.If(self.start):
            m.d.sync += [running.eq(1), tiles_left.eq(layer.tiles - 1)]
        with m.Elif(self.done):
            m.d.sync += running.eq(0)
        with m.Elif(tile_end):
            m.d.sync += tiles_left.eq(tiles_left - 1)
        with m.If(begin_tile):
            m.d.sync += groups_left.eq(layer.groups - 1)
        with m.Elif(group_end):
            m.d.sync += groups_left.eq(groups_left - 1)
        with m.If(begin_row):
            m.d.sync += [
                row_groups_left.eq(layer.row_groups - 1),
                columns_left.eq(layer.first_cycles - 1),
            ]
        with m.Elif(group_end):
            m.d.sync += [
                row_groups_left.eq(row_groups_left - 1),
                columns_left.eq(Mux(next_is_last, layer.last_cycles, layer.group_cycles) - 1),
            ]
        with m.Elif(reading):
            m.d.sync += columns_left.eq(columns_left - 1)

        # The tile's weights: all rows but the last come before its first column.
        loading = Signal()
        weight_row = Signal.like(self.issue.weight_row, reset_less=True)
        m.submodules.origins = origins = TileOrigins(config)
        m.d.comb += [
            origins.instruction.eq(layer),
            origins.weight_base.eq(self.weight_base),
            origins.start.eq(self.start),
            origins.advance.eq(tile_end),
        ]
        with m.If(begin_tile):
            m.d.sync += [
                loading.eq(1),
                rows_left.eq(self.weight_rows - 1),
                weight_row.eq(origins.weight_row),
            ]
        with m.Elif(rows_left != 0):
            m.d.sync += [rows_left.eq(rows_left - 1), weight_row.eq(weight_row + 1)]
        with m.Else():
            m.d.sync += loading.eq(0)
        for row in range(self.weight_rows):
            m.d.comb += self.load[row].eq(loading & (rows_left == self.weight_rows - 1 - row))

        # The columns of a row, and the pixels that they complete.
        first = Signal(reset_less=True)
        x = Signal.like(self.issue.tap_x, reset_less=True)
        q = Signal.like(self.issue.q, reset_less=True)
        r = Signal.like(self.issue.r, reset_less=True)
        fill_left = Signal(max(len(layer.first_fill), len(layer.stride_x)), reset_less=True)
        completes = Signal()
        pixel = Signal(config.pixels, reset_less=True)
        last_bank = Signal()
        m.d.comb += [
            completes.eq(reading & (fill_left == 0)),
            last_bank.eq(r == config.pixels - 1),
        ]
        with m.If(begin_row):
            m.d.sync += [
                first.eq(1),
                x.eq(0),
                q.eq(origins.map_word),
                r.eq(0),
                fill_left.eq(layer.first_fill - 1),
            ]
        with m.Elif(reading):
            m.d.sync += [
                first.eq(0),
                x.eq(x + 1),
                q.eq(q + last_bank),
                r.eq(Mux(last_bank, 0, r + 1)),
                fill_left.eq(Mux(fill_left == 0, layer.stride_x, fill_left) - 1),
            ]
        # Columns that only fill a group's time complete pixels that nobody writes, or none.
        with m.If(begin_row | group_end):
            m.d.sync += pixel.eq(1)
        with m.Elif(completes):
            m.d.sync += pixel.eq(pixel << 1)

        m.d.comb += [
            self.strobe.eq(Mux(completes, pixel, 0)),
            self.issue.valid.eq(reading),
            self.issue.first.eq(first),
            self.issue.last.eq(group_end),
            self.issue.q.eq(q),
            self.issue.r.eq(r),
            self.issue.tap_y.eq(0),
            self.issue.tap_x.eq(x),
            self.issue.weight_row.eq(weight_row),
        ]
        return m

"""The loops of a layer: one pass of the array a cycle."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import INSTRUCTION
from hdl.parts.layout import field_shape, record_layout
from hdl.vision.linear import address_bits, bank_bits, split

__all__ = ["PassGenerator", "TileOrigins", "pass_layout"]


def pass_layout(config: VisionConfig) -> data.StructLayout:
    """One pass: which tap of which input block, with which weights.

    ``valid``
        A pass is issued in this cycle.
    ``first``, ``last``
        Of its group of pixels: sums start anew; sums are complete.
    ``q``, ``r``
        Linear distance from a lane's first tap in plane 0 to this pass's word, with the map's base.
    ``tap_y``, ``tap_x``
        Row and column of the tap, from the lane's first one.
    ``weight_row``
        Row of weight memory.
    """
    return data.StructLayout(
        {
            "valid": 1,
            "first": 1,
            "last": 1,
            "q": address_bits(config),
            "r": bank_bits(config),
            "tap_y": field_shape(INSTRUCTION, "kernel_height"),
            # A column beyond the map's last one, too: a depthwise run goes on to its group's end.
            "tap_x": field_shape(INSTRUCTION, "in_width").width + 1,
            "weight_row": ceil_log2(config.weight_rows),
        }
    )


class TileOrigins(wiring.Component):
    """Where a tile begins in weight memory and in the input map.

    At least two cycles lie between one tile's beginning and the next one's.

    Members
    -------
    instruction : In
        The layer, constant from ``start`` on.
    weight_base : In
        First weight row of the running program.
    start : In(1)
        The first tile begins with the next cycle.
    advance : In(1)
        The next tile does.
    weight_row, map_word : Out
        Of the tile that runs in the next cycle.
    """

    def __init__(self, config: VisionConfig):
        self.config = config
        super().__init__(
            {
                "instruction": In(record_layout(INSTRUCTION)),
                "weight_base": In(ceil_log2(config.weight_rows)),
                "start": In(1),
                "advance": In(1),
                "weight_row": Out(ceil_log2(config.weight_rows)),
                "map_word": Out(address_bits(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layer = self.instruction
        for base, step, origin, name in (
            (layer.weight_base + self.weight_base, layer.weight_step, self.weight_row, "row"),
            (layer.in_base, layer.in_tile_step, self.map_word, "word"),
        ):
            current = Signal.like(origin, name=name, reset_less=True)
            following = Signal.like(origin, name=f"next_{name}", reset_less=True)
            m.d.comb += origin.eq(Mux(self.start, base, Mux(self.advance, following, current)))
            m.d.sync += [current.eq(origin), following.eq(current + step)]
        return m


class PassGenerator(wiring.Component):
    """Runs a layer's loops: tile, group of pixels, kernel row, kernel column, input block.

    A group takes ``group_cycles`` cycles, its passes first; the rest waits for requantisation.
    The first pass comes in the cycle after ``start``.

    Members
    -------
    instruction : In
        The layer, constant from ``start`` to ``done``.
    weight_base : In
        First weight row of the running program.
    start : In(1)
        Begins the layer.
    issue : Out(pass_layout)
        The pass of this cycle.
    waiting : Out(1)
        Inside a group whose passes are over: the array waits for requantisation.
    restart, step : Out(1)
        For the walker of the input side: first group of a tile; next group.
    done : Out(1)
        In the layer's last cycle.
    """

    def __init__(self, config: VisionConfig):
        self.config = config
        super().__init__(
            {
                "instruction": In(record_layout(INSTRUCTION)),
                "weight_base": In(ceil_log2(config.weight_rows)),
                "start": In(1),
                "issue": Out(pass_layout(config)),
                "waiting": Out(1),
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
        passing = Signal()

        # Every loop counts down, so that its end is a comparison with zero.
        cycles_left = Signal.like(layer.group_cycles, reset_less=True)
        passes_left = Signal.like(layer.passes, reset_less=True)
        groups_left = Signal.like(layer.groups, reset_less=True)
        tiles_left = Signal.like(layer.tiles, reset_less=True)
        group_end = Signal()
        tile_end = Signal()
        begin_group = Signal()
        begin_tile = Signal()
        m.d.comb += [
            group_end.eq(running & (cycles_left == 0)),
            tile_end.eq(group_end & (groups_left == 0)),
            self.done.eq(tile_end & (tiles_left == 0)),
            begin_group.eq(self.start | (group_end & ~self.done)),
            begin_tile.eq(self.start | (tile_end & ~self.done)),
            self.restart.eq(begin_tile),
            self.step.eq(group_end & ~tile_end),
            self.waiting.eq(running & ~passing),
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
        with m.If(begin_group):
            m.d.sync += cycles_left.eq(layer.group_cycles - 1)
        with m.Else():
            m.d.sync += cycles_left.eq(cycles_left - 1)

        m.submodules.origins = origins = TileOrigins(config)
        m.d.comb += [
            origins.instruction.eq(layer),
            origins.weight_base.eq(self.weight_base),
            origins.start.eq(self.start),
            origins.advance.eq(tile_end),
        ]

        # The taps of a group.
        first = Signal(reset_less=True)
        tap_y = Signal.like(self.issue.tap_y, reset_less=True)
        tap_x = Signal.like(self.issue.tap_x, reset_less=True)
        columns_left = Signal.like(layer.kernel_width, reset_less=True)
        blocks_left = Signal.like(layer.in_blocks, reset_less=True)
        weight_row = Signal.like(self.issue.weight_row, reset_less=True)
        q = Signal.like(self.issue.q, reset_less=True)
        r = Signal(bank_bits(config), reset_less=True)
        tap_q = Signal.like(q, reset_less=True)
        last_block = Signal()
        last_column = Signal()
        m.d.comb += [last_block.eq(blocks_left == 0), last_column.eq(columns_left == 0)]

        tap_step_q = Signal(len(layer.tap_y_q))
        tap_step_r = Signal(bank_bits(config))
        m.d.comb += [
            tap_step_q.eq(Mux(last_column, layer.tap_y_q, layer.tap_x_q)),
            tap_step_r.eq(Mux(last_column, layer.tap_y_r, layer.tap_x_r)),
        ]
        carry, next_r = split(m, config, "tap", r + tap_step_r, 2 * config.pixels)
        next_q = Signal.like(q)
        m.d.comb += next_q.eq(
            Mux(last_block, tap_q, q)
            + Mux(last_block, tap_step_q, layer.in_plane)
            + (last_block & carry)
        )

        with m.If(begin_group):
            m.d.sync += [
                passing.eq(1),
                first.eq(1),
                passes_left.eq(layer.passes - 1),
                tap_y.eq(0),
                tap_x.eq(0),
                columns_left.eq(layer.kernel_width - 1),
                blocks_left.eq(layer.in_blocks - 1),
                q.eq(origins.map_word),
                tap_q.eq(origins.map_word),
                r.eq(0),
                weight_row.eq(origins.weight_row),
            ]
        with m.Elif(passing):
            m.d.sync += [
                first.eq(0),
                passing.eq(passes_left != 0),
                passes_left.eq(passes_left - 1),
                weight_row.eq(weight_row + 1),
                q.eq(next_q),
                blocks_left.eq(blocks_left - 1),
            ]
            with m.If(last_block):
                m.d.sync += [
                    blocks_left.eq(layer.in_blocks - 1),
                    tap_q.eq(next_q),
                    r.eq(next_r),
                    tap_x.eq(tap_x + Mux(layer.merge_lanes, config.pixels, 1)),
                    columns_left.eq(columns_left - 1),
                ]
                with m.If(last_column):
                    m.d.sync += [
                        tap_x.eq(0),
                        tap_y.eq(tap_y + 1),
                        columns_left.eq(layer.kernel_width - 1),
                    ]

        m.d.comb += [
            self.issue.valid.eq(passing),
            self.issue.first.eq(first),
            self.issue.last.eq(passes_left == 0),
            self.issue.q.eq(q),
            self.issue.r.eq(r),
            self.issue.tap_y.eq(tap_y),
            self.issue.tap_x.eq(tap_x),
            self.issue.weight_row.eq(weight_row),
        ]
        return m

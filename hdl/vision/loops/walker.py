"""Where each pixel lane stands in a map: the walk over groups of output pixels."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import INSTRUCTION
from hdl.parts.arithmetic import add_with_carry
from hdl.parts.layout import field_shape
from hdl.vision.linear import address_bits, bank_bits, split

__all__ = ["POSITION_BITS", "PixelWalker", "lane_layout", "walk_layout"]

POSITION_BITS = 2 + max(
    INSTRUCTION.by_name[name].width for name in ("in_height", "in_width", "out_height", "out_width")
)
"""Bits of a signed row or column number, which may lie as far outside a map as the map is wide."""


def walk_layout(config: VisionConfig) -> data.StructLayout:
    """What a walk needs to know of its layer; constant while the layer runs.

    Distances are pairs (q, r) as in :mod:`eyas.interfaces.vision.isa`.

    ``start_q``, ``start_r``
        Linear position of lane 0 at the first group.
    ``lane_q``, ``lane_r``
        Distance from a lane to the next.
    ``step_q``, ``step_r``
        Distance a lane moves from a group to the next in its row.
    ``wrap_q``, ``wrap_r``
        Distance it moves where that one is in another row.
    ``group_pixels``, ``wrap_x``
        Change of a lane's output column in its row, and where it wraps.
    ``row_width``
        A lane wraps where its next column would be this or beyond; 0: always.
    ``row_mode``
        All lanes wrap together, when lane 0 does.
    """
    pair = {"q": address_bits(config), "r": bank_bits(config)}
    return data.StructLayout(
        {f"{name}_{part}": width for name in _PAIRS for part, width in pair.items()}
        | {
            "group_pixels": field_shape(INSTRUCTION, "group_pixels"),
            "wrap_x": signed(POSITION_BITS),
            "row_width": field_shape(INSTRUCTION, "row_width"),
            "row_mode": 1,
        }
    )


_PAIRS = ("start", "lane", "step", "wrap")


def lane_layout(config: VisionConfig) -> data.StructLayout:
    """Where one lane stands.

    ``q``, ``r``
        Its linear position, q exact modulo the bank's size.
    ``x``
        Its column in the output map.
    ``wraps``
        Its next step goes to another row; valid from the second cycle after it moved.
    """
    return data.StructLayout(
        {
            "q": address_bits(config),
            "r": bank_bits(config),
            "x": signed(POSITION_BITS),
            "wraps": 1,
        }
    )


class PixelWalker(wiring.Component):
    """Positions of all pixel lanes, group after group, by additions alone.

    ``restart`` puts the lanes on the first group, ``step`` moves them to the next; either takes
    effect in the next cycle, and at least two cycles lie between one and the next of them (the
    comparison that finds the row's end runs in the cycle between).  No multiplication, no
    division: a lane's next position is this one plus one of two constants of the layer.

    Members
    -------
    walk : In(walk_layout)
        Constants of the layer, valid from ``restart`` on.
    restart, step : In(1)
        Not both in one cycle.
    lanes : Out(ArrayLayout(lane_layout, pixels))
        Where the lanes stand. Positions are exact modulo the bank's size.
    """

    def __init__(self, config: VisionConfig):
        self.config = config
        super().__init__(
            {
                "walk": In(walk_layout(config)),
                "restart": In(1),
                "step": In(1),
                "lanes": Out(data.ArrayLayout(lane_layout(config), config.pixels)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        walk = self.walk
        moved = Signal()
        # Columns from which a lane wraps. The layer is there a cycle before the first comparison.
        limit = Signal(signed(POSITION_BITS), reset_less=True)
        always = Signal(reset_less=True)
        m.d.sync += [
            moved.eq(self.restart | self.step),
            limit.eq(walk.row_width - walk.group_pixels),
            always.eq(walk.row_width == 0),
        ]
        at_row_end = [
            Signal(name=f"at_row_end{number}", reset_less=True) for number in range(config.pixels)
        ]
        for number, lane in enumerate(self.lanes):
            # Registers of a datapath: restart defines them.
            q = Signal.like(lane.q, name=f"q{number}", reset_less=True)
            r = Signal.like(lane.r, name=f"r{number}", reset_less=True)
            x = Signal.like(lane.x, name=f"x{number}", reset_less=True)
            wrap = Mux(walk.row_mode, at_row_end[0], at_row_end[number])
            m.d.comb += [lane.q.eq(q), lane.r.eq(r), lane.x.eq(x), lane.wraps.eq(wrap)]

            start_carry, start_r = split(
                m,
                config,
                f"start{number}",
                walk.start_r + number * walk.lane_r,
                config.pixels * (number + 1),
            )
            move_carry, move_r = split(
                m,
                config,
                f"move{number}",
                r + Mux(wrap, walk.wrap_r, walk.step_r),
                2 * config.pixels,
            )
            with m.If(self.restart):
                m.d.sync += [
                    q.eq(walk.start_q + number * walk.lane_q + start_carry),
                    r.eq(start_r),
                    x.eq(number),
                ]
            with m.Elif(self.step):
                distance = Mux(wrap, walk.wrap_q, walk.step_q)
                m.d.sync += [
                    q.eq(add_with_carry(q, distance, move_carry, len(q))),
                    r.eq(move_r),
                    x.eq(x + Mux(wrap, walk.wrap_x, walk.group_pixels)),
                ]
            with m.If(moved):
                m.d.sync += at_row_end[number].eq(always | (x >= limit))
        return m

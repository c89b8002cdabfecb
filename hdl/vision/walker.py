"""Where each pixel lane stands in a map: the walk over groups of output pixels."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.configs import VisionConfig
from hdl.vision.linear import address_bits, bank_bits, split

__all__ = ["POSITION_BITS", "PixelWalker", "lane_layout", "walk_layout"]

#: Bits of a signed row or column number; maps have at most 4095 rows and columns.
POSITION_BITS = 14


def walk_layout(config: VisionConfig) -> data.StructLayout:
    """What a walk needs to know of its layer; constant while the layer runs.

    Distances are pairs (q, r) as in :mod:`eyas.interfaces.vision_isa`.

    ``start_q``, ``start_r``
        Linear position of lane 0 at the first group.
    ``stride``
        Linear distance between the positions of neighbouring lanes.
    ``wrap_q``, ``wrap_r``
        Distance a lane moves from a group to the next when it wraps; else it moves
        ``stride`` words, which is ``stride`` pixels for each lane.
    ``width``, ``wrap_x``
        Columns of the output map, and the change of a lane's output column when it wraps (else the
        number of lanes).
    ``row_mode``
        All lanes wrap together, when lane 0 does.
    """
    address = address_bits(config)
    return data.StructLayout(
        {
            "start_q": address,
            "start_r": bank_bits(config),
            "stride": 4,
            "wrap_q": address,
            "wrap_r": bank_bits(config),
            "width": 12,
            "wrap_x": signed(POSITION_BITS),
            "row_mode": 1,
        }
    )


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
        walk = self.walk
        lane_count = self.config.pixels
        moved = Signal()
        m.d.sync += moved.eq(self.restart | self.step)
        at_row_end = [
            Signal(name=f"at_row_end{number}", reset_less=True) for number in range(lane_count)
        ]
        advances = [Mux(walk.row_mode, at_row_end[0], own) for own in at_row_end]
        for number, lane in enumerate(self.lanes):
            # Registers of a datapath: restart defines them.
            q = Signal.like(lane.q, name=f"q{number}", reset_less=True)
            r = Signal.like(lane.r, name=f"r{number}", reset_less=True)
            x = Signal.like(lane.x, name=f"x{number}", reset_less=True)
            wrap = advances[number]
            m.d.comb += [lane.q.eq(q), lane.r.eq(r), lane.x.eq(x), lane.wraps.eq(wrap)]

            start_q, start_r = split(
                m,
                self.config,
                f"start{number}",
                walk.start_r + number * walk.stride,
                15 * number + lane_count,
            )
            wrap_carry, wrap_r = split(
                m, self.config, f"wrap{number}", r + walk.wrap_r, 2 * lane_count
            )
            with m.If(self.restart):
                m.d.sync += [q.eq(walk.start_q + start_q), r.eq(start_r), x.eq(number)]
            with m.Elif(self.step):
                m.d.sync += [
                    q.eq(q + Mux(wrap, walk.wrap_q, walk.stride) + (wrap & wrap_carry)),
                    x.eq(x + Mux(wrap, walk.wrap_x, lane_count)),
                ]
                with m.If(wrap):
                    m.d.sync += r.eq(wrap_r)
            with m.If(moved):
                m.d.sync += at_row_end[number].eq(x + lane_count >= walk.width)
        return m

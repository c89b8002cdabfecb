# amaranth: UnusedElaboratable=no
"""The loops of a depthwise layer, cycle by cycle; what arrays have the unit."""

from dataclasses import replace

import pytest
from amaranth.sim import Simulator

from eyas.interfaces.vision.config import DEFAULT_VISION, SMALL_VISION
from hdl.vision.datapath.depthwise import DepthwiseUnit
from hdl.vision.loops.depthwise_passes import DepthwisePasses

# Rows of weights: one on the default array, three on the small one, two on that of five banks.
WIDE = replace(SMALL_VISION, output_channels=8, input_channels=2, pixels=5, requantize_channels=1)
TILES, OUT_HEIGHT, WEIGHT_STEP, IN_BASE, IN_PLANE, WEIGHT_BASE = 3, 2, 7, 90, 41, 12


def expected(config, stride, pad_left, out_width, drain):
    """(events by cycle from the one after ``start`` on, instruction fields)."""
    pixels = config.pixels
    rows = config.depthwise_weight_rows
    ends = []  # of each group, in columns
    for start in range(0, out_width, pixels):
        last = min(start + pixels, out_width) - 1
        ends.append(last * stride - pad_left + 3)
    before_last = ends[-2] if len(ends) > 1 else 0
    ends[-1] = max(ends[-1], before_last + drain)
    fields = {
        "tiles": TILES,
        "groups": OUT_HEIGHT * len(ends),
        "row_groups": len(ends),
        "first_fill": 3 - pad_left,
        "first_cycles": ends[0],
        "group_cycles": pixels * stride,
        "last_cycles": ends[-1] - before_last,
        "stride_x": stride,
        "in_base": IN_BASE,
        "in_tile_step": IN_PLANE,
        "weight_base": 5,
        "weight_step": WEIGHT_STEP,
    }
    completed = {x * stride - pad_left + 2: x for x in range(out_width)}
    events = []
    for tile in range(TILES):
        for row in range(rows):
            events.append({"load": row, "weights": WEIGHT_BASE + 5 + tile * WEIGHT_STEP + row})
        for y in range(OUT_HEIGHT):
            for x in range(ends[-1]):
                event = events.pop() if x == 0 and y == 0 else {}
                event |= {
                    "column": (IN_BASE + tile * IN_PLANE) * pixels + x,
                    "x": x,
                    "first": x == 0,
                    "last": x + 1 in ends,
                }
                # Columns behind the last pixel may complete others, which are not written.
                if x <= max(completed):
                    event["strobe"] = 1 << completed[x] % pixels if x in completed else 0
                end_of_row = x == ends[-1] - 1
                event["step"] = end_of_row and y < OUT_HEIGHT - 1
                event["restart"] = end_of_row and y == OUT_HEIGHT - 1 and tile < TILES - 1
                event["done"] = end_of_row and y == OUT_HEIGHT - 1 and tile == TILES - 1
                events.append(event)
    return events, fields


@pytest.mark.parametrize(
    "config", [DEFAULT_VISION, SMALL_VISION, WIDE], ids=["16x8x3", "4x4x3", "8x2x5"]
)
@pytest.mark.parametrize("pad_left", [0, 1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_every_cycle(config, stride, pad_left):
    for out_width in (1, 2, config.pixels, config.pixels + 1, 2 * config.pixels + 1):
        events, fields = expected(config, stride, pad_left, out_width, config.drains_per_word)
        run(config, events, fields, out_width)


def run(config, events, fields, out_width):
    """Compare the generator with ``events``, twice: it comes back to where it began."""
    unit = DepthwisePasses(config)

    async def bench(ctx):
        for name, value in fields.items():
            ctx.set(getattr(unit.instruction, name), value)
        ctx.set(unit.weight_base, WEIGHT_BASE)
        for _ in range(2):
            ctx.set(unit.start, 1)
            assert ctx.get(unit.restart)
            await ctx.tick()
            ctx.set(unit.start, 0)
            for cycle, event in enumerate(events):
                compare(ctx, cycle, event)
                await ctx.tick()
            for _ in range(3):
                for still in (unit.issue.valid, unit.load, unit.strobe, unit.step, unit.done):
                    assert ctx.get(still) == 0
                await ctx.tick()

    def compare(ctx, cycle, event):
        where = f"{out_width} pixels, cycle {cycle}"
        assert ctx.get(unit.issue.valid) == ("column" in event), where
        assert ctx.get(unit.load) == (1 << event["load"] if "load" in event else 0), where
        if "load" in event:
            assert ctx.get(unit.issue.weight_row) == event["weights"], where
        if "column" not in event:
            assert ctx.get(unit.strobe) == 0, where
        else:
            strobe = ctx.get(unit.strobe)
            assert strobe == event.get("strobe", strobe), where
            word = ctx.get(unit.issue.q) * config.pixels + ctx.get(unit.issue.r)
            assert word == event["column"], where
            assert ctx.get(unit.issue.tap_x) == event["x"], where
            assert ctx.get(unit.issue.tap_y) == 0, where
            for name in ("first", "last"):
                assert ctx.get(getattr(unit.issue, name)) == event[name], f"{where}: {name}"
        for name in ("step", "restart", "done"):
            assert ctx.get(getattr(unit, name)) == event.get(name, False), f"{where}: {name}"

    simulator = Simulator(unit)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("pixels", [1, 3, 5, 7])
def test_arrays_of_three_pixels_or_more_have_the_unit(pixels):
    config = replace(SMALL_VISION, pixels=pixels)
    assert config.has_depthwise == (pixels >= 3)
    if pixels < 3:
        with pytest.raises(ValueError, match="reads 3 pixels at once, an array of 1"):
            DepthwiseUnit(config)
    else:
        DepthwiseUnit(config)


def test_constructor_wants_a_configuration():
    with pytest.raises(TypeError, match="config must be a VisionConfig, not 16"):
        DepthwiseUnit(16)

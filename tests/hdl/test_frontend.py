# amaranth: UnusedElaboratable=no
"""Parts of the vision overlay's front end by themselves, in Amaranth's simulator."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from amaranth.sim import Simulator

from eyas.interfaces.vision.config import DEFAULT_VISION, SMALL_VISION
from eyas.interfaces.vision.records import ErrorCode, Place
from hdl.overlays.vision import VisionOverlay, vision_ports, vision_verilog
from hdl.parts.axi import Response
from hdl.parts.counters import Counters
from hdl.vision.frontend import FrontEnd
from hdl.vision.job_layouts import input_map_layout
from hdl.vision.jobs.error_log import ErrorLog
from hdl.vision.jobs.output_store import OutputStore
from hdl.vision.pictures.picture_words import PictureWords

SEED = 20250117
LIMIT = 100_000
"""Steps of the simulator after which a test has failed."""
WIDE = replace(DEFAULT_VISION, input_channels=16)
NARROW = replace(SMALL_VISION, output_channels=2, input_channels=2, requantize_channels=1, pixels=1)


def simulate(design, main, *background):
    """Run ``main`` to its end, the others beside it."""
    ended = False

    async def run(ctx):
        nonlocal ended
        await main(ctx)
        ended = True

    simulator = Simulator(design)
    simulator.add_clock(1e-6)
    simulator.add_testbench(run)
    for testbench in background:
        simulator.add_testbench(testbench, background=True)
    for _ in range(LIMIT):
        if ended:
            return
        simulator.advance()
    raise AssertionError(f"not done after {LIMIT} steps")


class Picture:
    """A picture, its map, and the words that have to come."""

    def __init__(self, config, rng, height, width, channels, gap=0):
        self.config = config
        blocks = -(-channels // config.input_channels)
        self.pixels = rng.integers(0, 256, (height, width, channels), np.uint8)
        pitch = width + gap
        skip_q, skip_r = divmod(gap + 1, config.pixels)
        self.map = {
            "base": 5, "plane": height * pitch + 1, "height": height, "width": width,
            "channels": channels, "skip_q": skip_q, "skip_r": skip_r,
        }  # fmt: skip
        data = self.pixels.tobytes()
        data += rng.integers(0, 256, -len(data) % 8, np.uint8).tobytes()
        self.beats = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]
        padded = np.zeros((height, width, blocks * config.input_channels), np.uint8)
        padded[:, :, :channels] = self.pixels
        self.words = []
        for y, x, block in np.ndindex(height, width, blocks):
            q, bank = divmod(y * pitch + x, config.pixels)
            word = padded[y, x, block * config.input_channels :][: config.input_channels]
            address = self.map["base"] + block * self.map["plane"] + q
            self.words.append((bank, address, int.from_bytes(word.tobytes(), "little")))


def run_picture_words(config, pictures, seed, gaps=0.0, stalls=0.0):
    """Send pictures; return the words that came, and cycles from the first beat to the last."""
    dut = PictureWords(config)
    rng = random.Random(seed)
    found, cycles = [], []
    time = 0

    async def clock(ctx):
        nonlocal time
        while True:
            await ctx.tick()
            time += 1

    async def sink(ctx):
        standing = None
        while True:
            ctx.set(dut.o.ready, rng.random() >= stalls)
            _, _, valid, word, ready = await ctx.tick().sample(
                dut.o.valid, dut.o.payload, dut.o.ready
            )
            item = (word.bank, word.address, word.data) if valid else None
            assert standing is None or item == standing, f"{standing} became {item}"
            standing = None if ready else item
            if valid and ready:
                found.append(item)

    async def source(ctx):
        for picture in pictures:
            ctx.set(dut.start.payload, input_map_layout(config).const(picture.map))
            ctx.set(dut.start.valid, 1)
            await ctx.tick().until(dut.start.ready)
            ctx.set(dut.start.valid, 0)
            begin = time
            for index, beat in enumerate(picture.beats):
                while rng.random() < gaps:
                    await ctx.tick()
                ctx.set(dut.i.payload.data, beat)
                ctx.set(dut.i.payload.last, index == len(picture.beats) - 1)
                ctx.set(dut.i.valid, 1)
                await ctx.tick().until(dut.i.ready)
                ctx.set(dut.i.valid, 0)
            await ctx.tick().until(dut.idle)
            cycles.append(time - begin)
            assert not ctx.get(dut.wrong_size)
        await ctx.tick().repeat(20)

    simulate(dut, source, sink, clock)
    return found, cycles


@pytest.mark.parametrize("gaps", [0.0, 0.5])
@pytest.mark.parametrize("config", [NARROW, SMALL_VISION, DEFAULT_VISION, WIDE])
def test_picture_words_are_numpys(config, gaps):
    print("seed", SEED)
    rng = np.random.default_rng(SEED)
    pictures = [
        Picture(config, rng, height, width, channels, gap)
        for channels in (1, 2, 3, 7, 8, 9, 15, 16, 17, 24, 33)
        for height, width, gap in ((1, 1, 0), (2, 3, 2), (3, 2, 0))
    ]
    found, _ = run_picture_words(config, pictures, SEED, gaps, stalls=gaps)
    assert found == [word for picture in pictures for word in picture.words]


@pytest.mark.parametrize("config", [NARROW, SMALL_VISION, DEFAULT_VISION, WIDE])
@pytest.mark.parametrize("channels", [1, 3, 8, 11, 16, 20])
def test_picture_words_keep_pace(config, channels):
    picture = Picture(config, np.random.default_rng(SEED), 8, 9, channels)
    _, (cycles,) = run_picture_words(config, [picture], SEED)
    pieces = 8 * 9 * -(-channels // min(8, config.input_channels))
    # A word of two pieces takes two cycles only if the pieces do: 1 word or 8 bytes a cycle.
    assert cycles <= max(pieces, len(picture.beats)) + 8


@pytest.mark.parametrize("discard_at", [0, 1, 5, 9])
def test_discarded_picture_is_read_to_its_end(discard_at):
    config = SMALL_VISION
    dut = PictureWords(config)
    rng = np.random.default_rng(SEED)
    pictures = [Picture(config, rng, 4, 5, 4), Picture(config, rng, 2, 2, 3)]
    found = []

    async def sink(ctx):
        ctx.set(dut.o.ready, 1)
        while True:
            _, _, valid, word = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                found.append((word.bank, word.address, word.data))

    async def source(ctx):
        for picture, limit in zip(pictures, (discard_at, None), strict=True):
            ctx.set(dut.start.payload, input_map_layout(config).const(picture.map))
            ctx.set(dut.start.valid, 1)
            await ctx.tick().until(dut.start.ready)
            ctx.set(dut.start.valid, 0)
            for index, beat in enumerate(picture.beats):
                ctx.set(dut.discard, limit is not None and index >= limit)
                ctx.set(dut.i.payload.data, beat)
                ctx.set(dut.i.payload.last, index == len(picture.beats) - 1)
                ctx.set(dut.i.valid, 1)
                await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
            await ctx.tick().repeat(8)
            ctx.set(dut.discard, 0)
            await ctx.tick().until(dut.idle)
            if limit is not None:
                assert len(found) < len(picture.words)
                found.clear()
        await ctx.tick().repeat(10)

    simulate(dut, source, sink)
    assert found == pictures[1].words


@pytest.mark.parametrize(("config", "beats"), [(DEFAULT_VISION, 1), (WIDE, 2)])
@pytest.mark.parametrize("stalls", [0.0, 0.6])
def test_output_store_asks_only_for_words_it_has_room_for(config, beats, stalls):
    dut = OutputStore(config)
    rng = random.Random(SEED)
    values = {}
    for bank in range(config.pixels):
        for address in range(64):
            values[bank, address] = rng.getrandbits(config.word_bits)
    requests, data = [], []
    count, blocks, base, plane = 40, 2, 3, 20

    async def memory(ctx):
        words = [0, 0, 0]
        while True:
            _, _, bank, address = await ctx.tick().sample(dut.store.bank, dut.store.address)
            words = [*words[1:], values.get((bank, address), 0)]
            ctx.set(dut.store.data, words[0])

    async def request_sink(ctx):
        ctx.set(dut.bus.request.ready, 1)
        while True:
            _, _, valid, request = await ctx.tick().sample(
                dut.bus.request.valid, dut.bus.request.payload
            )
            if valid:
                requests.append((request.address, request.beats))

    async def beat_sink(ctx):
        while True:
            ctx.set(dut.bus.beats.ready, rng.random() >= stalls)
            _, _, valid, beat, ready = await ctx.tick().sample(
                dut.bus.beats.valid, dut.bus.beats.payload, dut.bus.beats.ready
            )
            if valid and ready:
                data.append(beat.data)

    async def main(ctx):
        cycles = 0
        job = {"base": base, "plane": plane, "count": count, "blocks": blocks}
        ctx.set(dut.start.payload, {"address": 0x1000, "map": job})
        ctx.set(dut.start.valid, 1)
        await ctx.tick().until(dut.start.ready)
        ctx.set(dut.start.valid, 0)
        while len(data) < count * blocks * beats:
            await ctx.tick()
            cycles += 1
        if not stalls:
            assert cycles <= count * blocks * beats + 12
        assert not ctx.get(dut.done.valid), "done before the memory has answered"
        ctx.set(dut.bus.response.valid, 1)
        for response in (Response.DECERR, Response.SLVERR):
            ctx.set(dut.bus.response.payload.code, response)
            await ctx.tick()
        ctx.set(dut.bus.response.valid, 0)
        ctx.set(dut.done.ready, 1)
        (code,) = await ctx.tick().sample(dut.done.payload).until(dut.done.valid)
        assert code == ErrorCode.BUS_DECODE, "the worst of both answers"
        await ctx.tick().repeat(20)

    simulate(dut, main, memory, request_sink, beat_sink)
    size = count * beats
    assert requests == [(0x1000 + 8 * size * block, size) for block in range(blocks)]
    expected = []
    for block in range(blocks):
        for lin in range(count):
            q, bank = divmod(lin, config.pixels)
            word = values[bank, base + block * plane + q]
            expected += [word >> (64 * half) & (1 << 64) - 1 for half in range(beats)]
    assert data == expected


def test_error_log_settles_ties():
    dut = ErrorLog()
    job = {"code": ErrorCode.BAD_CRC, "place": Place.PROGRAM, "layer": 3, "tag": 77}
    doorbell = {"code": ErrorCode.QUEUE_FULL, "place": Place.DOORBELL, "layer": 0, "tag": 0}

    async def main(ctx):
        # Both at once: the job's first, the doorbell's waits a cycle.
        ctx.set(dut.job, job)
        ctx.set(dut.doorbell.payload, doorbell)
        ctx.set(dut.job_ended, 1)
        ctx.set(dut.doorbell.valid, 1)
        assert ctx.get(dut.logged)
        assert not ctx.get(dut.doorbell.ready)
        await ctx.tick()
        ctx.set(dut.job_ended, 0)
        assert ctx.get(dut.doorbell.ready)
        await ctx.tick()
        ctx.set(dut.doorbell.valid, 0)
        assert not ctx.get(dut.logged)
        error = ctx.get(dut.error)
        assert (error.code, error.place, error.layer, error.count) == (
            ErrorCode.BAD_CRC, Place.PROGRAM, 3, 2,
        )  # fmt: skip
        assert ctx.get(dut.error_tag).tag == 77

        # An error in the cycle of a clear is the first of the new count.
        ctx.set(dut.clear, 1)
        ctx.set(dut.doorbell.valid, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        ctx.set(dut.doorbell.valid, 0)
        await ctx.tick()
        error = ctx.get(dut.error)
        assert (error.code, error.count) == (ErrorCode.QUEUE_FULL, 1)
        assert ctx.get(dut.error_tag).tag == 0

        # A job that ended well is no error; an abort is one, however many jobs it ends.
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        ctx.set(dut.job_ended, 1)
        ctx.set(dut.job, job | {"code": 0})
        await ctx.tick()
        assert ctx.get(dut.error).count == 0
        ctx.set(dut.aborting, 1)
        ctx.set(dut.job, job | {"code": ErrorCode.ABORTED})
        await ctx.tick().repeat(3)
        assert ctx.get(dut.error).count == 1
        ctx.set(dut.job_ended, 0)
        ctx.set(dut.aborting, 0)
        await ctx.tick()
        ctx.set(dut.aborting, 1)
        ctx.set(dut.job_ended, 1)
        await ctx.tick()
        assert ctx.get(dut.error).count == 2, "the next abort is another error"

    simulate(dut, main)


def test_counters_clear_and_count():
    dut = Counters(("beats", "waits"))

    async def main(ctx):
        ctx.set(dut.beats_event, 1)
        await ctx.tick().repeat(5)
        ctx.set(dut.clear, 1)
        ctx.set(dut.waits_event, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        ctx.set(dut.beats_event, 0)
        await ctx.tick()
        assert ctx.get(dut.beats) == 0
        ctx.set(dut.waits_event, 0)
        await ctx.tick().repeat(3)
        assert (ctx.get(dut.beats), ctx.get(dut.waits)) == (0, 1)

    simulate(dut, main)


@pytest.mark.parametrize("component", [FrontEnd, VisionOverlay])
def test_a_configuration_is_needed(component):
    with pytest.raises(TypeError, match="Config must be a VisionConfig, not 16"):
        component(16)


def test_ports_are_those_of_the_verilog():
    described = json.loads(json.dumps(vision_ports(SMALL_VISION)))
    assert described["module"] == "vision"
    assert described["parameters"] == SMALL_VISION.as_dict()
    found = {port["name"]: (port["direction"], port["width"]) for port in described["ports"]}
    assert found["aclk"] == found["aresetn"] == ("input", 1)
    assert found["interrupt"] == ("output", 1)
    assert found["s_axi_awaddr"] == ("input", 12)
    assert found["m_axi_rdata"] == ("input", 64)
    assert found["m_axi_araddr"] == ("output", 32)

    text = vision_verilog(SMALL_VISION)
    _, _, top = text.rpartition("\nmodule vision(")
    top = top[: top.index("endmodule")]
    names = top[: top.index(")")].replace("\n", " ").split(", ")
    assert {name.strip() for name in names} == set(found)
    for name, (direction, width) in found.items():
        vector = f"[{width - 1}:0] " if width > 1 else ""
        assert f"\n  {direction} {vector}{name};" in top, f"{name} is not in the Verilog"

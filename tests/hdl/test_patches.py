# amaranth: UnusedElaboratable=no
"""Patches of pictures: the input loader's stage by itself, against NumPy."""

import random
from dataclasses import dataclass, field

import numpy as np
import pytest
from amaranth.sim import Simulator

from bitstreams.synthesis import synthesize
from hdl.vision.job_layouts import patch_layout
from hdl.vision.pictures.patches import Patches

SEED = 20250611
LINE_BYTES = 256
"""A small ring, so that it wraps often."""
MARGIN = 64
LIMIT = 60_000
"""Cycles after which a test has failed."""


@dataclass
class Geometry:
    """One picture with its kernel, its patches and the beats that have to come."""

    height: int
    width: int
    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    zero_point: int = -7
    seed: int = SEED
    falsified: dict = field(default_factory=dict)
    """Start fields that lie."""

    def __post_init__(self):
        (kh, kw), (sy, sx), (top, bottom, left, right) = self.kernel, self.stride, self.padding
        rng = np.random.default_rng(self.seed)
        self.picture = rng.integers(0, 256, (self.height, self.width, self.channels), np.uint8)
        filling = self.zero_point & 0xFF
        padded = np.pad(
            self.picture, ((top, bottom), (left, right), (0, 0)), constant_values=filling
        )
        self.out_height = (padded.shape[0] - kh) // sy + 1
        self.out_width = (padded.shape[1] - kw) // sx + 1
        size = kh * kw * self.channels
        patches = np.full((self.out_height, self.out_width, -(-size // 8) * 8), filling, np.uint8)
        for y, x in np.ndindex(self.out_height, self.out_width):
            window = padded[y * sy : y * sy + kh, x * sx : x * sx + kw]
            patches[y, x, :size] = window.reshape(-1)
        self.expected = np.frombuffer(patches.tobytes(), "<u8").tolist()
        data = self.picture.tobytes()
        data += rng.integers(0, 256, -len(data) % 8, np.uint8).tobytes()
        self.beats = np.frombuffer(data, "<u8").tolist()

    @property
    def cycles(self):
        """A cycle for each chunk, and one more where a chunk of nine bytes finds a whole beat."""
        kept = cycles = 0
        run = self.kernel[1] * self.channels
        chunks = [min(9, run - at) for at in range(0, run, 9)] * self.kernel[0]
        patches = self.out_height * self.out_width
        for index, length in enumerate(chunks * patches):
            if kept == 8 and length == 9:
                cycles += 1
                kept = 0
            kept += length
            cycles += 1
            if (index + 1) % len(chunks) == 0:
                kept = 8 if kept > 8 else 0
            elif kept > 8:
                kept -= 8
            elif kept == 8:
                kept = 0
        return cycles + (kept == 8)

    @property
    def start(self):
        row = self.width * self.channels
        patches = {
            "kernel_rows": self.kernel[0],
            "run_bytes": self.kernel[1] * self.channels,
            "pixel_step": self.stride[1] * self.channels,
            "row_bytes": row,
            "row_step": self.stride[0] * row,
            "start_byte": -self.padding[2] * self.channels,
            "start": -self.padding[0] * row,
            "zero_point": self.zero_point,
            "picture_bytes": self.height * row,
        }
        sizes = {"height": self.out_height, "width": self.out_width}
        lies = self.falsified
        return {
            "patches": patch_layout.const(
                {name: lies.get(name, value) for name, value in patches.items()}
            ),
            **{name: lies.get(name, value) for name, value in sizes.items()},
        }


@dataclass
class Outcome:
    """What came out for one picture."""

    beats: list[int]
    lasts: list[bool]
    wrong_size: bool
    cycles: int


def run(pictures, seed=SEED, gaps=0.0, stalls=0.0, line_bytes=LINE_BYTES, discards=None):
    """Send pictures one after the other; return what came of each.

    ``discards`` maps a picture's index to the cycle from its start at which it is given up.
    """
    dut = Patches(line_bytes)
    rng = random.Random(seed)
    beats, lasts, outcomes = [], [], []
    sent = 0
    ended = False

    async def sink(ctx):
        standing = None
        while True:
            ctx.set(dut.o.ready, rng.random() >= stalls)
            _, _, valid, payload, ready = await ctx.tick().sample(
                dut.o.valid, dut.o.payload, dut.o.ready
            )
            item = (payload.data, payload.last) if valid else None
            assert standing is None or item == standing, f"{standing} became {item}"
            standing = None if ready else item
            if valid and ready:
                beats.append(item[0])
                lasts.append(bool(item[1]))

    async def source(ctx):
        nonlocal sent
        for picture in pictures:
            await ctx.tick().until(dut.start.valid & dut.start.ready)
            sent = 0
            for index, beat in enumerate(picture.beats):
                while rng.random() < gaps:
                    await ctx.tick()
                ctx.set(dut.i.payload.data, beat)
                ctx.set(dut.i.payload.last, index == len(picture.beats) - 1)
                ctx.set(dut.i.valid, 1)
                await ctx.tick().until(dut.i.ready)
                ctx.set(dut.i.valid, 0)
                sent = index + 1

    async def main(ctx):
        nonlocal ended
        for number, picture in enumerate(pictures):
            assert ctx.get(dut.idle)
            ctx.set(dut.start.payload, picture.start)
            ctx.set(dut.start.valid, 1)
            await ctx.tick()
            ctx.set(dut.start.valid, 0)
            discard_at = (discards or {}).get(number)
            cycles = 0
            while not ctx.get(dut.idle):
                ctx.set(dut.discard, discard_at is not None and cycles >= discard_at)
                await ctx.tick()
                cycles += 1
                assert cycles < LIMIT, f"picture {number} hangs: {picture}"
            ctx.set(dut.discard, 0)
            assert sent == len(picture.beats), "beats are left"
            outcomes.append(
                Outcome(list(beats), list(lasts), bool(ctx.get(dut.wrong_size)), cycles)
            )
            beats.clear()
            lasts.clear()
        await ctx.tick().repeat(20)
        assert not beats, "something came after the end"
        ended = True

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(main)
    simulator.add_testbench(source, background=True)
    simulator.add_testbench(sink, background=True)
    simulator.run()
    assert ended
    return outcomes


def check(picture, outcome):
    assert not outcome.wrong_size
    expected = picture.expected
    wrong = [i for i, beat in enumerate(outcome.beats[: len(expected)]) if beat != expected[i]]
    assert not wrong, f"{len(wrong)} beats differ, first {wrong[0]} of {picture}"
    assert len(outcome.beats) == len(expected)
    assert outcome.lasts == [False] * (len(outcome.beats) - 1) + [True]


def random_geometry(rng, line_bytes=LINE_BYTES):
    while True:
        channels = rng.choice((1, 1, 2, 3, 3, 4, 5, 6, 7))
        kernel = (rng.randint(1, 11), rng.randint(1, 11))
        stride = (rng.randint(1, 4), rng.randint(1, 4))
        height, width = rng.randint(1, 14), rng.randint(1, 24)
        padding = tuple(rng.randint(0, kernel[axis // 2] - 1) for axis in range(4))
        rows = height + padding[0] + padding[1] - kernel[0]
        columns = width + padding[2] + padding[3] - kernel[1]
        if rows < 0 or columns < 0 or kernel[0] * width * channels > line_bytes - MARGIN:
            continue
        # No patch lies wholly behind the picture.
        if rows // stride[0] * stride[0] - padding[0] >= height:
            continue
        if columns // stride[1] * stride[1] - padding[2] >= width:
            continue
        zero_point = rng.randint(-128, 127)
        geometry = Geometry(
            height, width, channels, kernel, stride, padding, zero_point, rng.getrandbits(32)
        )
        if geometry.cycles < 800:
            return geometry


@pytest.mark.parametrize(("gaps", "stalls"), [(0.0, 0.0), (0.6, 0.0), (0.0, 0.6), (0.4, 0.4)])
def test_random_patches_are_numpys(gaps, stalls):
    seed = SEED + int(10 * gaps) + int(100 * stalls)
    print("seed", seed)
    rng = random.Random(seed)
    pictures = [random_geometry(rng) for _ in range(10)]
    for picture, outcome in zip(pictures, run(pictures, seed, gaps, stalls), strict=True):
        check(picture, outcome)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(12))
def test_many_random_patches(seed):
    rng = random.Random(seed)
    pictures = [random_geometry(rng) for _ in range(40)]
    outcomes = run(pictures, seed, rng.random() * 0.8, rng.random() * 0.8)
    for picture, outcome in zip(pictures, outcomes, strict=True):
        check(picture, outcome)


CORNERS = {
    "all padding but a byte": Geometry(1, 1, 1, (11, 11), (4, 3), (10, 10, 10, 10)),
    "rows that are no beat": Geometry(5, 3, 1, (3, 3), padding=(1, 1, 1, 1)),
    "seven channels, several chunks a run": Geometry(4, 4, 7, (3, 4), (2, 1), (1, 0, 3, 2)),
    "rows skipped": Geometry(13, 9, 2, (2, 2), (4, 4)),
    "stride beyond the kernel, ring full": Geometry(60, 20, 1, (1, 1), (4, 1)),
    "kernel rows fill the ring": Geometry(6, 64, 1, (3, 3), (1, 2), (1, 1, 1, 1)),
    "a run of exactly two chunks": Geometry(3, 9, 2, (2, 9), padding=(1, 1, 8, 8)),
    "patches of whole beats": Geometry(6, 6, 2, (2, 2), zero_point=127),
    "one patch": Geometry(11, 11, 1, (11, 11)),
    "the picture's end is nobody's": Geometry(10, 10, 2, (3, 3), (4, 4)),
}


@pytest.mark.parametrize("name", CORNERS)
def test_corners(name):
    picture = CORNERS[name]
    for gaps, stalls in ((0.0, 0.0), (0.5, 0.5)):
        (outcome,) = run([picture], gaps=gaps, stalls=stalls)
        check(picture, outcome)


@pytest.mark.parametrize(
    ("picture", "pace"),
    [
        (Geometry(8, 32, 3, (3, 3), padding=(1, 1, 1, 1)), 4),
        (Geometry(16, 32, 3, (3, 3), (2, 2), (0, 1, 0, 1)), 4),
        (Geometry(9, 28, 1, (3, 3), padding=(1, 1, 1, 1)), 3),
        (Geometry(20, 10, 1, (10, 4), (2, 2), (4, 5, 1, 1)), 10),
    ],
)
def test_pace(picture, pace):
    (outcome,) = run([picture], line_bytes=1024)
    check(picture, outcome)
    assert picture.cycles <= pace * picture.out_height * picture.out_width + 1
    first_rows = picture.kernel[0] * picture.width * picture.channels // 8
    assert outcome.cycles <= first_rows + picture.cycles + 32


PLAIN = Geometry(6, 8, 3, (3, 3), padding=(1, 1, 1, 1))


@pytest.mark.parametrize("gaps", [0.0, 0.5])
@pytest.mark.parametrize(
    "falsified",
    [
        {"picture_bytes": 6 * 8 * 3 - 8},
        {"picture_bytes": 6 * 8 * 3 + 1},
        {"picture_bytes": 0},
        {"height": 0},
        {"width": 0},
        {"height": 0, "width": 0},
        {"height": 4095},
        {"row_bytes": 0},
        {"row_step": (1 << 18) - 1},
        {"row_bytes": 240, "row_step": 240, "picture_bytes": 6 * 240},
    ],
)
def test_wrong_headers_end_and_are_noticed(falsified, gaps):
    wrong = Geometry(6, 8, 3, (3, 3), padding=(1, 1, 1, 1), falsified=falsified)
    first, second = run([wrong, PLAIN], gaps=gaps, stalls=gaps)
    assert first.wrong_size
    assert first.lasts[-1], "what follows waits for a last beat"
    assert sum(first.lasts) == 1
    check(PLAIN, second)


def test_ring_that_is_too_small_does_not_hang():
    large = Geometry(8, 30, 3, (3, 3))
    first, second = run([large, PLAIN])
    assert first.wrong_size
    assert first.lasts[-1]
    assert sum(first.lasts) == 1
    check(PLAIN, second)


@pytest.mark.parametrize(
    "falsified",
    [
        *({"run_bytes": count} for count in (0, 1, 9, 127)),
        *({"kernel_rows": count} for count in (1, 15)),
        {"row_bytes": 1000},
        {"row_bytes": 0xFFFF, "row_step": 0xFFFF},
        {"start_byte": -128, "pixel_step": 0},
        {"start": -(1 << 19), "row_step": 0},
    ],
)
def test_any_header_ends(falsified):
    wrong = Geometry(6, 8, 3, (3, 3), falsified=falsified)
    first, second = run([wrong, PLAIN])
    assert first.lasts[-1]
    assert sum(first.lasts) == 1
    check(PLAIN, second)


@pytest.mark.parametrize("stalls", [0.0, 0.5])
def test_discarded_picture_is_read_to_its_end(stalls):
    at = [0, 1, 2, 3, 20, 21, 22, 60, 200, 201, 202, 203, 204, 1000]
    pictures = [PLAIN] * (2 * len(at))
    outcomes = run(
        pictures, stalls=stalls, discards={2 * index: cycle for index, cycle in enumerate(at)}
    )
    for index, cycle in enumerate(at):
        given_up = outcomes[2 * index]
        assert given_up.lasts[-1]
        assert sum(given_up.lasts) == 1
        assert len(given_up.beats) <= len(PLAIN.expected) + 1
        if cycle < 20:
            assert len(given_up.beats) < len(PLAIN.expected)
        check(PLAIN, outcomes[2 * index + 1])


@pytest.mark.parametrize("size", [128, 300, 0, -256])
def test_size_of_the_ring_is_a_power_of_two(size):
    with pytest.raises(ValueError, match=f"power of two from 256, not {size}"):
        Patches(size)


def test_size_of_the_ring_is_a_number():
    with pytest.raises(TypeError, match="must be an integer"):
        Patches("8192")


@pytest.mark.synth
@pytest.mark.slow
@pytest.mark.nightly
def test_resources():
    report = synthesize(Patches())
    print(report)
    assert (report.dsp, report.bram36) == (0, 2)
    assert report.lut <= 1350
    assert report.ff <= 1150

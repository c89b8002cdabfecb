"""Bench of the depthwise unit: random rows of columns against sums in PyTorch; all products."""

import cocotb
import numpy as np
import torch
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from cocotb_tests.common.coverage import Coverage
from cocotb_tests.common.timing import cycle
from cocotb_tests.vision_datapath.bench import generator, pack, start, unpack
from cocotb_tests.vision_datapath.design import DEPTHWISE, SHAPES
from eyas.interfaces.vision.config import VisionConfig
from hdl.vision.datapath.depthwise import DepthwiseUnit

BINS = (
    "pixel of a row's first column",
    "pixel of a row's second column",
    "pixel of a whole window",
    "row of one column",
    "row behind row",
    "tile behind tile",
    "every operand -128",
    "weights -128, values 127",
    "zero point -128",
    "zero point 127",
    "sum negative",
    "sum beyond 16 bits",
    "each pixel of a group",
)
GAPS = ("gap inside a row", "gap between rows")
EXTREMES = {0: -128, 1: 127, 50: -128, 51: 127}
"""Tiles of weights −128 alone, and the value of all their pixels."""


class Driver:
    """Drives columns and weights, and keeps the sums that have to come of them."""

    def __init__(self, unit, config: VisionConfig, rng: np.random.Generator):
        self.unit = unit
        self.config = config
        self.rng = rng
        self.zero_point = 0
        self.weights = np.zeros((9, config.input_channels), np.int64)
        self.window = torch.zeros((3, 3, config.input_channels), dtype=torch.int64)
        self.sums = np.zeros((config.pixels, config.input_channels), np.int64)
        self._due: dict[int, np.ndarray] = {}
        self._known = np.zeros(config.pixels, bool)
        self.compared = 0
        self._task = cocotb.start_soon(self._compare())

    async def load(self, weights: np.ndarray) -> None:
        """All rows of a tile's weights but the last, which comes with the next column."""
        self.weights = weights
        for row in range(self.rows - 1):
            self._present(row)
            self.unit.valid.value = 0
            await FallingEdge(self.unit.clk)
        self._present(self.rows - 1)

    @property
    def rows(self) -> int:
        return self.config.depthwise_weight_rows

    def _present(self, row: int) -> None:
        """This row of the weights, noise in the words that are none."""
        words = self.operands((self.config.output_channels, self.config.input_channels))
        taps = self.weights[row * self.config.output_channels :][: self.config.output_channels]
        words[: len(taps)] = taps
        self.unit.load.value = 1 << row
        self.unit.weights.value = pack(words, "i1")

    async def column(self, values: np.ndarray, *, first: bool, pixel: int | None) -> None:
        """One column, which completes ``pixel``."""
        self.unit.valid.value = 1
        self.unit.first.value = first
        self.unit.strobe.value = 0 if pixel is None else 1 << pixel
        self.unit.column.value = pack(values, "i1")
        older = torch.full_like(self.window[:, 1:], self.zero_point) if first else self.window
        self.window = torch.cat((older[:, -2:], torch.from_numpy(values)[:, None]), dim=1)
        if pixel is not None:
            taps = torch.from_numpy(self.weights).reshape(self.window.shape)
            self.sums = self.sums.copy()
            self.sums[pixel] = (taps * self.window).sum((0, 1)).numpy()
            self._known[pixel] = True
            self._due[cycle() + DepthwiseUnit.latency] = np.where(
                self._known[:, None], self.sums, np.iinfo(np.int64).max
            )
        await FallingEdge(self.unit.clk)
        self._noise()

    def _noise(self) -> None:
        """Without a column nothing else on the ports means anything."""
        shape = (self.config.output_channels, self.config.input_channels)
        self.unit.valid.value = 0
        self.unit.load.value = 0
        self.unit.first.value = int(self.rng.integers(2))
        self.unit.strobe.value = int(self.rng.integers(1 << self.config.pixels))
        self.unit.column.value = pack(self.operands((3, self.config.input_channels)), "i1")
        self.unit.weights.value = pack(self.operands(shape), "i1")

    def operands(self, shape: tuple[int, ...]) -> np.ndarray:
        """int8 values: any, or only from the ends, or all the same."""
        kind = self.rng.integers(4)
        if kind == 0:
            return self.rng.choice([-128, -127, -1, 0, 1, 127], shape)
        if kind == 1:
            return np.full(shape, self.rng.choice([-128, 127]))
        return self.rng.integers(-128, 128, shape)

    async def _compare(self) -> None:
        """All sums in every cycle: they stand until others replace them."""
        standing = None
        while True:
            await FallingEdge(self.unit.clk)
            now = cycle()
            if now in self._due:
                standing = self._due.pop(now)
                self.compared += 1
            if standing is not None:
                actual = unpack(self.unit.sums, "<i4", self.sums.shape)
                known = standing != np.iinfo(np.int64).max
                assert (actual == standing)[known].all(), (
                    f"cycle {now}: {actual.tolist()}, not {standing.tolist()}"
                )

    async def finish(self) -> None:
        """See everything that is due come out, and nothing change behind it."""
        self._noise()
        await ClockCycles(self.unit.clk, 3 * DepthwiseUnit.latency, FallingEdge)
        assert not self._due, f"{len(self._due)} sums are missing"
        assert self.compared, "nothing was compared"
        self._task.cancel()


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(shape=list(DEPTHWISE), gaps=[0.0, 0.3])
async def random_tiles(dut, shape, gaps):
    rng = generator()
    coverage = Coverage(BINS + GAPS if gaps else BINS)
    config = SHAPES[shape]
    driver = Driver(await start(dut, f"depthwise_{shape}"), config, rng)
    driver.unit.load.value = 0
    pixels_seen = set()
    for tile in range(100):
        # A layer's zero point is constant; here a tile is a layer.
        extreme = EXTREMES.get(tile)
        zero_point = rng.choice([-128, 127, 0, rng.integers(-128, 128)])
        driver.zero_point = int(zero_point) if extreme is None else extreme
        driver.unit.zero_point.value = driver.zero_point
        weights = driver.operands((9, config.input_channels))
        await driver.load(weights if extreme is None else np.full_like(weights, -128))
        coverage.hit("tile behind tile", tile)
        coverage.hit("zero point -128", driver.zero_point == -128)
        coverage.hit("zero point 127", driver.zero_point == 127)
        for row in range(rng.integers(1, 4)):
            width = int(rng.choice([1, 2, 3, 4, 11]))
            pixel = 0
            for x in range(width):
                # The first column brings a tile's last row of weights: no gap before it.
                while (row or x) and rng.random() < gaps:
                    coverage.hit("gap inside a row", x > 0)
                    coverage.hit("gap between rows", x == 0)
                    await FallingEdge(dut.clk)
                    driver._noise()
                values = driver.operands((3, config.input_channels))
                if extreme is not None:
                    values = np.full_like(values, extreme)
                completes = pixel if extreme is not None or rng.random() < 0.7 else None
                await driver.column(values, first=x == 0, pixel=completes)
                if completes is not None:
                    pixels_seen.add(pixel)
                    pixel = (pixel + 1) % config.pixels
                    coverage.hit("pixel of a row's first column", x == 0)
                    coverage.hit("pixel of a row's second column", x == 1)
                    coverage.hit("pixel of a whole window", x >= 2)
                    coverage.hit("sum negative", (driver.sums < 0).any())
                    coverage.hit("sum beyond 16 bits", (abs(driver.sums) >= 1 << 16).any())
                    least = driver.weights.max() == -128
                    coverage.hit("every operand -128", least and (driver.window == -128).all())
                    coverage.hit("weights -128, values 127", least and (driver.window == 127).all())
            coverage.hit("row of one column", width == 1)
            coverage.hit("row behind row", row)
    coverage.hit("each pixel of a group", pixels_seen == set(range(config.pixels)))
    await driver.finish()
    coverage.check()


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def every_product(dut):
    """Each value with each weight, in an order in which both change from one to the next."""
    unit = await start(dut, "booth")
    unit.valid.value = 1
    await ClockCycles(dut.clk, 1 << 16, RisingEdge)
    await FallingEdge(dut.clk)
    unit.valid.value = 0
    await ClockCycles(dut.clk, 20, FallingEdge)
    assert int(unit.checked.value) == 1 << 16
    assert int(unit.wrong.value) == 0

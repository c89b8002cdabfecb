"""Bench of the MAC array: random passes of random groups against a matrix product in PyTorch."""

import cocotb
import numpy as np
import torch
from cocotb.triggers import ClockCycles, FallingEdge

from cocotb_tests.common.coverage import Coverage
from cocotb_tests.vision_datapath.bench import Monitor, generator, pack, start, unpack
from cocotb_tests.vision_datapath.design import SHAPES
from hdl.vision.datapath.mac_array import MacArray
from models.vision.arithmetic import wrap_int32

BINS = (
    "group of one pass",
    "group of 32 passes or more",
    "groups back to back",
    "new sums before the old were completed",
    "every operand -128",
    "sum negative",
    "sum beyond 16 bits",
)
GAPS = ("gap inside a group", "gap between groups")


def operands(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """int8 values: any, or only from the ends, or all the same."""
    kind = rng.integers(4)
    if kind == 0:
        return rng.choice([-128, -127, -1, 0, 1, 127], shape)
    if kind == 1:
        return np.full(shape, rng.choice([-128, 127]))
    return rng.integers(-128, 128, shape)


class Array:
    """Drives passes and keeps the sums they should give."""

    def __init__(self, unit, config):
        self.unit = unit
        self.config = config
        shape = (self.config.pixels, self.config.output_channels)
        self.sums = torch.zeros(shape, dtype=torch.int64)
        self.monitor = Monitor(
            unit,
            MacArray.latency_for(config),
            lambda: unpack(unit.sums, "<i4", shape),
            holds=True,
        )

    async def give(self, pixels, weights, *, first: bool, last: bool) -> None:
        """One pass."""
        self.unit.valid.value = 1
        self.unit.first.value = first
        self.unit.last.value = last
        self.unit.pixels.value = pack(pixels, "i1")
        self.unit.weights.value = pack(weights, "i1")
        products = torch.from_numpy(pixels) @ torch.from_numpy(weights).T
        self.sums = wrap_int32(products if first else self.sums + products)
        self.monitor.expect(self.sums.numpy(), strobe=last)
        await FallingEdge(self.unit.clk)

    async def idle(self, rng: np.random.Generator, probability: float) -> int:
        """A gap of as many cycles as chance has it, whose inputs mean nothing; its length."""
        cycles = 0
        while rng.random() < probability:
            self.unit.valid.value = 0
            self.unit.first.value = int(rng.integers(2))
            self.unit.last.value = int(rng.integers(2))
            self.unit.pixels.value = pack(operands(rng, self.pixel_shape), "i1")
            await FallingEdge(self.unit.clk)
            cycles += 1
        return cycles

    @property
    def pixel_shape(self) -> tuple[int, int]:
        return self.config.pixels, self.config.input_channels

    @property
    def weight_shape(self) -> tuple[int, int]:
        return self.config.output_channels, self.config.input_channels


@cocotb.test(timeout_time=1000, timeout_unit="us")
@cocotb.parametrize(shape=list(SHAPES), gaps=[0.0, 0.3, 0.8])
async def random_groups(dut, shape, gaps):
    rng = generator()
    coverage = Coverage(BINS + GAPS if gaps else BINS)
    array = Array(await start(dut, f"array_{shape}"), SHAPES[shape])
    for group in range(150):
        passes = int(rng.choice([1, 2, 3, 9, 36], p=[0.3, 0.2, 0.2, 0.25, 0.05]))
        if group == 0:
            passes = 32
        complete = rng.random() < 0.9
        for index in range(passes):
            gap = await array.idle(rng, gaps)
            if gap:
                coverage.hit("gap inside a group", index)
                coverage.hit("gap between groups", group and not index)
            else:
                coverage.hit("groups back to back", group and not index)
            pixels = operands(rng, array.pixel_shape)
            weights = operands(rng, array.weight_shape)
            last = complete and index == passes - 1
            await array.give(pixels, weights, first=index == 0, last=last)
            coverage.hit("every operand -128", pixels.max() == weights.max() == -128)
        coverage.hit("group of one pass", complete and passes == 1)
        coverage.hit("group of 32 passes or more", complete and passes >= 32)
        coverage.hit("new sums before the old were completed", not complete)
        coverage.hit("sum negative", (array.sums < 0).any())
        coverage.hit("sum beyond 16 bits", (array.sums.abs() >= 1 << 16).any())
    await array.monitor.finish()
    coverage.check()


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def sums_wrap_at_32_bits(dut):
    # As many passes as it takes, all products 2^14.
    unit = await start(dut, "array_small")
    config = SHAPES["small"]
    passes = (1 << 31) // (config.input_channels << 14) + 2
    unit.pixels.value = pack(np.full((config.pixels, config.input_channels), -128), "i1")
    unit.weights.value = pack(np.full((config.output_channels, config.input_channels), -128), "i1")
    unit.valid.value = 1
    unit.first.value = 1
    unit.last.value = 0
    await FallingEdge(unit.clk)
    unit.first.value = 0
    await ClockCycles(unit.clk, passes - 2, FallingEdge)
    unit.last.value = 1
    await FallingEdge(unit.clk)
    unit.valid.value = 0
    await ClockCycles(unit.clk, MacArray.latency_for(config) - 1, FallingEdge)
    assert int(unit.strobe.value) == 1
    expected = -(1 << 31) + 2 * (config.input_channels << 14)
    sums = unpack(unit.sums, "<i4", (config.pixels, config.output_channels))
    assert (sums == expected).all(), f"{sums.tolist()}, not all {expected}"

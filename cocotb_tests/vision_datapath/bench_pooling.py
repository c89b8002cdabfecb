# amaranth: UnusedElaboratable=no
"""Bench of the pooling unit: random windows against PyTorch's sum and maximum."""

import cocotb
import numpy as np
import torch
from cocotb.triggers import ClockCycles, FallingEdge

from cocotb_tests.common.coverage import Coverage
from cocotb_tests.vision_datapath.bench import Monitor, generator, pack, start, unpack
from cocotb_tests.vision_datapath.design import POOLING, SHAPES
from hdl.vision.datapath.pooling import PoolingUnit

BINS = (
    "sum of one tap",
    "maximum of one tap",
    "maximum in the first tap",
    "maximum in a later tap",
    "maximum -128",
    "maximum after a sum",
    "sum after a maximum",
    "sum beyond 8 bits",
    "windows back to back",
)
GAPS = ("gap inside a window", "gap between windows")


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(shape=list(POOLING), gaps=[0.0, 0.3, 0.8])
async def random_windows(dut, shape, gaps):
    rng = generator()
    coverage = Coverage(BINS + GAPS if gaps else BINS)
    config = SHAPES[shape]
    size = (config.pixels, config.input_channels)
    unit = await start(dut, f"pooling_{shape}")
    monitor = Monitor(
        unit, PoolingUnit(config).latency, lambda: unpack(unit.sums, "<i4", size), holds=True
    )
    before = False
    for window in range(150):
        maximum = bool(rng.integers(2))
        taps = rng.integers(-128, 128, (rng.choice([1, 2, 4, 9]), *size))
        if rng.random() < 0.2:
            taps = np.where(rng.random(taps.shape) < 0.9, -128, taps)
        values = torch.from_numpy(taps)
        running = values.cummax(0).values if maximum else values.cumsum(0)
        for index, tap in enumerate(taps):
            gap = False
            while rng.random() < gaps:
                gap = True
                unit.valid.value = 0
                unit.first.value = int(rng.integers(2))
                unit.last.value = int(rng.integers(2))
                unit.maximum.value = int(rng.integers(2))
                unit.pixels.value = pack(rng.integers(-128, 128, size), "i1")
                await FallingEdge(dut.clk)
            last = index == len(taps) - 1
            unit.valid.value = 1
            unit.maximum.value = maximum
            unit.first.value = index == 0
            unit.last.value = last
            unit.pixels.value = pack(tap, "i1")
            monitor.expect(running[index].numpy(), strobe=last)
            await FallingEdge(dut.clk)
            if gap:
                coverage.hit("gap inside a window", index)
                coverage.hit("gap between windows", window and not index)
            else:
                coverage.hit("windows back to back", window and not index)
        result = running[-1]
        coverage.hit("sum of one tap", not maximum and len(taps) == 1)
        coverage.hit("maximum of one tap", maximum and len(taps) == 1)
        coverage.hit("maximum in the first tap", maximum and (result == running[0]).any())
        coverage.hit("maximum in a later tap", maximum and (result > running[0]).any())
        coverage.hit("maximum -128", maximum and (result == -128).any())
        coverage.hit("maximum after a sum", window and maximum and not before)
        coverage.hit("sum after a maximum", before and not maximum)
        coverage.hit("sum beyond 8 bits", not maximum and (result.abs() > 128).any())
        before = maximum
    await monitor.finish()
    coverage.check()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(value=[-128, 127])
async def largest_window(dut, value):
    config = SHAPES["small"]
    size = (config.pixels, config.input_channels)
    unit = await start(dut, "pooling_small")
    unit.pixels.value = pack(np.full(size, value), "i1")
    unit.maximum.value = 0
    unit.valid.value = 1
    unit.first.value = 1
    unit.last.value = 0
    await FallingEdge(dut.clk)
    unit.first.value = 0
    await ClockCycles(dut.clk, PoolingUnit.max_taps - 2, FallingEdge)
    unit.last.value = 1
    await FallingEdge(dut.clk)
    unit.valid.value = 0
    await ClockCycles(dut.clk, PoolingUnit(config).latency - 1, FallingEdge)
    assert int(unit.strobe.value) == 1
    sums = unpack(unit.sums, "<i4", size)
    expected = PoolingUnit.max_taps * value
    assert (sums == expected).all(), f"{sums.tolist()}, not all {expected}"

"""Bench of the packed products: every pair of weights with the pixels at the ends."""

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge

from cocotb_tests.common.coverage import Coverage
from cocotb_tests.vision_datapath.bench import start


@cocotb.test(timeout_time=4, timeout_unit="ms")
@cocotb.parametrize(second=[0, 1])
async def all_weights(dut, second):
    coverage = Coverage(["low sum 32768"])
    unit = await start(dut, "products")
    unit.second.value = second
    unit.valid.value = 1
    # What the other tap adds: nothing, and the most.
    others = [(0, 0, 0), (-128, -128, -128)]
    for low, high, pixel in others:
        unit.other_low.value, unit.other_high.value = low, high
        unit.other_pixel.value = pixel
        for weight in range(-128, 128):
            unit.low.value = weight
            for other_weight in range(-128, 128):
                unit.high.value = other_weight
                await FallingEdge(dut.clk)
    unit.valid.value = 0
    await ClockCycles(dut.clk, 8, FallingEdge)
    assert unit.checked.value.to_unsigned() == len(others) << 16
    assert not unit.wrong.value, "a packed product is wrong"
    coverage.hit("low sum 32768", unit.greatest.value)
    coverage.check()

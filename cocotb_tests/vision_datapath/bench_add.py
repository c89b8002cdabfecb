"""Bench of the add unit: random tables, random groups of two passes, against a look-up in numpy."""

import cocotb
import numpy as np
import torch
from cocotb.triggers import ClockCycles, FallingEdge

from cocotb_tests.common.coverage import Coverage
from cocotb_tests.vision_datapath.bench import Monitor, generator, pack, start, unpack
from cocotb_tests.vision_datapath.design import ADD, SHAPES
from hdl.vision.datapath.add import AddUnit
from models.vision.arithmetic import wrap_int32

BINS = (
    "groups back to back",
    "both tables with the same value",
    "sum wraps",
    "tables filled again",
    "every value looked up",
)
GAPS = ("gap inside a group", "gap between groups")


class Adder:
    """Drives passes and table entries, and keeps what they should give."""

    def __init__(self, unit, config):
        self.unit = unit
        self.shape = config.pixels, config.input_channels
        self.tables = np.zeros((2, 256), np.int64)
        self.before: np.ndarray | None = None
        self.latency = AddUnit(config).latency
        self.monitor = Monitor(
            unit, self.latency, lambda: unpack(unit.sums, "<i4", self.shape), holds=True
        )

    async def fill(self, rng: np.random.Generator, bits: int) -> None:
        """Other tables of that width, in any order; the passes given before are past looking up."""
        self.unit.valid.value = 0
        await ClockCycles(self.unit.clk, self.latency, FallingEdge)
        self.tables = rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), (2, 256))
        self.unit.write_enable.value = 1
        for value in rng.permutation(256).tolist():
            self.unit.write_address.value = value
            self.unit.write_a.value, self.unit.write_b.value = (
                int(table[value]) & 0xFFFF_FFFF for table in self.tables
            )
            await FallingEdge(self.unit.clk)
        self.unit.write_enable.value = 0
        await FallingEdge(self.unit.clk)

    async def give(self, values: np.ndarray, *, first: bool) -> torch.Tensor:
        """One pass; the sums that it gives."""
        self.unit.valid.value = 1
        self.unit.first.value = first
        self.unit.last.value = not first
        self.unit.pixels.value = pack(values, "i1")
        entries = self.tables[int(not first)][values & 0xFF]
        sums = wrap_int32(torch.from_numpy(entries + (0 if self.before is None else self.before)))
        if self.before is not None:
            # What a first pass leaves is nobody's result, but the last one's must stay until then.
            self.monitor.expect(sums.numpy(), strobe=not first)
        self.before = entries
        await FallingEdge(self.unit.clk)
        return sums

    async def idle(self, rng: np.random.Generator, probability: float) -> int:
        """A gap of as many cycles as chance has it, whose inputs mean nothing; its length."""
        cycles = 0
        while rng.random() < probability:
            self.unit.valid.value = 0
            self.unit.first.value = int(rng.integers(2))
            self.unit.last.value = int(rng.integers(2))
            self.unit.pixels.value = pack(rng.integers(-128, 128, self.shape), "i1")
            await FallingEdge(self.unit.clk)
            cycles += 1
        return cycles


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(shape=list(ADD), gaps=[0.0, 0.4])
async def random_groups(dut, shape, gaps):
    rng = generator()
    coverage = Coverage(BINS + GAPS if gaps else BINS)
    dut_unit = await start(dut, f"add_{shape}")
    dut_unit.write_enable.value = 0
    adder = Adder(dut_unit, SHAPES[shape])
    looked_up: set[int] = set()
    for filling, bits in enumerate((28, 32, 9, 28)):
        await adder.fill(rng, bits)
        coverage.hit("tables filled again", filling)
        for group in range(60):
            one, two = rng.integers(-128, 128, (2, *adder.shape))
            if group % 8 == 0:
                two = one
            between = await adder.idle(rng, gaps)
            await adder.give(one, first=True)
            inside = await adder.idle(rng, gaps)
            sums = await adder.give(two, first=False)
            looked_up.update(one.ravel().tolist())
            exact = adder.tables[0][one & 0xFF] + adder.tables[1][two & 0xFF]
            coverage.hit("both tables with the same value", (one == two).all())
            coverage.hit("sum wraps", (sums.numpy() != exact).any())
            coverage.hit("groups back to back", group and not between and not inside)
            if gaps:
                coverage.hit("gap inside a group", inside)
                coverage.hit("gap between groups", group and between)
    coverage.hit("every value looked up", len(looked_up) == 256)
    await adder.monitor.finish()
    coverage.check()

# amaranth: UnusedElaboratable=no
"""The tables of an addition: what the hardware fills them with, against LiteRT's arithmetic."""

import numpy as np
import pytest
import torch
from amaranth.sim import Simulator

from eyas.compiler.errors import CompileError
from eyas.compiler.lowering.add import add_parameters, table_fields
from hdl.vision.datapath.add import AddUnit
from hdl.vision.datapath.add_tables import AddTables
from models.vision import arithmetic
from models.vision.graph import Tensor

SEED = 20250118
VALUES = np.arange(-128, 128)
MULTIPLIERS = (1 << 30, (1 << 31) - 1, (1 << 30) + 1, 1518500251)
ZERO_POINTS = (-128, 127, 0, 83)


def rescaled(multiplier: int, shift: int, zero_point: int) -> list[int]:
    """LiteRT's rescaling of every int8 value: 20 bits to the left, then multiplied and rounded."""
    centred = torch.from_numpy(VALUES - zero_point) << 20
    return arithmetic.multiply_by_quantized_multiplier(
        centred, torch.tensor(multiplier), torch.tensor(-shift)
    ).tolist()


def fields_of(name: str, multiplier: int, shift: int, zero_point: int) -> dict[str, int]:
    return {
        f"table_{name}_start": (-128 - zero_point) * multiplier,
        f"table_{name}_step": multiplier,
        f"table_{name}_shift": shift,
    }


class Filler:
    """Drives the unit, and keeps what it writes."""

    def __init__(self, ctx, unit: AddTables):
        self.ctx = ctx
        self.unit = unit

    async def begin(self, first: tuple[int, int, int], second: tuple[int, int, int]) -> None:
        """Start to fill both tables."""
        fields = fields_of("a", *first) | fields_of("b", *second)
        for name, value in fields.items():
            self.ctx.set(self.unit.instruction[name], value)
        self.ctx.set(self.unit.start, 1)
        await self.ctx.tick()
        self.ctx.set(self.unit.start, 0)

    async def finish(self) -> tuple[list[int], list[int]]:
        """Both tables, in the order of their values, when they are full."""
        tables: tuple[dict[int, int], dict[int, int]] = ({}, {})
        cycles = 1
        while not self.ctx.get(self.unit.full):
            if self.ctx.get(self.unit.write_enable):
                value = np.uint8(self.ctx.get(self.unit.write_address)).astype(np.int8).item()
                for table, entry in zip(
                    tables, (self.unit.write_a, self.unit.write_b), strict=True
                ):
                    assert value not in table, f"{value} is written twice"
                    table[value] = np.uint32(self.ctx.get(entry)).astype(np.int32).item()
            await self.ctx.tick()
            cycles += 1
            assert cycles <= AddTables.latency, "the tables do not become full"
        assert cycles == AddTables.latency
        first, second = ([table[value] for value in VALUES] for table in tables)
        return first, second


def simulate(bench) -> None:
    """Run ``bench`` with the unit's driver."""
    unit = AddTables()
    simulator = Simulator(unit)
    simulator.add_clock(1e-8)

    async def run(ctx):
        await bench(Filler(ctx, unit))

    simulator.add_testbench(run)
    simulator.run()


def test_every_entry_for_every_shift():
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)

    async def bench(filler: Filler) -> None:
        for shift in range(32):
            first = MULTIPLIERS[shift % 4], shift, ZERO_POINTS[shift // 4 % 4]
            second = (
                int(rng.integers(1 << 30, 1 << 31)),
                int(rng.integers(32)),
                int(rng.integers(-128, 128)),
            )
            if shift == 17:  # a scale too small to matter
                second = 0, 0, 5
            await filler.begin(first, second)
            assert await filler.finish() == (rescaled(*first), rescaled(*second)), (first, second)

    simulate(bench)


@pytest.mark.parametrize("cycles", [1, 2, 100, AddTables.latency - 4, AddTables.latency - 1])
def test_another_start_forgets_the_first(cycles):
    async def bench(filler: Filler) -> None:
        await filler.begin((1 << 30, 0, 0), (1 << 30, 3, 7))
        await filler.ctx.tick().repeat(cycles)
        await filler.begin((MULTIPLIERS[3], 2, -1), (MULTIPLIERS[1], 0, 127))
        expected = rescaled(MULTIPLIERS[3], 2, -1), rescaled(MULTIPLIERS[1], 0, 127)
        assert await filler.finish() == expected

    simulate(bench)


def test_fields_are_litert_s_constants():
    """For equal scales, powers of two, scales next to each other and far apart."""
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    ratios = [1.0, 0.5, np.nextafter(np.float32(1), np.float32(0)), 2.0**-31, 2.0**-40]
    ratios += list(2.0 ** rng.uniform(-12, 0, 40))
    exponents = set()
    for ratio in ratios:
        scale = 2.0 ** rng.uniform(-8, 1)
        tensors = (
            Tensor("a", (1, 1, 1), scale, int(rng.integers(-128, 128))),
            Tensor("b", (1, 1, 1), scale * float(ratio), int(rng.integers(-128, 128))),
        )
        for pair in (tensors, tensors[::-1]):
            fields = table_fields(*pair)
            for name, tensor in zip("ab", pair, strict=True):
                real = tensor.scale / (2 * max(tensors[0].scale, tensors[1].scale))
                multiplier, exponent = arithmetic.quantize_multiplier(real)
                assert fields | fields_of(name, multiplier, -exponent, tensor.zero_point) == fields
                exponents.add(exponent)
            target = Tensor("c", (1, 1, 1), scale * 2.0 ** rng.uniform(-12, 8), 0)
            real = 2 * max(item.scale for item in pair) / (2**20 * target.scale)
            multiplier, exponent = arithmetic.quantize_multiplier(real)
            parameters = add_parameters("add", *pair, target)
            assert (parameters.multiplier, parameters.shift) == (multiplier, -exponent)
            assert (parameters.bias, parameters.pre_shift, parameters.rounds_once) == (0, 0, False)
    assert {0, -1} <= exponents
    assert min(exponents) <= -31


def test_output_steps_too_fine():
    tensors = [Tensor(name, (1, 1, 1), scale, 0) for name, scale in (("a", 1.0), ("c", 2.0**-21))]
    with pytest.raises(
        CompileError, match=r"Layer 'x': the output's scale is .*e-07, too small a part"
    ):
        add_parameters("Layer 'x'", tensors[0], tensors[0], tensors[1])


def test_constructor_wants_a_configuration():
    with pytest.raises(TypeError, match="config must be a VisionConfig, not 16"):
        AddUnit(16)

"""Bench of the requantiser: TensorFlow Lite's arithmetic in PyTorch, and vectors from LiteRT."""

import os
from dataclasses import dataclass

import cocotb
import numpy as np
import torch
from cocotb.triggers import ClockCycles, FallingEdge

from cocotb_tests.common.coverage import Coverage
from cocotb_tests.vision_datapath.bench import Monitor, generator, pack, start, unpack
from cocotb_tests.vision_datapath.design import REQUANTIZER, SHAPES
from hdl.vision.datapath.requantize import Requantizer
from hdl.vision.interfaces import parameter_layout
from models.vision.arithmetic import (
    quantize_multiplier,
    rounding_divide_by_power_of_two,
    saturating_rounding_doubling_high_multiply,
    wrap_int32,
)

BINS = (
    "tie in the first rounding, positive",
    "tie in the first rounding, negative",
    "tie in the second rounding, positive",
    "tie in the second rounding, negative",
    "negative that rounds to 0",
    "rounded once, tie, positive",
    "rounded once, tie, negative",
    "rounded once without a right shift, tie, positive",
    "rounded once without a right shift, tie, negative",
    "rounded once with a right shift by 31",
    "rounded once, otherwise than twice",
    "no right shift",
    "right shift by 31",
    "left shift that wraps",
    "bias that wraps",
    "multiplier 0 with a bias beyond 2^30",
    "multiplier not normalised",
    "far beyond int8, positive",
    "far beyond int8, negative",
    "clamped to the least",
    "clamped to the greatest",
    "between the clamps",
    "sums back to back",
)


@dataclass
class Lanes:
    """Inputs of all lanes over time; parameters are per channel.

    Shapes are [time, pixels, channels] and [time, channels].
    """

    sums: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    pre_shift: np.ndarray
    rounds_once: np.ndarray

    def parameters(self, time: int) -> int:
        """The parameters' port."""
        port = 0
        for channel in reversed(range(self.bias.shape[1])):
            values = {
                "bias": int(self.bias[time, channel]) & 0xFFFF_FFFF,
                "multiplier": int(self.multiplier[time, channel]),
                "shift": int(self.shift[time, channel]),
                "pre_shift": int(self.pre_shift[time, channel]),
                "rounds_once": int(self.rounds_once[time, channel]),
            }
            port = port << parameter_layout.size | parameter_layout.const(values).as_value().value
        return port


def stimuli(rng: np.random.Generator, time: int, pixels: int, channels: int) -> Lanes:
    """Parameters of every kind, sums for which they give results around int8, or any sums."""
    shape = time, channels
    multiplier = rng.integers(1 << 30, 1 << 31, shape)
    kind = rng.integers(0, 12, shape)
    multiplier[kind < 3] = 1 << 30
    multiplier[kind == 3] = 0
    multiplier[kind == 4] >>= rng.integers(1, 31, (kind == 4).sum())
    shift = rng.choice([0, 1, 2, 5, 8, 11, 15, 20, 23, 31], shape)
    pre_shift = np.where(rng.random(shape) < 0.3, rng.integers(0, 16, shape), 0)
    # An operand whose product, after both shifts, is some half: a tie where the multiplier is 2^30.
    halves = rng.integers(-600, 600, (time, pixels, channels))
    target = halves * 2.0 ** (shift[:, None] + 30 - pre_shift[:, None])
    operand = target / np.maximum(multiplier[:, None], 1 << 24)
    operand = np.clip(np.rint(operand), -(2**31), 2**31 - 1).astype(np.int64)
    operand += rng.choice([0, 0, 1, -1], operand.shape)
    anything = rng.random(operand.shape) < 0.2
    operand[anything] = rng.integers(-(2**31), 2**31, anything.sum())
    operand >>= np.where(anything, rng.integers(0, 32, operand.shape), 0)
    bias = rng.integers(-(2**31), 2**31, shape) >> rng.choice([0, 1, 16], shape)
    sums = (operand - bias[:, None]).astype(np.uint32).astype(np.int32)
    return Lanes(sums, bias, multiplier, shift, pre_shift, rng.random(shift.shape) < 0.4)


def expected_values(
    lanes: Lanes, zero_point: int, low: int, high: int, coverage: Coverage
) -> np.ndarray:
    """int8 of all lanes over time; what they went through is counted."""
    sums = torch.from_numpy(lanes.sums.astype(np.int64))
    bias, multiplier, shift, pre_shift = (
        torch.from_numpy(values.astype(np.int64))[:, None]
        for values in (lanes.bias, lanes.multiplier, lanes.shift, lanes.pre_shift)
    )
    once = torch.from_numpy(lanes.rounds_once)[:, None]
    twice = ~once
    total = wrap_int32(sums + bias)
    x = wrap_int32(total << pre_shift)
    y = saturating_rounding_doubling_high_multiply(x, multiplier)
    quotient_twice = rounding_divide_by_power_of_two(y, shift)
    quotient_once = rounding_divide_by_power_of_two(x * multiplier, 31 + shift)
    quotient = torch.where(once, quotient_once, quotient_twice)
    unclamped = quotient + zero_point
    values = unclamped.clamp(low, high)

    def hit(name: str, *conditions: torch.Tensor) -> None:
        every = torch.ones_like(values, dtype=torch.bool)
        for condition in conditions:
            every &= condition
        coverage.hit(name, every.any())

    first_tie = (x * multiplier) & 0x7FFF_FFFF == 1 << 30
    second_tie = (shift > 0) & (y & ((1 << shift) - 1) == (1 << shift) >> 1)
    inside = (unclamped >= low) & (unclamped <= high)
    only_tie = (x * multiplier) & ((2 << (30 + shift)) - 1) == 1 << (30 + shift)
    hit("tie in the first rounding, positive", twice, first_tie, x > 0, shift == 0, inside)
    hit("tie in the first rounding, negative", twice, first_tie, x < 0, shift == 0, inside)
    hit("tie in the second rounding, positive", twice, second_tie, y > 0, inside)
    hit("tie in the second rounding, negative", twice, second_tie, y < 0, inside)
    hit("rounded once, tie, positive", once, only_tie, x > 0, shift > 0, inside)
    hit("rounded once, tie, negative", once, only_tie, x < 0, shift > 0, inside)
    hit("rounded once without a right shift, tie, positive", once, first_tie, x > 0, shift == 0)
    hit("rounded once without a right shift, tie, negative", once, first_tie, x < 0, shift == 0)
    hit("rounded once with a right shift by 31", once, shift == 31, quotient != 0)
    hit("rounded once, otherwise than twice", once, quotient_once != quotient_twice, inside)
    hit("negative that rounds to 0", x < 0, multiplier != 0, y == 0, shift > 0)
    hit("no right shift", shift == 0, inside)
    hit("right shift by 31", shift == 31, quotient != 0)
    hit("left shift that wraps", x != total << pre_shift)
    hit("bias that wraps", total != sums + bias)
    hit("multiplier 0 with a bias beyond 2^30", multiplier == 0, bias.abs() > 1 << 30)
    hit("multiplier not normalised", multiplier > 0, multiplier < 1 << 30, quotient != 0, inside)
    hit("far beyond int8, positive", quotient > 1 << 20)
    hit("far beyond int8, negative", quotient < -(1 << 20))
    hit("clamped to the least", unclamped < low)
    hit("clamped to the greatest", unclamped > high)
    hit("between the clamps", unclamped > low, unclamped < high)
    return values.numpy().astype(np.int8)


class Lane:
    """Drives a requantiser, layer by layer."""

    def __init__(self, unit, config):
        self.unit = unit
        self.shape = config.pixels, config.requantize_channels
        self.monitor = Monitor(
            unit, Requantizer.latency, lambda: unpack(unit.values, "i1", self.shape), holds=False
        )

    async def layer(self, zero_point: int, low: int, high: int) -> None:
        """Let the last results out, then set what is constant in a layer."""
        self.unit.valid.value = 0
        await ClockCycles(self.unit.clk, Requantizer.latency, FallingEdge)
        self.unit.zero_point.value = zero_point
        self.unit.clamp_min.value = low
        self.unit.clamp_max.value = high

    async def give(self, lanes: Lanes, time: int, expected: np.ndarray) -> None:
        """One set of sums."""
        self.unit.valid.value = 1
        self.unit.sums.value = pack(lanes.sums[time], "<i4")
        self.unit.parameters.value = lanes.parameters(time)
        self.monitor.expect(expected)
        await FallingEdge(self.unit.clk)

    async def idle(self, rng: np.random.Generator) -> None:
        """A cycle without sums."""
        self.unit.valid.value = 0
        self.unit.sums.value = pack(rng.integers(-(2**31), 2**31, self.shape), "<i4")
        await FallingEdge(self.unit.clk)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(shape=list(REQUANTIZER), gaps=[0.0, 0.4])
async def random_layers(dut, shape, gaps):
    rng = generator()
    coverage = Coverage((*BINS, "gap") if gaps else BINS)
    config = SHAPES[shape]
    lane = Lane(await start(dut, f"requantizer_{shape}"), config)
    for layer in range(12):
        zero_point = int([-128, 127, 0, rng.integers(-128, 128)][layer % 4])
        low, high = sorted(int(n) for n in rng.integers(-128, 128, 2))
        if layer % 3:
            low, high = -128, 127
        lanes = stimuli(rng, 120, config.pixels, config.requantize_channels)
        expected = expected_values(lanes, zero_point, low, high, coverage)
        await lane.layer(zero_point, low, high)
        for time in range(len(expected)):
            gap = False
            while rng.random() < gaps:
                gap = True
                await lane.idle(rng)
            await lane.give(lanes, time, expected[time])
            coverage.hit("gap" if gap else "sums back to back", time)
    await lane.monitor.finish()
    coverage.check()


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def litert_vectors(dut):
    # Vectors of a layer with the same parameters run side by side in a channel's pixel lanes.
    vectors = np.load(os.environ["REQUANTIZE_VECTORS"])
    config = SHAPES["small"]
    pixels, channels = config.pixels, config.requantize_channels
    lane = Lane(await start(dut, "requantizer_small"), config)
    coverage = Coverage(["multiplier 0", "shift to the left", "shift to the right", "saturated"])

    constants = ("zero_point", "activation_min", "activation_max")
    layers: dict[tuple, dict[tuple, list[int]]] = {}
    for index, key in enumerate(
        zip(*(vectors[n].tolist() for n in (*constants, "bias", "multiplier")), strict=True)
    ):
        layers.setdefault(key[:3], {}).setdefault(key[3:], []).append(index)

    compared = 0
    for constant, sets in layers.items():
        await lane.layer(*constant)
        # Each entry fills one channel's lanes; what does not fill them is repeated.
        entries = [
            (*parameters, np.resize(indices[at : at + pixels], pixels))
            for parameters, indices in sets.items()
            for at in range(0, len(indices), pixels)
        ]
        compared += sum(len(indices) for indices in sets.values())
        entries += entries[: -len(entries) % channels]
        for at in range(0, len(entries), channels):
            bias, real, indices = zip(*entries[at : at + channels], strict=True)
            multiplier, exponent = zip(*map(quantize_multiplier, real), strict=True)
            lanes = Lanes(
                sums=vectors["accumulator"][np.array(indices).T][None],
                bias=np.array([bias]),
                multiplier=np.array([multiplier]),
                shift=np.maximum(-np.array([exponent]), 0),
                pre_shift=np.maximum(np.array([exponent]), 0),
                rounds_once=np.zeros((1, channels), bool),
            )
            expected = vectors["expected"][np.array(indices).T]
            coverage.hit("multiplier 0", 0 in multiplier)
            coverage.hit("shift to the left", lanes.pre_shift.any())
            coverage.hit("shift to the right", lanes.shift.any())
            coverage.hit("saturated", (np.abs(expected.astype(int)) >= 127).any())
            await lane.give(lanes, 0, expected)
    await lane.monitor.finish()
    assert compared == len(vectors["expected"])
    cocotb.log.info("%d vectors of LiteRT agree", compared)
    coverage.check()

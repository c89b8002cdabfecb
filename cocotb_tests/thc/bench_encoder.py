"""The encoder against the fixed-point model: random blocks, gaps, stalls, tables, draws, resets."""

from dataclasses import dataclass

import cocotb
import numpy as np
import torch
from cocotb.triggers import FallingEdge

from cocotb_tests.common import timing
from cocotb_tests.common.coverage import Coverage
from cocotb_tests.common.streams import Stream, StreamContract, StreamSink, StreamSource
from cocotb_tests.thc.design import ENCODERS
from cocotb_tests.thc.unit import Unit, generator, start
from eyas.interfaces.thc.formats import LookupTable, pack
from hdl.thc.encode.encoder import block_layout, draw_layout
from models.thc import fixed_point

BLOCK = 1024


@dataclass
class Draw:
    """What random bits depend on."""

    seed: int
    step: int
    worker: int
    stream: int
    first: int

    @classmethod
    def random(cls, rng) -> "Draw":
        words = [int(word) for word in rng.integers(0, 1 << 32, 4)]
        first = int(rng.integers(0, (1 << 25) - 16))
        return cls(words[0] | words[1] << 32, words[2], int(rng.integers(0, 256)), words[3], first)


class Bench:
    """Source, sinks and settings of one encoder."""

    def __init__(self, dut, name: str, gaps: float = 0.0, stalls: float = 0.0):
        self.config = ENCODERS[name]
        self.unit = Unit(dut, f"encoder_{name}")
        rng = timing.generator()
        streams = {port: Stream(dut, f"encoder_{name}__{port}") for port in ("blocks", "i", "o")}
        self.blocks = StreamSource(streams["blocks"], rng, gaps)
        self.beats = StreamSource(streams["i"], rng, gaps)
        self.words = StreamSink(streams["o"], rng, stalls)
        self.contract = StreamContract(streams["o"], rng)
        self.unit.load.value = 0

    async def configure(self, table: LookupTable, draw: Draw) -> None:
        unit = self.unit
        self.table, self.draw = table, draw
        unit.table.value = int.from_bytes(bytes(table.entries), "little")
        unit.granularity.value = table.granularity
        values = {
            "seed": draw.seed, "step": draw.step, "worker": draw.worker + 1, "stream": draw.stream
        }  # fmt: skip
        unit.draw.value = draw_layout.const(values).as_value().value
        unit.load.value = 1
        await FallingEdge(unit.clk)
        unit.load.value = 0

    def send(self, words: np.ndarray, multipliers: np.ndarray, lasts=()) -> None:
        """Queue blocks; the last one, and those in ``lasts``, are marked so."""
        self.beats.send(*words.astype("<i2").reshape(-1).view("<u8").tolist())
        for number, multiplier in enumerate(multipliers):
            self.blocks.send(
                block_layout.const(
                    {
                        "multiplier": int(multiplier),
                        "number": self.draw.first + number,
                        "last": number == len(multipliers) - 1 or number in lasts,
                    }
                ).as_value().value
            )  # fmt: skip

    async def check(self, words: np.ndarray, multipliers: np.ndarray) -> np.ndarray:
        """Compare what comes with the model; return the indices."""
        draw = self.draw
        indices = fixed_point.encode(
            torch.from_numpy(words),
            torch.from_numpy(multipliers),
            self.table,
            seed=draw.seed,
            step=draw.step,
            worker=draw.worker,
            stream=draw.stream,
            first=draw.first,
        ).numpy()
        expected = pack(indices, self.config.index_bits)
        count = expected.size // 8
        raw = await self.words.take(count, cycles=4000 + 3000 * len(words))
        seen = np.array(raw, "<u8").view(np.uint8).reshape(expected.shape)
        wrong = np.argwhere(seen != expected)
        assert not len(wrong), (
            f"{len(wrong)} bytes of {expected.size} differ, the first at (block, byte) "
            f"{wrong[0].tolist()}: {seen[tuple(wrong[0])]:#x}, not {expected[tuple(wrong[0])]:#x}"
        )
        return indices


async def finish(bench: Bench) -> None:
    for _ in range(600):
        await FallingEdge(bench.unit.clk)
    bench.words.check_empty()
    assert bench.unit.idle.value == 1, "not idle with nothing to do"


def random_table(rng, config) -> LookupTable:
    """A symmetric table, now and then with equal entries."""
    granularity = int(rng.integers(1, 64))
    half = np.sort(rng.integers(0, granularity // 2 + 1, config.entries // 2))
    half[0] = 0
    return LookupTable([*half.tolist(), *(granularity - half[::-1]).tolist()])


def random_blocks(rng, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks as gradients are, of every size; some all at the limit; some not as software's."""
    words = np.zeros((count, BLOCK), np.int16)
    multipliers = np.zeros(count, np.int32)
    for number in range(count):
        kind = rng.integers(0, 8)
        if kind < 5:
            scale = 2.0 ** rng.uniform(1, 13)
            values = rng.normal(0, scale, BLOCK)
            multipliers[number] = min(0x1FFFF, int(2**25 * 7 / (np.abs(values).max() * 8 + 1)))
        elif kind == 5:
            values = rng.choice([-32767, 32767], BLOCK)
            multipliers[number] = rng.integers(1, 1 << 17)
        elif kind == 6:
            values = rng.integers(-32768, 32768, BLOCK)
            multipliers[number] = rng.integers(0, 1 << 17)
        else:
            values = rng.integers(-32768, 32768, BLOCK)
            multipliers[number] = 0
        words[number] = np.clip(values, -32768, 32767)
    return words, multipliers


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(name=list(ENCODERS), pace=[(0.0, 0.0), (0.3, 0.0), (0.1, 0.8)])
async def random_jobs(dut, name, pace):
    """Bit for bit, whatever the table, the draw and the pace of source and sink."""
    rng = generator()
    await start(dut, f"encoder_{name}")
    bench = Bench(dut, name, *pace)
    coverage = Coverage(("zero block", "greatest index", "index 0", "step up", "pushed out"))
    for count in (1, 5, 3):
        table, draw = random_table(rng, bench.config), Draw.random(rng)
        await bench.configure(table, draw)
        words, multipliers = random_blocks(rng, count)
        if count == 3:
            multipliers[1] = 0
        lasts = (1,) if count == 5 else ()
        bench.send(words, multipliers, lasts)
        indices = await bench.check(words, multipliers)
        coverage.hit("pushed out", lasts)
        coverage.hit("zero block", (multipliers == 0).any())
        coverage.hit("greatest index", (indices == bench.config.entries - 1).any())
        coverage.hit("index 0", (indices[multipliers != 0] == 0).any())
        coverage.hit("step up", (indices > 0).any())
        await timing.until(bench.unit.clk, lambda: bench.unit.idle.value == 1, "idle", 2000)
    await finish(bench)
    assert bench.contract.transfers == (9 * BLOCK) // 16 // (2 if name == "2" else 1)
    coverage.check()


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def full_rate(dut):
    """Four coordinates a cycle, blocks back to back."""
    rng = generator()
    name = next(iter(ENCODERS))
    await start(dut, f"encoder_{name}")
    bench = Bench(dut, name)
    await bench.configure(random_table(rng, bench.config), Draw.random(rng))
    words, multipliers = random_blocks(rng, 8)
    bench.send(words, multipliers)
    await bench.check(words, multipliers)
    sent = bench.beats.sent
    assert sent[-1] - sent[0] == len(sent) - 1, "a beat had to wait"
    cocotb.log.info("first word %d cycles after the first beat", bench.words.taken[0] - sent[0])
    await finish(bench)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def reset_in_a_block(dut):
    """What a reset cuts off leaves no trace."""
    rng = generator()
    name = next(iter(ENCODERS))
    await start(dut, f"encoder_{name}")
    bench = Bench(dut, name, 0.1, 0.1)
    for beats, cycles in ((1, 0), (100, 30), (257, 20), (500, 5), (512, 5)):
        await bench.configure(random_table(rng, bench.config), Draw.random(rng))
        words, multipliers = random_blocks(rng, -(-beats // 256))
        bench.send(words.reshape(-1)[: 4 * beats], multipliers)
        await bench.beats.drained()
        for _ in range(cycles):
            await FallingEdge(bench.unit.clk)
        dut.aresetn.value = 0
        for _ in range(3):
            await FallingEdge(bench.unit.clk)
        dut.aresetn.value = 1
        bench.words.items.clear()
        assert bench.unit.idle.value == 1, "not idle after reset"
        await bench.configure(random_table(rng, bench.config), Draw.random(rng))
        words, multipliers = random_blocks(rng, 2)
        bench.send(words, multipliers)
        await bench.check(words, multipliers)
        await timing.until(bench.unit.clk, lambda: bench.unit.idle.value == 1, "idle", 2000)
    await finish(bench)

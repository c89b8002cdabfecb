"""Bench of the stream buffer and the queues: order, contract, capacity, throughput, latency."""

import random

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge

from cocotb_tests.common.coverage import Coverage
from cocotb_tests.common.streams import (
    Independence,
    Stream,
    StreamContract,
    StreamSink,
    StreamSource,
)
from cocotb_tests.common.timing import generator, start
from cocotb_tests.parts.design import DEPTHS, WIDTH

PARTS = ("buffer", *DEPTHS)
CAPACITY = {"buffer": 2} | DEPTHS
LATENCY = {"buffer": 1, "least": 1, "shallow": 1, "deep": 2}
LIMIT = {"timeout_time": 1, "timeout_unit": "ms"}


class Bench:
    """A source and a sink around the part ``name``."""

    def __init__(self, dut, name: str, rng: random.Random, *, patient: bool = False):
        self.dut = dut
        self.rng = rng
        self.input = Stream(dut, f"{name}_i")
        self.output = Stream(dut, f"{name}_o")
        self.source = StreamSource(self.input, rng)
        self.sink = StreamSink(self.output, rng, patient=patient)
        self.level = getattr(dut, f"{name}_level", None)

    @classmethod
    async def create(cls, dut, name, seed, **options):
        bench = cls(dut, name, generator(seed), **options)
        await start(dut)
        return bench

    def items(self, count: int) -> list[int]:
        return [self.rng.getrandbits(WIDTH) for _ in range(count)]

    async def check_empty(self) -> None:
        """Nothing more comes out."""
        self.sink.stalls = 0.0
        await ClockCycles(self.dut.aclk, 20)
        self.sink.check_empty()
        assert self.level is None or self.level.value == 0, f"{self.level.value} items are left"


@cocotb.test(**LIMIT)
@cocotb.parametrize(part=PARTS, seed=range(2))
async def items_come_in_order(dut, part, seed):
    bench = await Bench.create(dut, part, seed, patient=bool(seed))
    coverage = Coverage(["full", "empty", "input held", "output held", "both held"])
    contract = StreamContract(bench.output, bench.rng)
    given = StreamContract(bench.input)
    # Every path through the part is cut, in both directions.
    independence = Independence(
        dut.aclk,
        part,
        [bench.input.valid, *bench.input.payload.values(), bench.output.ready],
        [bench.input.ready, bench.output.valid, *bench.output.payload.values()],
        bench.rng,
    )
    held = [0]

    async def watch():
        while True:
            await FallingEdge(dut.aclk)
            held_in = bench.input.valid.value and not bench.input.ready.value
            held_out = bench.output.valid.value and not bench.output.ready.value
            coverage.hit("input held", held_in)
            coverage.hit("output held", held_out)
            coverage.hit("both held", held_in and held_out)
            inside = len(bench.source.sent) - len(bench.sink.taken)
            held[0] = max(held[0], inside)
            coverage.hit("empty", inside == 0 and bench.source.sent)

    cocotb.start_soon(watch())
    for gaps, stalls in ((0.5, 0.5), (0.0, 0.7), (0.8, 0.0), (0.1, 0.9)):
        bench.source.gaps, bench.sink.stalls = gaps, stalls
        items = bench.items(150)
        bench.source.send(*items)
        assert await bench.sink.take(len(items)) == items
    await bench.check_empty()
    coverage.hit("full", held[0] == CAPACITY[part])
    assert contract.transfers == given.transfers == 600
    assert independence.probes > 100
    assert held[0] <= CAPACITY[part], f"{held[0]} items inside"
    coverage.check()


@cocotb.test(**LIMIT)
@cocotb.parametrize(part=PARTS)
async def full_throughput(dut, part):
    """An item a cycle, after as many cycles as the part promises."""
    bench = await Bench.create(dut, part, 3)
    items = bench.items(300)
    bench.source.send(*items)
    assert await bench.sink.take(len(items)) == items
    sent, taken = bench.source.sent, bench.sink.taken
    assert sent == list(range(sent[0], sent[0] + len(items))), "the input was held up"
    assert taken == [at + LATENCY[part] for at in sent], "the output is late or has gaps"
    await bench.check_empty()


@cocotb.test(**LIMIT)
@cocotb.parametrize(part=PARTS)
async def capacity(dut, part):
    """As many items as promised go in while none comes out; then all of them come out."""
    bench = await Bench.create(dut, part, 4)
    bench.sink.stalls = 1.0
    items = bench.items(CAPACITY[part] + 3)
    bench.source.send(*items)
    await ClockCycles(dut.aclk, 2 * CAPACITY[part] + 10)
    assert len(bench.source.sent) == CAPACITY[part]
    if bench.level is not None:
        assert bench.level.value == CAPACITY[part]
    bench.sink.stalls = 0.0
    assert await bench.sink.take(len(items)) == items
    await bench.check_empty()

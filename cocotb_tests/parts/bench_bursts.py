"""Bench of the burst reader and the burst writer against a byte model of the memory."""

import random
from dataclasses import dataclass

import cocotb
from amaranth.lib import data
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiResp

from cocotb_tests.common.coverage import Coverage
from cocotb_tests.common.memory import BEAT, PAGE, AxiMonitor, Memory
from cocotb_tests.common.streams import Stream, StreamContract, StreamSink, StreamSource
from cocotb_tests.common.timing import generator, start, until
from cocotb_tests.parts.design import OUTSTANDING
from hdl.parts.burst_reader import beat_layout
from hdl.parts.burst_splitter import request_layout

LIMIT = {"timeout_time": 2, "timeout_unit": "ms"}
SIZE = 1 << 17
# Reads go to the lower half of the memory, writes to the upper: they run at the same time.
HALF = SIZE // 2
REQUEST = request_layout(32, 24)
SHAPES = ("one beat", "burst of 16", "several bursts", "to a page's end", "into the next page")


def pack(layout: data.Layout, **values: int) -> int:
    return layout.const(values).as_value().value


@dataclass(frozen=True)
class Request:
    """A run of beats."""

    address: int
    beats: int

    @property
    def payload(self) -> int:
        return pack(REQUEST, address=self.address, beats=self.beats)

    @property
    def range(self) -> range:
        return range(self.address, self.address + BEAT * self.beats)


class Bench:
    """Sources and sinks around the reader and the writer."""

    def __init__(self, dut, seed: int, *, patient: bool = False):
        self.dut = dut
        self.rng = rng = generator(seed)
        outputs = {name: Stream(dut, name) for name in ("read_o", "read_response")}
        outputs["write_response"] = Stream(dut, "write_response")
        self.contracts = {name: StreamContract(item, rng) for name, item in outputs.items()}
        self.sinks = {
            name: StreamSink(item, rng, patient=patient) for name, item in outputs.items()
        }
        self.sources = {
            name: StreamSource(Stream(dut, name), rng)
            for name in ("read_request", "write_request", "write_i")
        }
        self.monitor = AxiMonitor(dut, rng)

    def random_request(self, base: int) -> Request:
        """Somewhere in the half from ``base``: short and long ones, often at a page's end."""
        rng = self.rng
        beats = rng.choice([1, 2, rng.randint(1, 16), rng.randint(16, 40), rng.randint(40, 150)])
        limit = HALF - BEAT * beats
        if rng.random() < 0.4:
            offset = PAGE * rng.randint(1, limit // PAGE) - BEAT * rng.randint(0, 18)
        else:
            offset = rng.randrange(0, limit, BEAT)
        return Request(base + min(offset, limit), beats)

    def stall(self, share: float) -> None:
        """Gaps and stalls on every stream of the user's side."""
        for source in self.sources.values():
            source.gaps = share
        for sink in self.sinks.values():
            sink.stalls = share

    async def check_rest(self) -> None:
        """Nothing more comes out, and both are idle."""
        dut = self.dut
        self.stall(0.0)
        bursts = len(self.monitor.bursts)
        await ClockCycles(dut.aclk, 60)
        for sink in self.sinks.values():
            sink.check_empty()
        assert len(self.monitor.bursts) == bursts, "more bursts were asked for"
        assert dut.read_idle.value, "the reader is not idle at the end"
        assert dut.write_idle.value, "the writer is not idle at the end"
        self.monitor.check_rest()

    def bursts(self, channel: str) -> list[tuple[int, int]]:
        return [(address, beats) for name, address, beats in self.monitor.bursts if name == channel]


def worst(request: Request, faults) -> int:
    """The worst answer that the request meets; a write's burst is answered as a whole."""
    answers = [0]
    for start_, size, response in faults:
        if any(start_ <= at < start_ + size for at in request.range[::BEAT]):
            answers.append(response)
    return max(answers)


def check_cover(requests, bursts, what) -> None:
    """The bursts are the requests' beats, all of them, in order, none twice."""
    beats = [at for request in requests for at in request.range[::BEAT]]
    found = [address + BEAT * beat for address, length in bursts for beat in range(length)]
    assert found == beats, f"{what}: the bursts do not cover the requests"


@cocotb.test(**LIMIT)
@cocotb.parametrize(seed=range(4))
async def random_requests(dut, seed):
    """Reads and writes at once, pauses on every channel, errors in some places."""
    pauses, stalls = [(0.0, 0.0), (0.5, 0.3), (0.2, 0.7), (0.7, 0.5)][seed]
    faulty = seed != 0
    bench = Bench(dut, seed, patient=seed == 2)
    rng = bench.rng
    memory = Memory(dut, rng, SIZE)
    memory.pause(pauses)
    bench.stall(stalls)
    model = bytearray(rng.randbytes(SIZE))
    memory.data[:] = model
    bins = ["two reads under way", "two writes under way", "reads under way: all"]
    for kind in ("read", "write"):
        bins += [f"{kind}: {name}" for name in SHAPES]
        bins += [f"{kind} {name}" for name in ("OKAY", "SLVERR", "DECERR") if faulty]
    if pauses:
        bins += ["ar held", "aw held", "w held", "beats held"]
    coverage = Coverage(bins)
    await start(dut)

    reads, writes = (
        [Request(base + PAGE - 5 * BEAT, 5), Request(base + 2 * PAGE - BEAT, 2)]
        + [bench.random_request(base) for _ in range(28)]
        for base in (0, HALF)
    )
    faults = []
    if faulty:
        # A beat in each of a few requests; some meet both kinds of error.
        for requests in (reads, writes):
            for request in rng.sample(requests, 5):
                at = rng.choice(request.range[::BEAT])
                faults.append((at, BEAT, rng.choice([AxiResp.SLVERR, AxiResp.DECERR])))
    for fault in faults:
        memory.fail(*fault)

    for request in reads:
        bench.sources["read_request"].send(request.payload)
    for request in writes:
        bench.sources["write_request"].send(request.payload)
        beats = [rng.getrandbits(64) for _ in range(request.beats)]
        bench.sources["write_i"].send(*beats)
        model[request.address : request.range.stop] = b"".join(
            beat.to_bytes(BEAT, "little") for beat in beats
        )

    for number, request in enumerate(reads):
        for count, at in enumerate(request.range[::BEAT], 1):
            (item,) = await bench.sinks["read_o"].take(1)
            beat = beat_layout.from_bits(item)
            assert beat.last == (count == request.beats), f"read {number}: last at beat {count}"
            # A beat answered with an error has data all the same.
            expected = int.from_bytes(model[at : at + BEAT], "little")
            assert beat.data == expected, f"read {number}, beat {count}: {beat.data:#x}"
    answers = await bench.sinks["read_response"].take(len(reads))
    assert answers == [worst(request, faults) for request in reads]
    answered = answers
    answers = await bench.sinks["write_response"].take(len(writes))
    assert answers == [worst(request, faults) for request in writes]
    await bench.check_rest()
    assert memory.data == model, "the memory is not what was written"
    check_cover(reads, bench.bursts("ar"), "reads")
    check_cover(writes, bench.bursts("aw"), "writes")
    assert memory.writes == [at for request in writes for at in request.range[::BEAT]]

    for kind, channel, requests, codes in (
        ("read", "ar", reads, answered), ("write", "aw", writes, answers),
    ):  # fmt: skip
        for request in requests:
            coverage.hit(f"{kind}: one beat", request.beats == 1)
            coverage.hit(f"{kind}: several bursts", request.beats > 16)
            coverage.hit(f"{kind}: to a page's end", request.range.stop % PAGE == 0)
            first, last = request.range[0] // PAGE, request.range[-1] // PAGE
            coverage.hit(f"{kind}: into the next page", first != last)
        for _, beats in bench.bursts(channel):
            coverage.hit(f"{kind}: burst of 16", beats == 16)
        if faulty:
            for code in codes:
                coverage.hit(f"{kind} {AxiResp(code).name}")
    monitor = bench.monitor
    assert monitor.most_reads <= OUTSTANDING
    assert monitor.most_writes <= OUTSTANDING
    coverage.hit("two reads under way", monitor.most_reads >= 2)
    coverage.hit("two writes under way", monitor.most_writes >= 2)
    coverage.hit("reads under way: all", monitor.most_reads == OUTSTANDING)
    if pauses:
        for name in ("ar", "aw", "w"):
            coverage.hit(f"{name} held", monitor.streams[name].held)
        coverage.hit("beats held", bench.contracts["read_o"].held)
    coverage.check()


class FreeMemory:
    """A memory that never waits: it takes an address a cycle and gives a beat a cycle, each
    burst ``latency`` cycles after its address at the earliest."""

    def __init__(self, bench: Bench, latency: int):
        dut, rng = bench.dut, bench.rng
        streams = {
            name: Stream(dut, f"m_axi_{name}", ("addr", "len") if "a" in name else fields)
            for name, fields in AxiMonitor.CHANNELS.items()
        }
        self.latency = latency
        self.ar, self.aw, self.w = (StreamSink(streams[name], rng) for name in ("ar", "aw", "w"))
        self.r, self.b = (StreamSource(streams[name], rng) for name in ("r", "b"))
        cocotb.start_soon(self._read(dut))
        cocotb.start_soon(self._write())

    async def _read(self, dut):
        while True:
            (burst,) = await self.ar.take(1, 100_000)
            cocotb.start_soon(self._answer(dut, burst["addr"], burst["len"] + 1))

    async def _answer(self, dut, address, beats):
        await ClockCycles(dut.aclk, self.latency)
        for beat in range(beats):
            value = (address + BEAT * beat) * 3
            self.r.send({"data": value, "resp": 0, "last": beat == beats - 1})

    async def _write(self):
        while True:
            (burst,) = await self.aw.take(1, 100_000)
            beats = await self.w.take(burst["len"] + 1, 100_000)
            assert [beat["last"] for beat in beats] == [0] * burst["len"] + [1]
            self.b.send({"resp": 0})


@cocotb.test(**LIMIT)
@cocotb.parametrize(latency=[0, 20])
async def full_rate(dut, latency):
    """A beat a cycle in both directions, long requests and following ones, from a free memory."""
    bench = Bench(dut, 10 + latency)
    memory = FreeMemory(bench, latency)
    await start(dut)
    requests = [Request(0x1000, 200), Request(0x8000, 64), Request(0x9000, 128)]
    beats = sum(request.beats for request in requests)
    for request in requests:
        bench.sources["read_request"].send(request.payload)
        bench.sources["write_request"].send(request.payload)
    bench.sources["write_i"].send(*range(beats))
    items = await bench.sinks["read_o"].take(beats)
    expected = [at * 3 for request in requests for at in request.range[::BEAT]]
    assert [beat_layout.from_bits(item).data for item in items] == expected
    assert await bench.sinks["read_response"].take(3) == [0, 0, 0]
    assert await bench.sinks["write_response"].take(3) == [0, 0, 0]
    await bench.check_rest()
    for name, taken in (("read", bench.sinks["read_o"].taken), ("write", memory.w.taken)):
        cycles = taken[-1] - taken[0] + 1
        assert cycles == beats, f"{beats} beats to {name} took {cycles} cycles"


@cocotb.test(**LIMIT)
async def a_response_not_taken(dut):
    """While a response waits, no later one overtakes it and nothing is lost."""
    bench = Bench(dut, 40)
    memory = Memory(dut, bench.rng, SIZE)
    memory.fail(0x2000, BEAT, AxiResp.SLVERR)
    memory.fail(HALF + 0x2000, BEAT, AxiResp.DECERR)
    await start(dut)
    for name in ("read_response", "write_response"):
        bench.sinks[name].stalls = 1.0
    for address in (0x1000, 0x2000, 0x3000):
        bench.sources["read_request"].send(Request(address, 3).payload)
        bench.sources["write_request"].send(Request(HALF + address, 3).payload)
    bench.sources["write_i"].send(*range(9))
    await until(
        dut.aclk,
        lambda: dut.read_response__valid.value and dut.write_response__valid.value,
        "the first responses",
    )
    await ClockCycles(dut.aclk, 100)
    assert len(bench.sinks["read_o"].items) == 5, "the second request's last beat did not wait"
    assert not dut.read_idle.value
    assert not dut.write_idle.value
    for name in ("read_response", "write_response"):
        bench.sinks[name].stalls = 0.0
    assert await bench.sinks["read_response"].take(3) == [0, AxiResp.SLVERR, 0]
    assert await bench.sinks["write_response"].take(3) == [0, AxiResp.DECERR, 0]
    assert len(await bench.sinks["read_o"].take(9)) == 9
    await bench.check_rest()


@cocotb.test(**LIMIT)
async def patient_memory(dut):
    """A memory whose ready waits for valid on every channel is served all the same."""
    bench = Bench(dut, 50)
    memory = FreeMemory(bench, 3)
    for sink in (memory.ar, memory.aw, memory.w):
        sink.patient = True
        sink.stalls = 0.3
    await start(dut)
    requests = [bench.random_request(0) for _ in range(6)]
    beats = sum(request.beats for request in requests)
    for request in requests:
        bench.sources["read_request"].send(request.payload)
        bench.sources["write_request"].send(request.payload)
    bench.sources["write_i"].send(*(random.Random(1).getrandbits(64) for _ in range(beats)))
    assert len(await bench.sinks["read_o"].take(beats)) == beats
    assert await bench.sinks["read_response"].take(6) == [0] * 6
    assert await bench.sinks["write_response"].take(6) == [0] * 6
    await bench.check_rest()
    check_cover(requests, bench.bursts("ar"), "reads")
    check_cover(requests, bench.bursts("aw"), "writes")

"""Bench of the bridge from the processor's AXI3 to registers: bursts of every kind, and where
they end as single accesses."""

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge

from cocotb_tests.common.axi3 import FIXED, INCR, WRAP, Axi3Master, beat_addresses
from cocotb_tests.common.coverage import Coverage
from cocotb_tests.common.streams import Stream, StreamContract, StreamSink, StreamSource
from cocotb_tests.common.timing import cycle, generator, start
from cocotb_tests.pynq_z2.design import BRIDGE_BASE, BRIDGE_WIDTH

LIMIT = {"timeout_time": 3, "timeout_unit": "ms"}
FIELDS = {"aw": ("addr",), "w": ("data", "strb"), "b": ("resp",), "ar": ("addr",)} | {
    "r": ("data", "resp")
}
SIZE = 1 << BRIDGE_WIDTH
OKAY, SLVERR, DECERR = 0, 2, 3
BURSTS = {FIXED: "FIXED", INCR: "INCR", WRAP: "WRAP"}


def word(address: int) -> int:
    """What stands at ``address`` inside the window."""
    return (address & (SIZE - 4)) * 0x9E3779B1 & 0xFFFF_FFFF


def response(address: int) -> int:
    """What the registers answer there: some refuse, some are not there."""
    return {5: SLVERR, 9: DECERR}.get((address & (SIZE - 4)) >> 2 & 15, OKAY)


def inside(address: int) -> bool:
    return BRIDGE_BASE <= address < BRIDGE_BASE + SIZE


class Registers:
    """The AXI4-Lite side: answers every access, by the functions above."""

    def __init__(self, dut, rng, gaps: float):
        self.written: list[tuple[int, int, int]] = []
        self.reads: list[int] = []
        streams = {name: Stream(dut, f"lite_{name}", fields) for name, fields in FIELDS.items()}
        self.contracts = [StreamContract(streams[name], rng) for name in ("aw", "w", "ar")]
        self._sinks = {name: StreamSink(streams[name], rng, gaps) for name in ("aw", "w", "ar")}
        self._sources = {name: StreamSource(streams[name], rng, gaps) for name in "br"}
        cocotb.start_soon(self._run(dut.aclk))

    async def _run(self, clock) -> None:
        aw, w, ar = (self._sinks[name].items for name in ("aw", "w", "ar"))
        while True:
            await FallingEdge(clock)
            while aw and w:
                address, data = aw.popleft()["addr"], w.popleft()
                self.written.append((address >> 2, data["data"], data["strb"]))
                self._sources["b"].send({"resp": response(address)})
            while ar:
                address = ar.popleft()["addr"]
                self.reads.append(address >> 2)
                self._sources["r"].send({"data": word(address), "resp": response(address)})


def burst(rng, coverage):
    """A random burst that the standard allows: address, beats, size, kind."""
    size, kind = rng.choice((0, 1, 2, 2)), rng.choice((FIXED, INCR, INCR, WRAP))
    width = 1 << size
    beats = rng.choice((2, 4, 8, 16)) if kind == WRAP else rng.randint(1, 16)
    where = rng.choice(("inside",) * 7 + ("below", "above", "far"))
    first = BRIDGE_BASE + {"inside": 0, "below": -SIZE, "above": SIZE, "far": 0x2000_0000}[where]
    page = first & ~0xFFF
    offset = rng.randrange(0x1000 - 16 * width)
    if kind == WRAP:
        offset = offset // width * width
    coverage.hit(f"{BURSTS[kind]}, {8 * width} bits")
    coverage.hit(f"{where} the window" if where != "far" else "far from the window")
    coverage.hit("16 beats", beats == 16)
    coverage.hit("unaligned", offset % width != 0)
    return page + offset, beats, size, kind


@cocotb.test(**LIMIT)
@cocotb.parametrize(gaps=[0.0, 0.4])
async def random_bursts(dut, gaps):
    """Reads and writes at once; every beat is one access, every response the right one."""
    bins = [f"{kind}, {bits} bits" for kind in BURSTS.values() for bits in (8, 16, 32)]
    bins += [f"{where} the window" for where in ("inside", "below", "above")]
    bins += ["far from the window", "16 beats", "unaligned"]
    bins += [f"write answered {code}" for code in (OKAY, SLVERR, DECERR)]
    bins += [f"beat answered {code}" for code in (OKAY, SLVERR, DECERR)]
    coverage = Coverage(bins)
    rng = generator(int(10 * gaps))
    registers = Registers(dut, rng, gaps)
    master = Axi3Master(dut, "axi3", rng, gaps)
    await start(dut)
    written: list[tuple[int, int, int]] = []
    read: list[int] = []
    for _ in range(50):
        expected = []
        for _ in range(rng.randint(1, 4)):
            address, beats, size, kind = burst(rng, coverage)
            addresses = beat_addresses(address, beats, size, kind)
            if rng.random() < 0.5:
                data = [(rng.getrandbits(32), rng.getrandbits(4)) for _ in addresses]
                answers = [response(item) if inside(item) else DECERR for item in addresses]
                written += [
                    ((item & (SIZE - 1)) >> 2, *beat)
                    for item, beat in zip(addresses, data, strict=True)
                    if inside(item)
                ]
                request = master.post_write(address, data, size, kind)
                expected.append((request, [max(answers)]))
                coverage.hit(f"write answered {max(answers)}")
            else:
                answers = [
                    (word(item), response(item)) if inside(item) else (0, DECERR)
                    for item in addresses
                ]
                read += [(item & (SIZE - 1)) >> 2 for item in addresses if inside(item)]
                expected.append((master.post_read(address, beats, size, kind), answers))
                for _, code in answers:
                    coverage.hit(f"beat answered {code}")
        for request, answers in expected:
            found = await master.answered(request)
            assert found == answers, f"{request}: {found}, not {answers}"
    await ClockCycles(dut.aclk, 50)
    master.check_rest()
    assert registers.written == written, "accesses were lost, invented, changed or out of order"
    assert registers.reads == read, "reads were lost, invented or out of order"
    coverage.check()


@cocotb.test(**LIMIT)
async def pace(dut):
    """What a beat costs when nothing else holds it up."""
    rng = generator()
    Registers(dut, rng, 0.0)
    master = Axi3Master(dut, "axi3", rng)
    await start(dut)
    for what, post, limit in (
        ("read", lambda: master.post_read(BRIDGE_BASE + 0x40, 16), 5),
        ("written", lambda: master.post_write(BRIDGE_BASE + 0x40, [(0, 15)] * 16), 5),
    ):
        begin = cycle()
        await master.answered(post())
        beats = (cycle() - begin) / 16
        dut._log.info("a beat is %s every %.1f cycles", what, beats)
        assert beats <= limit, f"a beat is {what} every {beats} cycles"

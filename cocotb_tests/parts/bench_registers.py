"""Bench of the register file: accesses of every kind against a model of the registers."""

import random

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from cocotb_tests.common.coverage import Coverage
from cocotb_tests.common.streams import (
    Independence,
    Stream,
    StreamContract,
    StreamSink,
    StreamSource,
)
from cocotb_tests.common.timing import generator, start, within
from cocotb_tests.parts.design import BLOCK
from eyas.interfaces.fields import Access

LIMIT = {"timeout_time": 1, "timeout_unit": "ms"}
WORD = 0xFFFF_FFFF
CHANNELS = {"aw": ("addr",), "w": ("data", "strb"), "b": ("resp",), "ar": ("addr",)} | {
    "r": ("data", "resp")
}
ADDRESSES = range(0, BLOCK.size, 4)
BY_OFFSET = {register.offset: register for register in BLOCK.registers}


def used(register) -> int:
    """The register's bits that belong to a field."""
    return register.pack({field.name: field.maximum for field in register.fields})


def mask(strobes: int) -> int:
    return sum(0xFF << 8 * byte for byte in range(4) if strobes >> byte & 1)


class Model:
    """What the registers hold, and the writes to the command register so far."""

    def __init__(self):
        self.values = {register.offset: register.reset for register in BLOCK.registers}
        self.commands: list[int] = []

    def write(self, address: int, data: int, strobes: int) -> AxiResp:
        register = BY_OFFSET.get(address & ~3)
        if register is None:
            return AxiResp.DECERR
        chosen = mask(strobes) & used(register)
        value = self.values[register.offset]
        if register.access == Access.RW:
            self.values[register.offset] = (value & ~chosen) | (data & chosen)
        elif register.access == Access.RW1C:
            self.values[register.offset] = value & ~(data & chosen)
        elif register.access == Access.W and strobes:
            self.commands.append(data & chosen)
        return AxiResp.OKAY

    def read(self, address: int) -> tuple[int, AxiResp]:
        register = BY_OFFSET.get(address & ~3)
        if register is None:
            return 0, AxiResp.DECERR
        if register.access == Access.W:
            return 0, AxiResp.OKAY
        return self.values[register.offset] & used(register), AxiResp.OKAY


class Bench:
    """Clock, contracts, and the side of the registers that hardware sees."""

    def __init__(self, dut, rng: random.Random):
        self.dut = dut
        self.rng = rng
        self.model = Model()
        self.streams = {name: Stream(dut, f"s_axi_{name}", f) for name, f in CHANNELS.items()}
        self.contracts = {
            name: StreamContract(stream, rng if name in "br" else None)
            for name, stream in self.streams.items()
        }
        requests = [self.streams[name] for name in ("aw", "w", "ar")]
        answers = [self.streams[name] for name in ("b", "r")]
        Independence(
            dut.aclk,
            "s_axi",
            [h for stream in requests for h in (stream.valid, *stream.payload.values())]
            + [stream.ready for stream in answers],
            [stream.ready for stream in requests]
            + [h for stream in answers for h in (stream.valid, *stream.payload.values())],
            rng,
        )
        self.commands: list[int] = []
        dut.event_set.value = 0
        for name in ("state", "part"):
            value = rng.getrandbits(32)
            getattr(dut, name).value = value
            self.model.values[BLOCK[name].offset] = value
        cocotb.start_soon(self._watch_commands())

    async def _watch_commands(self):
        while True:
            await FallingEdge(self.dut.aclk)
            if self.dut.aresetn.value and self.dut.command_strobe.value:
                self.commands.append(self.dut.command.value.to_unsigned())

    def check_members(self) -> None:
        """What hardware sees is what software wrote."""
        for name in ("setting", "word", "event"):
            found = getattr(self.dut, name).value.to_unsigned()
            expected = self.model.values[BLOCK[name].offset]
            assert found == expected, f"{name} is {found:#x}, not {expected:#x}"
        assert self.commands == self.model.commands, "commands were lost, invented or changed"

    async def check_rest(self) -> None:
        """Nothing more comes out, and each request had one answer."""
        for name in ("b", "r"):
            self.streams[name].ready.value = 1
        before = {name: contract.transfers for name, contract in self.contracts.items()}
        await ClockCycles(self.dut.aclk, 20)
        after = {name: contract.transfers for name, contract in self.contracts.items()}
        assert before == after, f"transfers went from {before} to {after}"
        assert after["aw"] == after["w"] == after["b"] > 0
        assert after["ar"] == after["r"] > 0
        self.check_members()


@cocotb.test(**LIMIT)
@cocotb.parametrize(pauses=[0.0, 0.6])
async def random_accesses(dut, pauses):
    """Through cocotbext-axi's master: parts of words, holes, sets by hardware between accesses."""
    rng = generator(int(10 * pauses))
    coverage = Coverage(
        [f"write {access.value}" for access in Access]
        + [f"read {access.value}" for access in Access]
        + ["write unmapped", "read unmapped", "part of a word", "two words", "set by hardware"]
    )
    bench = Bench(dut, rng)
    model = bench.model
    master = AxiLiteMaster(
        AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, dut.aresetn, reset_active_level=False
    )
    await start(dut)

    def gaps():
        own = random.Random(rng.random())
        while True:
            yield own.random() < pauses

    write, read = master.write_if, master.read_if
    for channel in (
        write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel,
    ):  # fmt: skip
        channel.set_pause_generator(gaps())

    def kind(address: int) -> str:
        register = BY_OFFSET.get(address & ~3)
        return register.access.value if register else "unmapped"

    for _ in range(150):
        if rng.random() < 0.2:
            value = rng.getrandbits(32)
            coverage.hit("set by hardware")
            dut.event_set.value = value
            await RisingEdge(dut.aclk)
            dut.event_set.value = 0
            event = BLOCK["event"]
            model.values[event.offset] |= value & used(event)
            await RisingEdge(dut.aclk)
        address = rng.choice(ADDRESSES) + rng.randrange(4)
        if rng.random() < 0.5:
            size = rng.randint(1, 4 if address >= ADDRESSES[-1] else 7)
            size = min(size, BLOCK.size - address)
            data = rng.randbytes(size)
            expected = AxiResp.OKAY
            position = 0
            while position < size:
                at = address + position
                part = data[position : position + 4 - at % 4]
                word = int.from_bytes(part, "little") << 8 * (at % 4)
                strobes = ((1 << len(part)) - 1) << at % 4
                expected = max(expected, model.write(at, word, strobes))
                coverage.hit(f"write {kind(at)}")
                coverage.hit("part of a word", len(part) < 4)
                coverage.hit("two words", position)
                position += len(part)
            answer = await within(500, f"write to {address:#x}", master.write(address, data))
            assert answer.resp == expected, f"write to {address:#x}: {answer.resp}, not {expected}"
        else:
            address &= ~3
            answer = await within(500, f"read of {address:#x}", master.read(address, 4))
            found = int.from_bytes(answer.data, "little"), answer.resp
            expected = model.read(address)
            coverage.hit(f"read {kind(address)}")
            assert found == expected, f"read of {address:#x}: {found}, not {expected}"
        bench.check_members()
    for channel in (write.b_channel, read.r_channel):
        channel.clear_pause_generator()
        channel.pause = False
    await bench.check_rest()
    coverage.check()


class Channels:
    """The five channels by themselves: requests as early or late as one likes."""

    def __init__(self, bench: Bench):
        streams = bench.streams
        self.aw, self.w, self.ar = (
            StreamSource(streams[name], bench.rng) for name in ("aw", "w", "ar")
        )
        self.b, self.r = (StreamSink(streams[name], bench.rng) for name in ("b", "r"))


@cocotb.test(**LIMIT)
async def channels_in_any_order(dut):
    """Addresses and data apart by any number of cycles, any strobes, answers held."""
    rng = generator(2)
    coverage = Coverage(
        ["AW before W", "AW with W", "AW after W", "B held", "R held", "W held", "AW held"]
        + [f"strobes {strobes:04b}" for strobes in range(16)]
    )
    bench = Bench(dut, rng)
    channels = Channels(bench)
    await start(dut)
    for aw_gaps, w_gaps, stalls in (
        (0.0, 0.0, 0.0), (0.8, 0.0, 0.3), (0.0, 0.8, 0.3), (0.5, 0.5, 0.9), (0.2, 0.2, 0.5),
    ):  # fmt: skip
        channels.aw.gaps, channels.w.gaps, channels.ar.gaps = aw_gaps, w_gaps, aw_gaps
        channels.b.stalls = channels.r.stalls = stalls
        expected = []
        for _ in range(80):
            address, data = rng.randrange(BLOCK.size), rng.getrandbits(32)
            strobes = rng.randrange(16)
            coverage.hit(f"strobes {strobes:04b}")
            channels.aw.send({"addr": address})
            channels.w.send({"data": data, "strb": strobes})
            expected.append({"resp": bench.model.write(address, data, strobes)})
        assert await channels.b.take(len(expected)) == expected
        bench.check_members()
        expected = []
        for _ in range(40):
            address = rng.randrange(BLOCK.size)
            channels.ar.send({"addr": address})
            data, response = bench.model.read(address)
            expected.append({"data": data, "resp": response})
        assert await channels.r.take(len(expected)) == expected
    for aw, w in zip(channels.aw.sent, channels.w.sent, strict=True):
        coverage.hit("AW before W", aw < w)
        coverage.hit("AW with W", aw == w)
        coverage.hit("AW after W", aw > w)
    for name in ("b", "r", "w", "aw"):
        coverage.hit(f"{name.upper()} held", bench.contracts[name].held)
    await bench.check_rest()
    channels.b.check_empty()
    channels.r.check_empty()
    coverage.check()


@cocotb.test(**LIMIT)
async def reads_and_writes_at_once(dut):
    """A write and a read every two cycles, at the same time; a read shows an answered write."""
    rng = generator(3)
    bench = Bench(dut, rng)
    channels = Channels(bench)
    await start(dut)
    offset = BLOCK["word"].offset
    count = 60
    words = [rng.getrandbits(32) for _ in range(count)]
    for word in words:
        bench.model.write(offset, word, 15)
        channels.aw.send({"addr": offset})
        channels.w.send({"data": word, "strb": 15})
        channels.ar.send({"addr": offset})
    await channels.b.take(count)
    found = [item["data"] for item in await channels.r.take(count)]
    for sink, name in ((channels.b, "writes"), (channels.r, "reads")):
        apart = {after - before for before, after in zip(sink.taken, sink.taken[1:], strict=False)}
        assert apart == {2}, f"{name} are answered {apart} cycles apart"
    assert channels.b.taken[0] - channels.w.sent[0] == 2, "the first answer is late"
    # Each read lies between two of the writes, and none goes back.
    places = [words.index(word) if word else -1 for word in found]
    assert places == sorted(places)
    assert places[-1] >= count - 2
    await bench.check_rest()


@cocotb.test(**LIMIT)
async def set_wins_over_clear(dut):
    """In whichever cycle hardware sets a bit, software's clear does not swallow it."""
    rng = generator(4)
    coverage = Coverage(["set before clear", "set with clear", "set after clear"])
    bench = Bench(dut, rng)
    channels = Channels(bench)
    await start(dut)
    event = BLOCK["event"]
    for delay in range(6):
        # All bits set, then cleared, with bit 0 set once more around the clear.
        dut.event_set.value = WORD
        await RisingEdge(dut.aclk)
        dut.event_set.value = 0
        channels.aw.send({"addr": event.offset})
        channels.w.send({"data": WORD, "strb": 15})
        await ClockCycles(dut.aclk, delay)
        dut.event_set.value = 1
        await FallingEdge(dut.aclk)
        before = dut.event.value.to_unsigned() == used(event)
        await RisingEdge(dut.aclk)
        dut.event_set.value = 0
        await FallingEdge(dut.aclk)
        after = dut.event.value.to_unsigned()
        await channels.b.take(1)
        await FallingEdge(dut.aclk)
        final = dut.event.value.to_unsigned()
        # The clear happened before, in or after the cycle in which the bit was set.
        assert final == (0 if after == used(event) else 1), f"delay {delay}: {final:#x}"
        coverage.hit("set before clear", after == used(event))
        coverage.hit("set with clear", before and after == 1)
        coverage.hit("set after clear", not before)
        bench.model.values[event.offset] = final
    channels.ar.send({"addr": event.offset})
    assert await channels.r.take(1) == [{"data": final, "resp": 0}]
    await bench.check_rest()
    coverage.check()


@cocotb.test(**LIMIT)
async def reset_in_an_access(dut):
    """A reset forgets what was under way and gives the registers their reset values."""
    rng = generator(5)
    bench = Bench(dut, rng)
    master = AxiLiteMaster(
        AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, dut.aresetn, reset_active_level=False
    )
    await start(dut)
    await within(100, "a write", master.write_dword(BLOCK["word"].offset, 0x1234_5678))
    master.write_if.b_channel.pause = True
    cocotb.start_soon(master.write_dword(BLOCK["setting"].offset, 0))
    await ClockCycles(dut.aclk, 10)
    dut.aresetn.value = 0
    await ClockCycles(dut.aclk, 3)
    assert not dut.s_axi_bvalid.value
    assert not dut.s_axi_rvalid.value
    master.write_if.b_channel.pause = False
    dut.aresetn.value = 1
    await ClockCycles(dut.aclk, 20)
    bench.check_members()
    for name in ("word", "setting", "event"):
        found = await within(100, "a read", master.read_dword(BLOCK[name].offset))
        assert found == BLOCK[name].reset, f"{name} is {found:#x} after a reset"

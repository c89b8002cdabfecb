"""The ingress parser, with Packet.from_bytes as the judge of every frame."""

import random
from collections import Counter

import cocotb
from cocotb.triggers import FallingEdge

from cocotb_tests.common import timing
from cocotb_tests.common.coverage import Coverage
from cocotb_tests.common.streams import Stream, StreamContract, StreamSink, StreamSource
from cocotb_tests.switch.frames import beats, good_packet, spoil, verdict
from cocotb_tests.switch.ingress_design import PARSERS
from eyas.interfaces.switch.config import WORD_BYTES
from eyas.interfaces.switch.packet import (
    HEADER_BYTES,
    PACKET,
    Lanes,
    Packet,
    PacketFault,
    PacketKind,
)
from hdl.switch.ingress.parser import IngressParser
from hdl.switch.layouts import packet_layout

FAULTS = [*(fault.name for fault in PacketFault), "JOB"]


class Bench:
    """Sends frames, reads what comes out as the row engine does, and checks both."""

    def __init__(self, dut, name: str, gaps: float = 0.0, stalls: float = 0.0):
        self.dut, self.name, self.config = dut, f"parser_{name}", PARSERS[name]
        self.rng = timing.generator()
        self.stalls = stalls
        self.source = StreamSource(Stream(dut, f"{self.name}__i"), self.rng, gaps)
        output = Stream(dut, f"{self.name}__o")
        self.contract = StreamContract(output, self.rng)
        self.sink = StreamSink(output, self.rng, stalls)
        self.layout = packet_layout(self.config)
        self.expected: list[tuple[bytes, Packet]] = []
        self.faults: Counter[str] = Counter()
        self.expected_faults: Counter[str] = Counter()
        self.port("release").value = 0
        cocotb.start_soon(self._watch_faults())
        cocotb.start_soon(self._take())

    headers = IngressParser.headers

    def port(self, member: str):
        return getattr(self.dut, f"{self.name}__{member}")

    def send(self, frame: bytes) -> object:
        """Queue a frame and what is to become of it; return that."""
        judged = verdict(frame, self.config)
        if isinstance(judged, Packet):
            self.expected.append((frame[: HEADER_BYTES + len(judged.payload)], judged))
        else:
            self.expected_faults[FAULTS[judged]] += 1
        self.source.send(*beats(frame, self.rng))
        return judged

    async def finish(self) -> None:
        await self.source.drained(400_000)
        clock = self.dut.aclk
        await timing.until(clock, lambda: not self.expected, "all packets", 400_000)
        for _ in range(20):
            await FallingEdge(clock)
        assert self.faults == self.expected_faults, f"{self.faults}, not {self.expected_faults}"
        assert self.port("idle").value == 1, "not idle with nothing to do"

    async def _watch_faults(self) -> None:
        while True:
            await FallingEdge(self.dut.aclk)
            if self.port("fault").value:
                self.faults[FAULTS[int(self.port("fault_code").value)]] += 1

    async def _take(self) -> None:
        """Take packets in order; read and release their payloads, sometimes late."""
        clock = self.dut.aclk
        while True:
            await FallingEdge(clock)
            if not self.sink.items:
                continue
            item = self.layout.from_bits(self.sink.items.popleft())
            assert self.expected, "a packet came that nobody expected"
            frame, packet = self.expected[0]
            header = item.header.as_bits().to_bytes(HEADER_BYTES, "little")
            assert header == frame[:HEADER_BYTES], f"{header.hex()} came, not {packet}"
            count = -(-len(packet.payload) // WORD_BYTES)
            payload = bytearray()
            for beat in range(count):
                self.port("read_address").value = (item.start + beat) % self.config.ingress_beats
                await FallingEdge(clock)
                payload += int(self.port("read_data").value).to_bytes(WORD_BYTES, "little")
            expected = packet.payload + bytes(len(payload) - len(packet.payload))
            assert payload == expected, f"another payload came with {packet}"
            while self.rng.random() < self.stalls:
                await FallingEdge(clock)
            self.port("release").value = 1
            self.port("release_beats").value = count
            await FallingEdge(clock)
            self.port("release").value = 0
            self.expected.pop(0)


async def begin(dut, name: str, gaps: float = 0.0, stalls: float = 0.0) -> Bench:
    bench = Bench(dut, name, gaps, stalls)  # quiet inputs first
    await timing.start(dut)
    await FallingEdge(dut.aclk)
    return bench


def random_frame(rng: random.Random, config) -> bytes:
    """Good packets, each fault, padding, garbage."""
    frame = good_packet(rng, config).to_bytes()
    kind = rng.randrange(12)
    if kind < 7:
        frame = spoil(rng, frame, list(PacketFault)[kind])
    elif kind == 7:
        frame += rng.randbytes(rng.randrange(1, 80))
    elif kind == 8:
        frame = rng.randbytes(rng.randrange(1, 1100))
    elif kind == 9 and config.jobs < 32:
        frame = good_packet(rng, config, job=config.jobs + rng.randrange(4)).to_bytes()
    elif kind == 9:
        frame = good_packet(rng, config, job=rng.randrange(config.jobs, 256)).to_bytes()
    return frame


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(
    name=list(PARSERS), pace=[(0.0, 0.0), (0.4, 0.1), (0.0, 0.9)],
)  # fmt: skip
async def random_frames(dut, name, pace):
    """Every frame becomes what Packet.from_bytes says."""
    bench = await begin(dut, name, *pace)
    coverage = Coverage([*FAULTS, *(kind.name for kind in PacketKind)])
    for _ in range(300 if name == "small" else 120):
        judged = bench.send(random_frame(bench.rng, bench.config))
        coverage.hit(judged.kind.name if isinstance(judged, Packet) else FAULTS[judged])
    await bench.finish()
    coverage.check()


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=list(PARSERS), kind=[PacketKind.ANSWER, PacketKind.QUERY])
async def full(dut, name, kind):
    """With nobody to take packets, payloads or headers fill up; beats wait, and none is lost."""
    bench = await begin(dut, name, stalls=1.0)
    config = bench.config
    lanes = Lanes.UINT8
    fields = {"coordinates": config.slot_bytes} if kind is PacketKind.ANSWER else {}
    beats_each = HEADER_BYTES // 8 + (config.payload_beats if fields else 0)
    for _ in range(40):
        bench.send(good_packet(bench.rng, config, kind=kind, lanes=lanes, **fields).to_bytes())
    for _ in range(40 * beats_each + 100):
        await FallingEdge(dut.aclk)
    assert bench.port("i__ready").value == 0, "beats are taken with no room for them"
    taken = len(bench.source.sent) // beats_each
    room = config.ingress_beats // config.payload_beats if fields else bench.headers - 4
    assert taken >= room - 1, f"room for {room} packets, {taken} were taken"
    bench.stalls = bench.sink.stalls = 0.0
    await bench.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=list(PARSERS))
async def truncated_at_every_length(dut, name):
    """A packet cut anywhere is TRUNCATED, and the next one is whole."""
    bench = await begin(dut, name)
    packet = good_packet(
        bench.rng, bench.config, kind=PacketKind.DATA, lanes=Lanes.UINT8, coordinates=31
    )
    frame = packet.to_bytes()
    for length in range(1, len(frame)):
        bench.send(frame[:length])
        bench.send(frame)
    for length in range(1, 33):
        bench.send(frame[:length])
    await bench.finish()
    assert bench.faults == {"TRUNCATED": len(frame) - 1 + 32}


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def every_bit_of_a_header(dut):
    """Each bit flipped, with the old checksum and with a right one."""
    bench = await begin(dut, "default")
    for kind in (PacketKind.DATA, PacketKind.RESULT, PacketKind.QUERY):
        frame = good_packet(
            bench.rng, bench.config, kind=kind, lanes=Lanes.UINT8, coordinates=9
        ).to_bytes()
        for bit in range(8 * HEADER_BYTES):
            whole = int.from_bytes(frame, "little") ^ 1 << bit
            changed = whole.to_bytes(len(frame), "little")
            bench.send(changed)
            if bit < PACKET.offsets["checksum"]:
                bench.send(spoil_nothing(changed))
    await bench.finish()


def spoil_nothing(frame: bytes) -> bytes:
    """The frame with the checksum that belongs to it."""
    from zlib import crc32

    size = int.from_bytes(frame[24:32], "little") >> 20 & 0xFFF
    bare = frame[:28] + bytes(4) + frame[32:]
    return frame[:28] + crc32(bare[: 32 + size]).to_bytes(4, "little") + frame[32:]


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def longer_than_any_packet(dut):
    """What lies behind a packet is taken and dropped, whatever its length."""
    bench = await begin(dut, "small")
    for extra in (1, 7, 8, 9, 64, 2000):
        for kind in (PacketKind.DATA, PacketKind.BYE):
            frame = good_packet(bench.rng, bench.config, kind=kind).to_bytes()
            bench.send(frame + bench.rng.randbytes(extra))
    await bench.finish()
    assert not bench.faults


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(payload=[0, 1, 512, 1024])
async def a_beat_a_cycle(dut, payload):
    """Back to back no beat waits; a packet is out 6 cycles after its last beat."""
    bench = await begin(dut, "default")
    shape = {
        0: {"kind": PacketKind.QUERY},
        1: {"kind": PacketKind.DATA, "lanes": Lanes.UINT8, "coordinates": 2},
        512: {"kind": PacketKind.DATA, "lanes": Lanes.UINT8, "coordinates": 1024},
        1024: {"kind": PacketKind.DATA, "lanes": Lanes.INT32, "coordinates": 256},
    }[payload]
    for _ in range(6):
        bench.send(good_packet(bench.rng, bench.config, **shape).to_bytes())
    ends = len(bench.source._items) // 6
    await bench.finish()
    sent = bench.source.sent
    assert sent[-1] - sent[0] == len(sent) - 1, "a beat had to wait"
    assert bench.sink.taken[0] - sent[ends - 1] == 6, bench.sink.taken[0] - sent[ends - 1]


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def reset_in_a_frame(dut):
    """What a reset cuts off leaves no trace."""
    bench = await begin(dut, "default")
    for beats_before in (1, 3, 4, 5, 20, 36):
        frame = good_packet(
            bench.rng, bench.config, kind=PacketKind.DATA, lanes=Lanes.UINT8, coordinates=1024
        ).to_bytes()
        bench.source.send(*beats(frame, bench.rng)[:beats_before])
        await bench.source.drained()
        dut.aresetn.value = 0
        for _ in range(3):
            await FallingEdge(dut.aclk)
        dut.aresetn.value = 1
        for _ in range(3):
            bench.send(good_packet(bench.rng, bench.config).to_bytes())
        await bench.finish()
    assert not bench.faults

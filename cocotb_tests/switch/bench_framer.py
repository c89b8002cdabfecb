"""The framer: rows become packets with their checksum, whatever the gaps and stalls."""

import random
import zlib

import cocotb
from cocotb.triggers import FallingEdge

from cocotb_tests.common import timing
from cocotb_tests.common.coverage import Coverage
from cocotb_tests.common.streams import Stream, StreamContract, StreamSink, StreamSource
from cocotb_tests.switch.frames import good_packet
from cocotb_tests.switch.ingress_design import FRAMER
from eyas.interfaces.switch.config import ROW_BYTES
from eyas.interfaces.switch.packet import HEADER_BYTES, Packet, PacketKind

BINS = ("bare", "one byte", "whole last word", "whole last row", "longest")


def rows(packet: bytes, rng: random.Random) -> list[int]:
    """The packet as the switch lets it out: checksum 0, noise behind its last byte."""
    header = packet[:28] + bytes(4)
    payload = packet[HEADER_BYTES:]
    payload += rng.randbytes(-len(payload) % ROW_BYTES)
    parts = [header, *(payload[i : i + ROW_BYTES] for i in range(0, len(payload), ROW_BYTES))]
    return [
        int.from_bytes(part, "little") | (i == 0) << 256 | (i == len(parts) - 1) << 257
        for i, part in enumerate(parts)
    ]


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(pace=[(0.0, 0.0), (0.5, 0.1), (0.0, 0.6)], patient=[False, True])
async def random_packets(dut, pace, patient):
    """Packets as they are to stand in memory, and their sizes."""
    rng = timing.generator()
    gaps, stalls = pace
    streams = {name: Stream(dut, f"framer__{name}") for name in ("i", "o", "sizes")}
    source = StreamSource(streams["i"], rng, gaps)
    words = StreamSink(streams["o"], rng, stalls, patient=patient)
    sizes = StreamSink(streams["sizes"], rng, stalls)
    StreamContract(streams["o"], rng)
    StreamContract(streams["sizes"], rng)
    await timing.start(dut)
    await FallingEdge(dut.aclk)
    coverage = Coverage(BINS)
    for _ in range(60):
        packet = good_packet(rng, FRAMER)
        if rng.random() < 0.3 and packet.kind is PacketKind.DATA:
            packet = good_packet(rng, FRAMER, kind=PacketKind.DATA, coordinates=1)
        frame = packet.to_bytes()
        size = len(packet.payload)
        coverage.hit("bare", not size)
        coverage.hit("one byte", size % 8 == 1)
        coverage.hit("whole last word", size and size % 8 == 0)
        coverage.hit("whole last row", size and size % ROW_BYTES == 0)
        coverage.hit("longest", size == FRAMER.slot_bytes)
        source.send(*rows(frame, rng))
        count = -(-len(frame) // 8)
        seen = await words.take(count)
        whole = b"".join((word & (1 << 64) - 1).to_bytes(8, "little") for word in seen)
        assert whole == frame + bytes(-len(frame) % 8), f"{whole.hex()} came, not {packet}"
        assert [word >> 64 for word in seen] == [*[0] * (count - 1), 1], "the end is elsewhere"
        assert await sizes.take(1) == [count]
        assert Packet.from_bytes(whole) == packet
        assert zlib.crc32(whole[:28] + bytes(4) + frame[32:]) == int.from_bytes(
            whole[28:32], "little"
        )
    for _ in range(20):
        await FallingEdge(dut.aclk)
    words.check_empty()
    sizes.check_empty()
    assert dut.framer__idle.value == 1, "not idle with nothing to do"
    coverage.check()


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(kind=[PacketKind.QUERY, PacketKind.DATA, PacketKind.RESULT])
async def a_word_a_cycle(dut, kind):
    """Packets back to back come out back to back."""
    rng = timing.generator()
    streams = {name: Stream(dut, f"framer__{name}") for name in ("i", "o", "sizes")}
    source = StreamSource(streams["i"], rng)
    words = StreamSink(streams["o"], rng)
    StreamSink(streams["sizes"], rng)
    await timing.start(dut)
    await FallingEdge(dut.aclk)
    total = 0
    for _ in range(30):
        frame = good_packet(rng, FRAMER, kind=kind).to_bytes()
        total += -(-len(frame) // 8)
        source.send(*rows(frame, rng))
    await words.take(total)
    waited = words.taken[-1] - words.taken[0] + 1 - total
    # A short packet's sum is known later than it could leave; longer ones make up for it.
    assert waited <= (60 if kind is PacketKind.DATA else 20), f"{waited} cycles without a word"

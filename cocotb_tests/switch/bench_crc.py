"""CRC-32 against zlib's: every length of the tail, gaps, messages back to back."""

import random
import zlib

import cocotb
from cocotb.triggers import FallingEdge

from cocotb_tests.common import timing
from hdl.parts.crc32 import Crc32, ZeroBytes


def beats(message: bytes) -> list[int]:
    """The message in words, zeros behind it."""
    filled = message + bytes(-len(message) % 8)
    return [int.from_bytes(filled[i : i + 8], "little") for i in range(0, len(filled), 8)]


async def crc_of(dut, message: bytes, rng: random.Random, gaps: float) -> int:
    """Send a message, take its zeros off, return its CRC."""
    words = beats(message)
    for number, word in enumerate(words):
        while rng.random() < gaps:
            dut.crc__valid.value = 0
            dut.crc__data.value = rng.getrandbits(64)
            dut.crc__first.value = rng.getrandbits(1)
            await FallingEdge(dut.aclk)
        dut.crc__valid.value = 1
        dut.crc__data.value = word
        dut.crc__first.value = number == 0
        await FallingEdge(dut.aclk)
    dut.crc__valid.value = 0
    for _ in range(Crc32.latency - 1):
        await FallingEdge(dut.aclk)
    dut.zeros__state.value = dut.crc__state.value
    dut.zeros__count.value = -len(message) % 8
    for _ in range(ZeroBytes.latency):
        await FallingEdge(dut.aclk)
        dut.zeros__state.value = rng.getrandbits(32)
        dut.zeros__count.value = rng.getrandbits(3)
    return int(dut.zeros__o.value) ^ 0xFFFF_FFFF


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(gaps=[0.0, 0.4])
async def random_messages(dut, gaps):
    """Lengths 1 to 64, and random longer ones."""
    rng = timing.generator()
    await timing.start(dut)
    await FallingEdge(dut.aclk)
    for length in [*range(1, 65), *(rng.randrange(65, 1100) for _ in range(40))]:
        message = rng.randbytes(length)
        seen = await crc_of(dut, message, rng, gaps)
        expected = zlib.crc32(message)
        assert seen == expected, f"{length} bytes: {seen:#x}, not {expected:#x}"


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def states_a_cycle(dut):
    """A state a cycle through the tail, each with zeros of its own."""
    rng = timing.generator()
    await timing.start(dut)
    await FallingEdge(dut.aclk)
    expected = []
    for number in range(200):
        message = rng.randbytes(rng.randrange(1, 24))
        filled = message + bytes(-len(message) % 8)
        dut.zeros__state.value = zlib.crc32(filled) ^ 0xFFFF_FFFF
        dut.zeros__count.value = len(filled) - len(message)
        expected.append(zlib.crc32(message) ^ 0xFFFF_FFFF)
        await FallingEdge(dut.aclk)
        if number >= ZeroBytes.latency - 1:
            seen, right = int(dut.zeros__o.value), expected[number - ZeroBytes.latency + 1]
            assert seen == right, f"state {number}: {seen:#x}, not {right:#x}"

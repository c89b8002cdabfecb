"""Clock, reset and waiting with a name."""

import random
from collections.abc import Callable, Coroutine

import cocotb
from cocotb.clock import Clock
from cocotb.simtime import get_sim_time
from cocotb.triggers import ClockCycles, FallingEdge, SimTimeoutError, with_timeout

__all__ = ["PERIOD", "cycle", "generator", "start", "until", "within"]

PERIOD = 10
"""Nanoseconds."""


def cycle() -> int:
    """Cycles since the simulation's start."""
    return int(get_sim_time("ns") // PERIOD)


def generator(seed: int = 0) -> random.Random:
    """Random numbers from the run's seed, which cocotb prints, and ``seed``, printed here."""
    cocotb.log.info("seed %d of run %d", seed, cocotb.RANDOM_SEED)
    return random.Random(f"{cocotb.RANDOM_SEED} {seed}")


async def start(dut) -> None:
    """Start the clock ``aclk`` and hold ``aresetn`` for a few cycles, all other inputs low."""
    Clock(dut.aclk, PERIOD, unit="ns").start()
    dut.aresetn.value = 0
    await ClockCycles(dut.aclk, 4)
    dut.aresetn.value = 1
    await ClockCycles(dut.aclk, 2)


async def within(cycles: int, what: str, work: Coroutine) -> object:
    """Await ``work``; AssertionError that names ``what`` when it takes more than ``cycles``."""
    try:
        return await with_timeout(cocotb.start_soon(work), cycles * PERIOD, "ns")
    except SimTimeoutError:
        raise AssertionError(f"waited {cycles} cycles for {what}") from None


async def until(clock, condition: Callable[[], object], what: str, cycles: int = 20_000) -> None:
    """Wait for a falling edge at which ``condition()`` holds, as :func:`within`."""

    async def wait():
        while not condition():
            await FallingEdge(clock)

    await within(cycles, what, wait())

"""Bench of an overlay inside the PS7: its work over AXI3 ends as the bare overlay's does."""

import os

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles

from cocotb_tests.common.axi3 import Axi3Master, Axi3Memory
from cocotb_tests.common.coverage import Coverage
from cocotb_tests.common.timing import cycle, generator, start, until
from cocotb_tests.pynq_z2.scenarios import DRAM, GUARD, SCENARIOS, Scenario
from eyas.interfaces.overlays import REGISTER_BASE

LIMIT = {"timeout_time": 5, "timeout_unit": "ms"}
BUSY = 150_000
"""Cycles that no wait takes."""


class Software:
    """A scenario's register accesses over GP0."""

    def __init__(self, dut, master: Axi3Master, work: Scenario):
        self._dut = dut
        self._master = master
        self._registers = work.registers
        self._causes = work.causes

    async def write(self, name: str, **fields: int) -> None:
        register = self._registers[name]
        answer = await self._master.write(REGISTER_BASE + register.offset, register.pack(fields))
        assert answer == 0, f"writing {name} was answered {answer}"

    async def read(self, name: str) -> dict[str, int]:
        register = self._registers[name]
        ((word, answer),) = await self._master.read(REGISTER_BASE + register.offset)
        assert answer == 0, f"reading {name} was answered {answer}"
        return register.unpack(word)

    async def run(self, step) -> None:
        kind, what, *more = step
        if kind == "write":
            await self.write(what, **more[0])
        elif kind == "wait":
            await until(self._dut.aclk, lambda: self._dut.interrupt.value, what, BUSY)
            found = await self.read("interrupt_status")
            assert found == self._causes, f"waiting for {what}: {found}"
            await self.write("interrupt_status", **dict.fromkeys(found, 1))
            await ClockCycles(self._dut.aclk, 2)
            assert not self._dut.interrupt.value, "the interrupt stays"
        else:
            for _ in range(100):
                found = await self.read(what)
                if found.items() >= more[0].items():
                    return
            raise AssertionError(f"{what} stays {found}, not {more[0]}")


@cocotb.test(**LIMIT)
async def same_bits_as_the_bare_overlay(dut):
    """Random delays on every channel; memory and registers end as the bare overlay's."""
    coverage = Coverage([f"{channel} of 16 beats" for channel in ("ar", "aw")])
    work = SCENARIOS[os.environ["SCENARIO"]]()
    plain = np.load(os.environ["PLAIN"])
    rng = generator()
    memory = Axi3Memory(dut, "hp0", rng, DRAM, bytearray(work.memory), gaps=0.2, latency=40)
    master = Axi3Master(dut, "gp0", rng, gaps=0.2)
    await start(dut)
    software = Software(dut, master, work)
    for step in work.steps:
        await software.run(step)
    dut._log.info("%s is done after %d cycles", work.overlay, cycle())
    # A burst over registers and holes; beats with and without an error.
    words = await master.read(REGISTER_BASE, 16)
    assert words == [tuple(map(int, item)) for item in plain["registers"]], f"registers: {words}"
    await ClockCycles(dut.aclk, 100)
    master.check_rest()
    memory.check_rest()
    found = np.frombuffer(bytes(memory.data), np.uint8).copy()
    expected = plain["memory"].copy()
    for part in work.results:
        assert (expected[part.start : part.stop] != GUARD).any(), f"nothing was written to {part}"
    for part in work.cycles:
        found[part.start : part.stop] = expected[part.start : part.stop] = 0
    wrong = np.flatnonzero(found != expected)
    assert not len(wrong), f"{len(wrong)} bytes differ, first at {DRAM + int(wrong[0]):#x}"
    for channel, lengths in memory.lengths.items():
        coverage.hit(f"{channel} of 16 beats", max(lengths) == 16)
    coverage.check()


@cocotb.test(**LIMIT)
async def a_bus_error_is_reported(dut):
    """SLVERR on a read through HP0 ends the first job with an error and an interrupt."""
    work = SCENARIOS[os.environ["SCENARIO"]]()
    rng = generator(1)
    memory = Axi3Memory(dut, "hp0", rng, DRAM, bytearray(work.memory), latency=10)
    memory.faults.append((range(len(work.memory)), 2))
    master = Axi3Master(dut, "gp0", rng)
    await start(dut)
    software = Software(dut, master, work)
    for step in work.steps:
        if step[0] == "wait":
            break
        await software.run(step)
    await until(dut.aclk, lambda: dut.interrupt.value, "the error's interrupt", BUSY)
    assert (await software.read("error"))["code"] == 1, "the error is not BUS_SLAVE"
    await ClockCycles(dut.aclk, 200)
    memory.check_rest()

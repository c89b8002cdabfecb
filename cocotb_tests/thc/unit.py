"""What the benches of the THC units share."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from cocotb_tests.common import timing

__all__ = ["Unit", "generator", "start"]


def generator() -> np.random.Generator:
    """Random numbers from the run's seed, which cocotb prints."""
    return np.random.default_rng(cocotb.RANDOM_SEED)


class Unit:
    """One of the design's units: its ports by the names of its members, and ``clk``."""

    def __init__(self, dut, name: str):
        self._dut = dut
        self._name = name
        self.clk = dut.aclk

    def __getattr__(self, member: str):
        return getattr(self._dut, f"{self._name}__{member}")


async def start(dut, name: str) -> Unit:
    """Start the clock and reset; afterwards it is a falling edge. Return the unit ``name``."""
    await timing.start(dut)
    await FallingEdge(dut.aclk)
    return Unit(dut, name)

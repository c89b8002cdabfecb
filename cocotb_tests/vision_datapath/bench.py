"""What the benches of the datapath share.

The units have no back-pressure: what goes in comes out a fixed number of cycles later.  Benches
drive and look at falling edges, half a cycle away from every register.
"""

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from cocotb_tests.common.timing import PERIOD, cycle

__all__ = ["Monitor", "Unit", "generator", "pack", "start", "unpack"]


def generator() -> np.random.Generator:
    """Random numbers from the run's seed, which cocotb prints."""
    return np.random.default_rng(cocotb.RANDOM_SEED)


def pack(values: np.ndarray, dtype: str) -> int:
    """The array as the port that carries it flat, its first element lowest."""
    return int.from_bytes(np.ascontiguousarray(values, dtype=dtype).tobytes(), "little")


def unpack(handle, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array that a flat port carries."""
    size = np.dtype(dtype).itemsize * int(np.prod(shape))
    return np.frombuffer(handle.value.to_unsigned().to_bytes(size, "little"), dtype).reshape(shape)


class Unit:
    """One of the design's units: its ports by the names of its members, and ``clk``."""

    def __init__(self, dut, name: str):
        self._dut = dut
        self._name = name
        self.clk = dut.clk

    def __getattr__(self, member: str):
        return getattr(self._dut, f"{self._name}__{member}")


async def start(dut, name: str) -> Unit:
    """Start the clock and reset; afterwards it is a falling edge. Return the unit ``name``."""
    unit = Unit(dut, name)
    unit.valid.value = 0
    dut.rst.value = 1
    Clock(dut.clk, PERIOD, unit="ns").start()
    for _ in range(4):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    await FallingEdge(dut.clk)
    return unit


class Monitor:
    """Compares a unit's strobe and output with what is due, in every cycle.

    Parameters
    ----------
    unit : Unit
        Has a ``strobe``.
    latency : int
        Cycles from an input to its result.
    output : callable
        Returns the output as it stands.
    holds : bool
        Whether the output stays between results; else it means nothing there.
    """

    def __init__(self, unit: Unit, latency: int, output, *, holds: bool):
        self._unit = unit
        self._latency = latency
        self._output = output
        self._holds = holds
        self._due: dict[int, tuple[np.ndarray, bool]] = {}
        self._standing: np.ndarray | None = None
        self.strobes = 0
        """Strobes seen, each with the right output."""
        self._task = cocotb.start_soon(self._run())

    def expect(self, values: np.ndarray, *, strobe: bool = True) -> None:
        """What is driven now gives ``values``, ``latency`` cycles from now."""
        self._due[cycle() + self._latency] = np.array(values), strobe

    async def _run(self) -> None:
        while True:
            await FallingEdge(self._unit.clk)
            now = cycle()
            expected, strobe = self._due.pop(now, (self._standing, False))
            seen = bool(self._unit.strobe.value)
            assert seen == strobe, f"cycle {now}: the strobe is {seen:d}, not {strobe:d}"
            if expected is not None:
                actual = self._output()
                assert (actual == expected).all(), (
                    f"cycle {now}: {actual.tolist()}, not {expected.tolist()}"
                )
            self.strobes += strobe
            if self._holds:
                self._standing = expected

    async def finish(self) -> None:
        """See everything that is due come out, and nothing more."""
        self._unit.valid.value = 0
        for _ in range(3 * self._latency):
            await FallingEdge(self._unit.clk)
        assert not self._due, f"{len(self._due)} results are missing"
        assert self.strobes, "nothing was compared"
        self._task.cancel()

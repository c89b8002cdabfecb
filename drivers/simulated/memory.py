"""How fast the simulated board's memory answers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

__all__ = ["INFINITE", "PYNQ_Z2", "MemoryModel"]


@dataclass(frozen=True)
class MemoryModel:
    """Latency and bandwidth of a memory that one 64-bit AXI port reaches; it answers in order.

    The port itself moves at most one beat a cycle each way.

    Parameters
    ----------
    read_latency : int
        Cycles from a read's address to its first beat, at least 1. Reads under way overlap.
    write_latency : int
        Cycles from a write's last beat to its response, at least 1.
    beats_per_cycle : Fraction or None
        Bandwidth that reads and writes share, in 64-bit beats; None for no limit but the port's.
    outstanding : int
        Reads, and writes, that the memory keeps open before it takes no further address.
    """

    read_latency: int = 1
    write_latency: int = 1
    beats_per_cycle: Fraction | None = None
    outstanding: int = 8

    def __post_init__(self) -> None:
        for name in ("read_latency", "write_latency", "outstanding"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be an integer, not {value!r}")
            if not 1 <= value <= 1_000_000:
                raise ValueError(f"{name} must be from 1 to 1,000,000, not {value}")
        if self.beats_per_cycle is not None:
            rate = Fraction(self.beats_per_cycle).limit_denominator(1024)
            if not 0 < rate <= 1024:
                raise ValueError(
                    f"beats_per_cycle must be from 1/1024 to 1024, or None for no limit, "
                    f"not {self.beats_per_cycle}"
                )
            object.__setattr__(self, "beats_per_cycle", rate)

    def with_changes(self, **changes: Any) -> MemoryModel:
        """Return the model with the named parameters changed."""
        return replace(self, **changes)

    @staticmethod
    def pynq_z2(clock_hz: float = 100e6) -> MemoryModel:
        """Return the PYNQ-Z2's DRAM as one HP port sees it, at an overlay clock of ``clock_hz``.

        16 bits × 1050 MT/s are 2.1 GB/s, of which 75 % can be reached: 1.575 GB/s, reads and writes
        together. At 100 MHz that is 63/32 beats a cycle, so that a port that only reads, or only
        writes, is bound by its own beat a cycle (0.8 GB/s). Latency is assumed, not measured:
        300 ns for a read, 200 ns for a write, 8 bursts open.
        """
        if not 0 < clock_hz < math.inf:
            raise ValueError(f"A clock must have a positive frequency, not {clock_hz}")
        return MemoryModel(
            read_latency=math.ceil(300e-9 * clock_hz),
            write_latency=math.ceil(200e-9 * clock_hz),
            beats_per_cycle=Fraction(0.75 * 2.1e9 / 8 / clock_hz),
        )


PYNQ_Z2 = MemoryModel.pynq_z2()
"""The default: the PYNQ-Z2's DRAM at 100 MHz: latency 30 and 20 cycles, 63/32 beats a cycle."""

INFINITE = MemoryModel()
"""The fastest that the bus allows: a beat a cycle each way, a cycle's latency."""

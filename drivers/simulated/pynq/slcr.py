"""As much of a Zynq-7000's system-level control registers as PYNQ and our board use."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["SLCR", "SLCR_SIZE", "SystemRegisters"]

SLCR, SLCR_SIZE = 0xF800_0000, 0x1000
"""Address and size, in bytes."""
CRYSTAL_HZ = 50e6
"""The PYNQ-Z2's."""
_ARM_PLL, _DDR_PLL, _IO_PLL, _ARM_CLOCK = 0x100, 0x104, 0x108, 0x120
_FCLK0, _FCLK_STEP, _FCLK_COUNT, _RESET = 0x170, 0x10, 4, 0x240


class SystemRegisters:
    """PLLs, clocks and resets as the boot loader leaves them; the rest reads as 0.

    Parameters
    ----------
    reset : callable
        Called when FCLK_RESET0 goes from 0 to 1.
    set_clock : callable
        Called with the frequency of FCLK0 in Hz, when it was written.
    """

    def __init__(self, reset: Callable[[], None], set_clock: Callable[[float], None]) -> None:
        self._reset = reset
        self._set_clock = set_clock
        self._words = {
            _ARM_PLL: 26 << 12,  # 1300 MHz
            _DDR_PLL: 21 << 12,
            _IO_PLL: 20 << 12,  # 1000 MHz
            _ARM_CLOCK: 0x1F00_0200,  # 650 MHz
        }
        for index in range(_FCLK_COUNT):
            self._words[_FCLK0 + index * _FCLK_STEP] = 1 << 20 | 10 << 8

    @property
    def fclk0_hz(self) -> float:
        """FCLK0: the PLL that its source field names, through both divisors (0 divides by 1)."""
        control = self._words[_FCLK0]
        pll = {2: _ARM_PLL, 3: _DDR_PLL}.get(control >> 4 & 3, _IO_PLL)
        divisor = max(control >> 8 & 0x3F, 1) * max(control >> 20 & 0x3F, 1)
        return CRYSTAL_HZ * (self._words[pll] >> 12 & 0x7F) / divisor

    def read(self, offset: int) -> int:
        """The word at byte ``offset``."""
        return self._words.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Write the word at byte ``offset``; what it means happens at once."""
        before = self.read(offset)
        self._words[offset] = value
        if offset == _RESET and value & ~before & 1:
            self._reset()
        elif offset == _FCLK0:
            self._set_clock(self.fclk0_hz)

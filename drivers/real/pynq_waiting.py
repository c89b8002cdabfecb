"""Waiting for an overlay behind PYNQ: the board's time, and its interrupt.

PYNQ itself is given by the caller.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from typing import Any, Protocol

from eyas.interfaces.overlays import OverlayDescription

__all__ = ["Clock", "InterruptLine", "find_clock", "find_interrupt"]

INTERRUPT_ID = 61
"""Number of IRQ_F2P[0] at the processor's interrupt controller."""
INTERRUPT_SLICE_S = 0.05
"""How long an interrupt is waited for before the overlay's status is looked at: what a lost
interrupt costs."""
POLL_S = 50e-6
"""Between two looks at the status where there is no interrupt to wait for."""


class Clock(Protocol):
    """The board's time: on a simulated board it passes only while somebody waits."""

    def now(self) -> float:
        """Seconds since some moment."""

    def sleep(self, seconds: float) -> None:
        """Let time pass; at most ``seconds``."""


class _WallClock:
    now = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)


class _RemoteClock:
    """A remote board's own uptime: the network's delay is no time of the board's."""

    def __init__(self, device: Any) -> None:
        self._device = device

    def now(self) -> float:
        return float(self._device.read_file("/proc/uptime").split()[0])

    sleep = staticmethod(time.sleep)


def find_clock(device: Any) -> Clock:
    """Return the clock of a device of PYNQ: the device's own where it has one."""
    if hasattr(device, "clock"):
        clock: Clock = device.clock
        return clock
    return _RemoteClock(device) if device.has_capability("REMOTE") else _WallClock()


def find_interrupt(pynq: Any, device: Any, overlay: OverlayDescription) -> Any:
    """Return PYNQ's Interrupt of the overlay; None where there is none, as on a remote board.

    PYNQ itself lists only the pins behind an interrupt controller, of which one source has no need:
    the pin is added to the device's list.
    """
    if device.has_capability("REMOTE"):
        return None
    name = overlay.interrupt_pin
    device.interrupt_pins[name] = {
        "controller": "", "index": 0, "raw_irq": INTERRUPT_ID, "fullpath": name,
    }  # fmt: skip
    try:
        return pynq.Interrupt(name)
    except (ValueError, OSError, RuntimeError):
        return None  # no such line in the device tree, no right to it, or no event loop


class InterruptLine:
    """Waits for the overlay, by its interrupt where that can be had.

    Parameters
    ----------
    interrupt : pynq.Interrupt or None
        Awaited in the thread that made this, to whose event loop PYNQ reports it, while that loop
        is not running.
    clock : Clock
        Sleeps in the other cases.
    """

    def __init__(self, interrupt: Any, clock: Clock) -> None:
        self._interrupt = interrupt
        self._clock = clock
        self._thread = threading.get_ident()

    def wait_a_while(self) -> bool | None:
        """Return when the interrupt comes, or after a while; then the overlay is to be looked at.

        So neither a lost interrupt nor one that came before can mislead.  Tells whether it came;
        None where there is none to wait for.
        """
        mine = self._interrupt is not None and threading.get_ident() == self._thread
        loop = _idle_loop() if mine else None
        if loop is None:
            self._clock.sleep(POLL_S)
            return None
        try:
            loop.run_until_complete(asyncio.wait_for(self._interrupt.wait(), INTERRUPT_SLICE_S))
        except asyncio.TimeoutError:
            return False
        except RuntimeError:
            self._interrupt = None  # another overlay was loaded meanwhile: go on by looking
            return None
        return True


def _idle_loop() -> asyncio.AbstractEventLoop | None:
    """This thread's event loop, to which PYNQ's interrupts report; None while it runs (Jupyter)."""
    with suppress(RuntimeError):
        loop = asyncio.get_event_loop_policy().get_event_loop()
        if not (loop.is_running() or loop.is_closed()):
            return loop
    return None

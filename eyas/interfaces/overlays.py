"""The overlays: what a board, its hardware description and its drivers must agree on."""

from __future__ import annotations

from dataclasses import dataclass

from eyas.interfaces.fields import RegisterBlock
from eyas.interfaces.switch.registers import SWITCH_REGISTERS
from eyas.interfaces.thc.registers import THC_REGISTERS
from eyas.interfaces.vision.registers import VISION_REGISTERS

__all__ = [
    "CLOCK_HZ",
    "INTERRUPT_NUMBER",
    "OVERLAYS",
    "REGISTER_BASE",
    "OverlayDescription",
]


REGISTER_BASE = 0x4000_0000
"""Physical address of an overlay's registers: the first that GP0 reaches."""
CLOCK_HZ = 100_000_000
"""Frequency that the processing system's FCLK0 is asked for, in Hz; no evidence that it closes."""
INTERRUPT_NUMBER = 61
"""What the ARM's interrupt controller calls IRQ_F2P[0], to which an overlay's interrupt goes."""


@dataclass(frozen=True)
class OverlayDescription:
    """One overlay as software sees it.

    Attributes
    ----------
    name : str
        The overlay, its Verilog module and its files: ``vision`` makes ``vision.bit``.
    registers : RegisterBlock
        Its registers, at :data:`REGISTER_BASE`.
    """

    name: str
    registers: RegisterBlock

    @property
    def instance(self) -> str:
        """Name under which PYNQ finds the driver: ``Overlay("vision.bit").vision_0``."""
        return f"{self.name}_0"

    @property
    def interrupt_pin(self) -> str:
        """Name of the interrupt in PYNQ: ``vision_0/interrupt``.

        PYNQ 3.0 to 4.0 list only pins behind an AXI interrupt controller, of which one source has
        no need; the driver adds this one.
        """
        return f"{self.instance}/interrupt"

    @property
    def vlnv(self) -> str:
        """Vendor, library, name and version, by which PYNQ binds a driver to the overlay."""
        version = self.registers["version"]
        resets = {field.name: field.reset for field in version.fields}
        return f"eyas:overlay:{self.name}:{resets['major']}.{resets['minor']}"


OVERLAYS = {
    overlay.name: overlay
    for overlay in (
        OverlayDescription("vision", VISION_REGISTERS),
        OverlayDescription("thc", THC_REGISTERS),
        OverlayDescription("switch", SWITCH_REGISTERS),
    )
}
"""Every overlay by name."""

# mypy: disallow_untyped_defs=False, disallow_subclassing_any=False, disallow_untyped_calls=False
# Amaranth has no types.
"""The PYNQ-Z2 as an Amaranth platform."""

from typing import ClassVar

from amaranth.build import Attrs, Clock, Pins, Resource
from amaranth.vendor import XilinxPlatform

__all__ = ["PynqZ2Platform"]

_LVCMOS33 = Attrs(IOSTANDARD="LVCMOS33")


class PynqZ2Platform(XilinxPlatform):
    """TUL's PYNQ-Z2: a Zynq xc7z020 in a clg400 package, speed grade 1.

    Our overlays use none of its pins: clock, reset and memory come from the processing system.
    The 125 MHz clock of the Ethernet chip (``clk125``) and the four LEDs above the buttons
    (``led``, 0 to 3) are here for designs of your own.
    """

    device = "xc7z020"
    package = "clg400"
    speed = "1"
    default_clk = "clk125"
    resources: ClassVar = [
        Resource("clk125", 0, Pins("H16", dir="i"), Clock(125e6), _LVCMOS33),
        *(
            Resource("led", number, Pins(pin, dir="o"), _LVCMOS33)
            for number, pin in enumerate(("R14", "P14", "N16", "M14"))
        ),
    ]
    connectors: ClassVar[list[object]] = []

    @property
    def part(self):
        """The chip as Vivado names it."""
        return f"{self.device}{self.package}-{self.speed}"

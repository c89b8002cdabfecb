"""CRC, parser and framer, side by side in one design: one build for all benches."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from eyas.interfaces.switch.config import DEFAULT_SWITCH, SwitchConfig
from hdl.parts.crc32 import Crc32, ZeroBytes
from hdl.switch.ingress.parser import IngressParser
from hdl.switch.out.framer import Framer

__all__ = ["FRAMER", "OVERLAY", "PARSERS", "IngressUnits"]

PARSERS = {
    "default": DEFAULT_SWITCH,
    "small": SwitchConfig(slots=2, slot_bytes=32, jobs=2, ingress_beats=8, egress_rows=4),
}
"""Configurations of the parser by name."""
FRAMER = SwitchConfig(slots=2, slot_bytes=64, jobs=2, ingress_beats=16, egress_rows=8)
"""Configuration of the framer."""
OVERLAY = SwitchConfig(slots=4, slot_bytes=128, jobs=4, ingress_beats=64, egress_rows=16)
"""Configuration of the whole overlay."""


class IngressUnits(wiring.Component):
    """The units; ports are named ``UNIT__MEMBER``."""

    def __init__(self):
        self.units = {"crc": Crc32(), "zeros": ZeroBytes(), "framer": Framer(FRAMER)}
        self.units |= {f"parser_{name}": IngressParser(c) for name, c in PARSERS.items()}
        super().__init__({name: Out(unit.signature) for name, unit in self.units.items()})

    def elaborate(self, platform):
        m = Module()
        for name, unit in self.units.items():
            m.submodules[name] = unit
            wiring.connect(m, unit, wiring.flipped(getattr(self, name)))
        return m

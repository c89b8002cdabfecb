"""The row engine in two shapes, side by side in one design."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from eyas.interfaces.switch.config import SwitchConfig
from hdl.switch.rows.row_engine import RowEngine

__all__ = ["ENGINES", "RowUnits"]

ENGINES = {
    "full": SwitchConfig(slots=4, jobs=4, ingress_beats=512, egress_rows=128),
    "small": SwitchConfig(slots=2, slot_bytes=32, jobs=2, ingress_beats=16, egress_rows=4),
}
"""Configurations by name."""


class RowUnits(wiring.Component):
    """The engines; ports are named ``SHAPE__MEMBER``."""

    def __init__(self):
        self.units = {name: RowEngine(config) for name, config in ENGINES.items()}
        super().__init__({name: Out(unit.signature) for name, unit in self.units.items()})

    def elaborate(self, platform):
        m = Module()
        for name, unit in self.units.items():
            m.submodules[name] = unit
            wiring.connect(m, unit, wiring.flipped(getattr(self, name)))
        return m

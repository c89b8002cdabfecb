"""The units in several shapes, side by side in one design: one build for all benches."""

import os

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from eyas.interfaces.thc.config import ThcConfig
from hdl.thc.encode.encoder import Encoder
from hdl.thc.lanes.lookup_lanes import LookupLanes

__all__ = ["ENCODERS", "LANES", "ThcUnits"]

_SHAPES = {
    "default": (
        {
            "64_4": ThcConfig(),
            "128_3": ThcConfig(width=128, index_bits=3, slots=4, slot_bytes=256, jobs=8),
        },
        {"4": ThcConfig()},
    ),
    "more": (
        {
            "64_2": ThcConfig(index_bits=2, slots=2, slot_bytes=256, jobs=4),
            "256_4": ThcConfig(width=256, slots=2),
        },
        {"2": ThcConfig(index_bits=2)},
    ),
}

LANES, ENCODERS = _SHAPES[os.environ.get("THC_SHAPES", "default")]
"""Configurations of the lookup lanes, by width and index bits, and of the encoder, by index bits;
``THC_SHAPES=more`` in the environment chooses those that take longer to build."""


class ThcUnits(wiring.Component):
    """The units in their shapes; ports are named ``UNIT_SHAPE__MEMBER``."""

    def __init__(self):
        self.units = {f"lanes_{name}": LookupLanes(config) for name, config in LANES.items()}
        self.units |= {f"encoder_{name}": Encoder(config) for name, config in ENCODERS.items()}
        super().__init__({name: Out(unit.signature) for name, unit in self.units.items()})

    def elaborate(self, platform):
        m = Module()
        for name, unit in self.units.items():
            m.submodules[name] = unit
            wiring.connect(m, unit, wiring.flipped(getattr(self, name)))
        return m

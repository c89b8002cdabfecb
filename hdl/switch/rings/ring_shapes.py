"""Shapes of what the rings count and address, from the registers that hold it."""

from amaranth.hdl import Shape
from amaranth.lib import data

from eyas.interfaces.switch.registers import RING_LOG2, SWITCH_REGISTERS
from hdl.parts.layout import field_shape

__all__ = [
    "address_shape",
    "entries_shape",
    "index_shape",
    "mask_shape",
    "place_shape",
    "trouble_layout",
]

address_shape = field_shape(SWITCH_REGISTERS["ingress_base"], "address")
"""A byte address in DRAM."""

index_shape = field_shape(SWITCH_REGISTERS["ingress_doorbell"], "producer")
"""A ring index: how many descriptors or packets since the rings' start; it wraps."""

entries_shape = Shape.cast(range((1 << RING_LOG2[1]) + 1))
"""How many entries a ring has."""

place_shape = field_shape(SWITCH_REGISTERS["error"], "place")
"""A SwitchPlace."""

mask_shape = Shape(RING_LOG2[1])
"""The entries of a ring minus 1: the bits of an index that choose the entry."""

trouble_layout = data.StructLayout(
    {
        "code": field_shape(SWITCH_REGISTERS["error"], "code"),
        "index": field_shape(SWITCH_REGISTERS["error"], "index"),
        "address": field_shape(SWITCH_REGISTERS["error_address"], "address"),
    }
)
"""An error of a ring: SwitchCode, ring index and address."""

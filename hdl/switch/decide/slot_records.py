"""The record of each slot: whose sums it holds, and how far they are."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.packet import MAX_WORKERS, PACKET
from eyas.interfaces.switch.states import SlotState
from hdl.parts.layout import field_shape
from hdl.switch.layouts import lanes_shape, settings_layout, workers_shape

__all__ = ["SlotRecords", "key_layout", "slot_layout", "status_layout"]


def key_layout(config: SwitchConfig) -> data.StructLayout:
    """Whose sums a slot holds; changes only when another key takes the slot."""
    return data.StructLayout(
        {
            "job": ceil_log2(config.jobs),
            "epoch": field_shape(PACKET, "epoch"),
            "seq": field_shape(PACKET, "seq"),
            "lanes": lanes_shape,
            "coordinates": field_shape(PACKET, "coordinates"),
        }
    )


status_layout = data.StructLayout(
    {
        "state": range(len(SlotState)),
        "priority": field_shape(PACKET, "priority"),
        "bitmap": MAX_WORKERS,
        "count": workers_shape,
        "age": settings_layout["age_limit"].shape,
        "collisions": settings_layout["decay_after"].shape,
    }
)
"""How far a slot is; may change at every operation."""


def slot_layout(config: SwitchConfig) -> data.StructLayout:
    """A slot's record, as ``models.switch.golden.SlotRecord``."""
    return data.StructLayout({"key": key_layout(config), "status": status_layout})


class SlotRecords(wiring.Component):
    """The records, in two block RAMs.

    After a reset all are cleared, one a cycle; until then ``busy`` is set, and nothing may be read
    or written.  A record is not to be read in the cycle in which it is written.

    Parameters
    ----------
    config : SwitchConfig
        Slots.

    Members
    -------
    busy : Out(1)
        The records are being cleared.
    read : In(1)
        Reads the record of ``read_slot``.
    read_slot : In
    record : Out(slot_layout)
        From the next cycle on, until the next read.
    write_slot : In
    write_key, write_status : In(1)
        Sets that part of the record of ``write_slot`` to ``key``, ``status``.
    key : In(key_layout)
    status : In(status_layout)
    """

    def __init__(self, config: SwitchConfig):
        self.config = config
        slot = ceil_log2(config.slots)
        super().__init__(
            {
                "busy": Out(1, init=1),
                "read": In(1),
                "read_slot": In(slot),
                "record": Out(slot_layout(config)),
                "write_slot": In(slot),
                "write_key": In(1),
                "write_status": In(1),
                "key": In(key_layout(config)),
                "status": In(status_layout),
            }
        )

    def elaborate(self, platform):
        m = Module()

        cleared = Signal.like(self.write_slot)
        with m.If(self.busy):
            m.d.sync += cleared.eq(cleared + 1)
            with m.If(cleared == self.config.slots - 1):
                m.d.sync += self.busy.eq(0)

        for name in ("key", "status"):
            value = getattr(self, name)
            memory = Memory(shape=value.shape(), depth=self.config.slots, init=[])
            m.submodules[f"{name}_memory"] = memory
            read, write = memory.read_port(), memory.write_port()
            m.d.comb += [
                read.en.eq(self.read),
                read.addr.eq(self.read_slot),
                getattr(self.record, name).eq(read.data),
                write.en.eq(self.busy | getattr(self, f"write_{name}")),
                write.addr.eq(Mux(self.busy, cleared, self.write_slot)),
                write.data.eq(Mux(self.busy, 0, value)),
            ]

        return m

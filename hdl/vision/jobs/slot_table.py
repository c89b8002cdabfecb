"""What the front end remembers of the resident programs."""

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.vision.config import VisionConfig
from hdl.vision.job_layouts import slot_layout

__all__ = ["SlotTable"]


class SlotTable(wiring.Component):
    """One entry a program slot, in LUT RAM, each valid or not.

    Members
    -------
    slot : In
        Slot that the other members are about.
    entry : Out(slot_layout)
        The slot's entry, two cycles after ``slot`` changed.
    is_valid : Out(1)
        Whether it stands for a program; two cycles after ``slot`` changed.
    invalidate : In(1)
        Takes the slot's validity away.
    write : In(1)
        Sets the slot's entry to ``new`` and makes it valid.
    new : In(slot_layout)
        Entry to write.
    valid : Out(program_slots)
        Validity of each slot.
    """

    def __init__(self, config: VisionConfig):
        self.config = config
        super().__init__(
            {
                "slot": In(max(1, ceil_log2(config.program_slots))),
                "entry": Out(slot_layout(config)),
                "is_valid": Out(1),
                "invalidate": In(1),
                "write": In(1),
                "new": In(slot_layout(config)),
                "valid": Out(config.program_slots),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.entries = entries = memory.Memory(
            shape=slot_layout(self.config), depth=self.config.program_slots, init=[]
        )
        write = entries.write_port()
        # A read port without a clock keeps this small table out of block RAM.
        read = entries.read_port(domain="comb")
        slot = Signal.like(self.slot)
        m.d.sync += [
            slot.eq(self.slot),
            self.entry.eq(read.data),
            self.is_valid.eq(self.valid.bit_select(slot, 1)),
        ]
        m.d.comb += [
            write.en.eq(self.write),
            write.addr.eq(self.slot),
            write.data.eq(self.new),
            read.addr.eq(slot),
        ]
        with m.If(self.write):
            m.d.sync += self.valid.bit_select(self.slot, 1).eq(1)
        with m.Elif(self.invalidate):
            m.d.sync += self.valid.bit_select(self.slot, 1).eq(0)

        return m

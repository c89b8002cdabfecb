"""A block of registers behind AXI4-Lite, made from its description."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.fields import Access, RegisterBlock, Role
from hdl.parts.axi import AxiLite
from hdl.parts.axi_lite import AxiLiteSlave
from hdl.parts.layout import register_layout

__all__ = ["RegisterFile", "connect_counters", "connect_fixed"]


class RegisterFile(wiring.Component):
    """The registers of ``block``, each a member with its name and its fields.

    An access to an address without a register is answered DECERR and does nothing; a write to a
    read-only register is answered OKAY and does nothing; the lowest two address bits are ignored.
    Bits outside every field read as 0 and cannot be set.  A read is a snapshot of all 32 bits in
    one cycle.  Byte strobes choose the bytes that a write changes (RW) or clears (RW1C); in a W
    register bytes not strobed come as 0, and a write that strobes no byte is no write.
    Where software and hardware meet in one cycle: hardware's set wins over software's clear.

    Timing as :class:`hdl.parts.axi_lite.AxiLiteSlave`: a write shows in its member before its
    response is offered.

    Parameters
    ----------
    block : RegisterBlock
        Description; 8 bytes at least.

    Members
    -------
    bus : In(AxiLite(ceil_log2(block.size)))
        The bus.
    NAME : In(layout), for each register with access R
        Value that software reads.
    NAME : Out(layout), for each register with access RW or RW1C
        Value of the register.
    NAME_set : In(layout), for each register with access RW1C
        Bits to set in this cycle.
    NAME : Out(layout), for each register with access W
        Data written, valid while the strobe is high.
    NAME_strobe : Out(1), for each register with access W
        High in the one cycle of a write.
    """

    def __init__(self, block):
        if not isinstance(block, RegisterBlock):
            raise TypeError(f"Block must be a RegisterBlock, not {block!r}")
        self.block = block
        self.address_width = ceil_log2(block.size)

        members = {"bus": In(AxiLite(self.address_width))}

        def add(name, member):
            if name in members:
                raise ValueError(f"Two members of register file {block.name} are named {name}")
            members[name] = member

        for register in block.registers:
            layout = register_layout(register)
            reset = {field.name: field.reset for field in register.fields}
            if register.access == Access.R:
                add(register.name, In(layout))
            elif register.access == Access.W:
                add(register.name, Out(layout))
                add(f"{register.name}_strobe", Out(1))
            else:
                add(register.name, Out(layout, init=reset))
                if register.access == Access.RW1C:
                    add(f"{register.name}_set", In(layout))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()

        m.submodules.slave = slave = AxiLiteSlave(self.address_width)
        wiring.connect(m, wiring.flipped(self.bus), slave.bus)

        mask = Signal(32)
        masked = Signal(32)
        m.d.comb += [
            mask.eq(Cat(bit.replicate(8) for bit in slave.write_mask)),
            masked.eq(slave.write_data & mask),
        ]

        for register in self.block.registers:
            value = getattr(self, register.name).as_value()
            used = Const(_used_bits(register), 32)
            hit = Signal(name=f"{register.name}_hit")
            m.d.comb += hit.eq(slave.write_address == register.offset // 4)
            write = slave.write_strobe & hit

            if register.access == Access.W:
                strobe = getattr(self, f"{register.name}_strobe")
                m.d.comb += [value.eq(masked & used), strobe.eq(write & slave.write_mask.any())]
            elif register.access == Access.RW:
                with m.If(write):
                    m.d.sync += value.eq((value & ~mask | masked) & used)
            elif register.access == Access.RW1C:
                cleared = masked & write.replicate(32)
                set_bits = getattr(self, f"{register.name}_set").as_value()
                m.d.sync += value.eq((value & ~cleared | set_bits) & used)

        # Read and map from the same table, so that what is mapped is what can be read.
        with m.Switch(slave.read_address):
            for register in self.block.registers:
                with m.Case(register.offset // 4):
                    m.d.comb += slave.read_mapped.eq(1)
                    if register.access != Access.W:
                        value = getattr(self, register.name).as_value()
                        m.d.comb += slave.read_data.eq(value & _used_bits(register))
        with m.Switch(slave.write_address):
            for register in self.block.registers:
                with m.Case(register.offset // 4):
                    m.d.comb += slave.write_mapped.eq(1)

        return m


def connect_fixed(m, registers, config):
    """Drive the registers that say what was built: constants, and fields of the configuration.

    Parameters
    ----------
    m : Module
        Of the overlay.
    registers : RegisterFile
        Its registers.
    config : VisionConfig, ThcConfig or SwitchConfig
        Has an attribute with the name of each field of each CONFIGURATION register.  ValueError
        when the field does not hold it.
    """
    for register in registers.block.registers:
        member = getattr(registers, register.name)
        if register.role is Role.CONSTANT:
            m.d.comb += [member[field.name].eq(field.reset) for field in reversed(register.fields)]
        elif register.role is Role.CONFIGURATION:
            m.d.comb += [
                member[field.name].eq(field.encode(getattr(config, field.name)))
                for field in register.fields
            ]


def connect_counters(m, registers, *sources, names=None):
    """Drive COUNTER registers, each from the source that has a member of its name.

    Parameters
    ----------
    m : Module
        Of the overlay.
    registers : RegisterFile
        Its registers.
    sources : components, interfaces or mappings
        What counts.  ValueError for a counter that none of them has, or more than one.
    names : iterable of str or None
        The registers; ``None`` stands for all counters of the block.
    """
    names = registers.block.counters if names is None else tuple(names)
    owners = [
        (name, source)
        for source in sources
        for name in names
        if (name in source if isinstance(source, Mapping) else hasattr(source, name))
    ]
    for name in names:
        count = sum(name == owned for owned, _ in owners)
        if count != 1:
            raise ValueError(
                f"Counter {name} of {registers.block.name} has {count} sources; it needs one"
            )
    for name, source in owners:
        value = source[name] if isinstance(source, Mapping) else getattr(source, name)
        m.d.comb += getattr(registers, name).value.eq(value)


def _used_bits(register):
    return sum(
        ((1 << field.width) - 1) << register.offsets[field.name] for field in register.fields
    )

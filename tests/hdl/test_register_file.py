"""Registers that an overlay need not name: constants, what was built, and counters."""

from types import SimpleNamespace

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from eyas.interfaces.configs import CONFIGS
from eyas.interfaces.fields import Access, Field, Register, RegisterBlock, Role
from eyas.interfaces.register_parts import counter, identification
from eyas.interfaces.switch.registers import SWITCH_REGISTERS
from eyas.interfaces.thc.registers import THC_REGISTERS
from eyas.interfaces.vision.registers import VISION_REGISTERS
from hdl.parts.register_file import RegisterFile, connect_counters, connect_fixed

BLOCK = RegisterBlock(
    "tiny",
    64,
    "Some registers.",
    (
        *identification("tiny", 0x54415945, 3, 5),
        Register(
            "shape",
            0x08,
            Access.R,
            "What was built.",
            (Field("rows", 8, "rows"), Field("columns", 4, "columns")),
            Role.CONFIGURATION,
        ),
        counter("beats", 0x10, "Beats."),
        counter("waits", 0x14, "Waits."),
    ),
)


def test_constants_configuration_and_counters_are_driven_by_name():
    registers = RegisterFile(BLOCK)
    m = Module()
    m.submodules.registers = registers
    connect_fixed(m, registers, SimpleNamespace(rows=200, columns=9, depth=1))
    connect_counters(
        m, registers, SimpleNamespace(waits=Signal(32, init=7)), {"beats": Signal(32, init=1000)}
    )

    async def main(ctx):
        assert ctx.get(registers.identity).value == 0x54415945
        assert (ctx.get(registers.version).major, ctx.get(registers.version).minor) == (3, 5)
        assert (ctx.get(registers.shape).rows, ctx.get(registers.shape).columns) == (200, 9)
        assert (ctx.get(registers.beats).value, ctx.get(registers.waits).value) == (1000, 7)

    simulator = Simulator(m)
    simulator.add_clock(1e-8)
    simulator.add_testbench(main)
    simulator.run()


def test_a_configuration_that_its_register_does_not_hold_is_refused():
    with pytest.raises(ValueError, match="Field columns holds 0 to 15, not 16"):
        connect_fixed(Module(), RegisterFile(BLOCK), SimpleNamespace(rows=1, columns=16))


@pytest.mark.parametrize(
    ("sources", "count"), [(({"beats": 1},), 0), (({"beats": 1}, {"beats": 2, "waits": 3}), 2)]
)
def test_a_counter_has_one_source(sources, count):
    with pytest.raises(ValueError, match=f"of tiny has {count} sources; it needs one"):
        connect_counters(Module(), RegisterFile(BLOCK), *sources)


def test_a_register_that_software_writes_has_no_role():
    with pytest.raises(ValueError, match="level is a counter: its access must be R, not RW"):
        Register("level", 0, Access.RW, "Any.", (Field("value", 8, "any"),), Role.COUNTER)


def test_a_counter_has_the_one_field_value():
    with pytest.raises(ValueError, match="Counter level must have one field, named value"):
        Register("level", 0, Access.R, "Any.", (Field("count", 8, "any"),), Role.COUNTER)


@pytest.mark.parametrize("block", [VISION_REGISTERS, THC_REGISTERS, SWITCH_REGISTERS])
def test_every_overlay_says_what_it_is(block):
    constants = [item.name for item in block.registers if item.role is Role.CONSTANT]
    built = [item for item in block.registers if item.role is Role.CONFIGURATION]
    assert constants == ["identity", "version"]
    assert built
    for config in CONFIGS[block.name].values():
        for field in (field for item in built for field in item.fields):
            assert field.encode(getattr(config, field.name)) > 0

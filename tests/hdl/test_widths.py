"""A record's or register's field that is made wider loses no bits in the hardware behind it."""

import importlib
import re
from dataclasses import replace

import pytest
from amaranth.back import rtlil

from eyas import SMALL_VISION
from eyas.interfaces.fields import Record
from eyas.interfaces.switch.registers import RING_LOG2, SWITCH_REGISTERS
from eyas.interfaces.thc.registers import DESCRIPTOR, THC_REGISTERS
from eyas.interfaces.vision.isa import INSTRUCTION, PARAMETER
from hdl.switch.layouts import settings_layout
from hdl.switch.rings.ring_shapes import address_shape, entries_shape, index_shape, mask_shape
from hdl.thc.jobs.aggregate_job import aggregation_layout
from hdl.thc.jobs.job_table import limits_layout
from hdl.vision.datapath.drain import Drain
from hdl.vision.datapath.write_back import WriteBack
from hdl.vision.interfaces import parameter_layout
from hdl.vision.loops.depthwise_passes import DepthwisePasses
from hdl.vision.loops.passes import PassGenerator

LOOPS = {"groups_left": ("groups", 0), "tiles_left": ("tiles", 0)}
REGISTERS = {
    PassGenerator: LOOPS
    | {
        "cycles_left": ("group_cycles", 0),
        "passes_left": ("passes", 0),
        "columns_left": ("kernel_width", 0),
        "blocks_left": ("in_blocks", 0),
        "tap_step_q": ("tap_y_q", 0),
        "tap_y": ("kernel_height", 0),
        "tap_x": ("in_width", 1),
    },
    DepthwisePasses: LOOPS
    | {
        "columns_left": ("first_cycles", 0),
        "row_groups_left": ("row_groups", 0),
        "fill_left": ("first_fill", 0),
        "x": ("in_width", 1),
    },
    WriteBack: LOOPS
    | {
        "words_per_group": ("drain", 0),
        "words_left": ("drain", 0),
        "blocks_left": ("out_blocks", 2),
    },
    Drain: {"left": ("drain", 0), "groups_left": ("groups", 0)},
}
"""By component: its register, the field that it holds, and the bits that it has beyond that."""


def widened(record: Record, name: str, bits: int) -> Record:
    """``record`` with field ``name`` wider by ``bits``; the fields behind it move up."""
    start = [field.name for field in record.fields].index(name)
    fields = [
        replace(field, width=field.width + bits * (place == start))
        for place, field in enumerate(record.fields)
    ]
    return replace(record, width=record.width + 64, fields=tuple(fields))


@pytest.mark.parametrize("component", REGISTERS)
@pytest.mark.parametrize("bits", [0, 3])
def test_registers_of_a_loop_are_as_wide_as_their_fields(component, bits, monkeypatch):
    modules = (
        "hdl.vision.datapath.drain",
        "hdl.vision.datapath.write_back",
        "hdl.vision.loops.depthwise_passes",
        "hdl.vision.loops.passes",
    )
    for register, (name, more) in REGISTERS[component].items():
        record = widened(INSTRUCTION, name, bits)
        with monkeypatch.context() as patch:
            for module in modules:
                patch.setattr(importlib.import_module(module), "INSTRUCTION", record)
            text = rtlil.convert(component(SMALL_VISION))
        top = text.split("attribute \\top 1", 1)[1].split("\nend", 1)[0]
        width = int(re.search(rf"wire width (\d+) (?:signed )?\\{register}\n", top)[1])
        assert width == record.by_name[name].width + more, register


def test_parameters_in_memory_are_the_records_fields():
    shapes = {name: field.shape for name, field in parameter_layout}
    assert {name: (shape.width, shape.signed) for name, shape in shapes.items()} == {
        field.name: (field.width, field.signed) for field in PARAMETER.fields
    }


def test_the_switchs_settings_are_fields_of_its_registers():
    fields = SWITCH_REGISTERS["policy"].fields + SWITCH_REGISTERS["scan"].fields
    widths = {"scan_period" if f.name == "period" else f.name: f.width for f in fields}
    assert {name: field.shape.width for name, field in settings_layout} == widths


def test_the_rings_count_and_address_as_their_registers_do():
    index, address = index_shape.width, address_shape.width
    for register, field in (
        ("ingress_doorbell", "producer"),
        ("ingress", "producer"),
        ("ingress", "consumer"),
        ("egress_acknowledge", "consumer"),
        ("egress", "producer"),
        ("egress", "consumer"),
        ("error", "index"),
    ):
        assert SWITCH_REGISTERS[register].by_name[field].width == index, register
    for register in ("ingress_base", "egress_base", "window_base", "window_end", "error_address"):
        assert SWITCH_REGISTERS[register].by_name["address"].width == address, register
    most = 1 << RING_LOG2[1]
    assert (1 << mask_shape.width) == most < (1 << entries_shape.width)


def test_thcs_limits_and_jobs_are_fields_of_its_registers_and_descriptor():
    limits = THC_REGISTERS["job_limits"].by_name
    assert {name: field.shape.width for name, field in limits_layout} == {
        name: field.width for name, field in limits.items()
    }
    for name, field in aggregation_layout:
        if name != "wide":
            described = DESCRIPTOR.by_name["count" if name == "words" else name]
            assert field.shape.width == described.width, name

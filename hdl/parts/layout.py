"""Amaranth layouts of the records and registers described in :mod:`eyas.interfaces.fields`."""

from amaranth.hdl import Shape
from amaranth.lib import data

from eyas.interfaces.fields import Record, Register

__all__ = ["field_shape", "record_layout", "register_layout"]


def record_layout(record: Record) -> data.StructLayout:
    """Return the layout of ``record``, ``record.width`` bits wide.

    Each field stands at its offset and keeps its sign; gaps become fields ``_reserved0``,
    ``_reserved1``, … from the lowest up.
    """
    return _layout(record, record.width)


def register_layout(register: Register) -> data.StructLayout:
    """Return the 32-bit layout of ``register``, by the rules of :func:`record_layout`."""
    return _layout(register, 32)


def field_shape(described: Record | Register, name: str) -> Shape:
    """Return the width and sign of field ``name`` of a record or register.

    Whoever keeps a field's value takes its shape from here, so that a field that is made wider
    loses no bits on its way.
    """
    field = described.by_name[name]
    return Shape(field.width, signed=field.signed)


def _layout(described: Record | Register, width: int) -> data.StructLayout:
    members: dict[str, Shape] = {}
    position = gaps = 0

    def fill(end: int) -> None:
        nonlocal position, gaps
        if end > position:
            members[f"_reserved{gaps}"] = Shape(end - position)
            gaps += 1
            position = end

    for field in described.fields:
        fill(described.offsets[field.name])
        members[field.name] = field_shape(described, field.name)
        position += field.width
    fill(width)
    return data.StructLayout(members)

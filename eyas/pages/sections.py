"""Parts of the documentation pages: registers, records, enumerations, tables, as Markdown lines."""

import enum
import inspect
from collections.abc import Iterable

from eyas.interfaces.fields import Access, Field, Record, Register, RegisterBlock

__all__ = ["block_section", "enum_section", "record_section", "table"]

_ACCESS = {
    Access.R: "read only",
    Access.W: "write only, reads as 0",
    Access.RW: "read and write",
    Access.RW1C: "set by hardware, cleared by writing 1",
}


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> list[str]:
    """Lines of a table."""
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    # A vertical bar would end the cell.
    return [
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in lines
    ]


def _bits(offset: int, field: Field) -> str:
    last = offset + field.width - 1
    return f"{last}:{offset}" if last > offset else f"{offset}"


def _field_type(field: Field) -> str:
    return f"{'int' if field.signed else 'uint'}{field.width}"


def _register_section(register: Register) -> list[str]:
    # What hardware drives has no reset value of its own, unless it is a constant.
    driven = register.access in (Access.R, Access.W) and not any(
        field.reset for field in register.fields
    )
    header = ["bits", "field", "meaning"] if driven else ["bits", "field", "reset", "meaning"]
    rows = []
    for field in register.fields:
        row = [_bits(register.offsets[field.name], field), f"`{field.name}`", field.doc]
        if not driven:
            row.insert(2, f"{field.reset:#x}" if field.reset > 9 else str(field.reset))
        rows.append(row)
    return [
        f"### `{register.name}` at 0x{register.offset:03X}",
        "",
        f"{register.doc} *{_ACCESS[register.access].capitalize()}.*",
        "",
        *table(header, rows),
    ]


def block_section(block: RegisterBlock) -> list[str]:
    """Lines on a block: an overview of its registers, then each with its fields."""
    overview = (
        (f"0x{register.offset:03X}", f"[`{register.name}`](#{_anchor(register)})", access, text)
        for register in block.registers
        for access, text in [(register.access.value, register.doc)]
    )
    rules = (
        f"{block.size} bytes of address space, 32-bit registers, little-endian. A register's "
        "lowest two address bits are ignored; an address without a register is answered DECERR. "
        "Bits outside every field read as 0 and cannot be set. Where software and hardware meet "
        "in one cycle, hardware's set wins over software's clear, and software's write wins in a "
        "register that it owns."
    )
    lines = [block.doc, "", rules, ""]
    lines += table(["offset", "register", "access", "meaning"], overview)
    for register in block.registers:
        lines += ["", *_register_section(register)]
    return lines


def _anchor(register: Register) -> str:
    """The fragment that GitHub makes of the register's heading."""
    return f"{register.name}-at-0x{register.offset:03x}"


def record_section(record: Record) -> list[str]:
    """Lines on a record: each field with its 64-bit word and its bits in that word."""
    rows = []
    for field in record.fields:
        word, bit = divmod(record.offsets[field.name], 64)
        rows.append([word, _bits(bit, field), f"`{field.name}`", _field_type(field), field.doc])
    return [
        f"### {record.name.capitalize()}",
        "",
        f"{record.doc} {record.width // 8} bytes.",
        "",
        *table(["word", "bits", "field", "type", "meaning"], rows),
    ]


def enum_section(values: type[enum.IntEnum], texts: dict[str, str] | None = None) -> list[str]:
    """Lines on an enumeration: number, name, and the text where there is one."""
    texts = texts or {}
    header = ["value", "name", "meaning"] if texts else ["value", "name"]
    rows = [
        [item.value, f"`{item.name}`", *([texts[item.name]] if texts else [])] for item in values
    ]
    return [
        f"### `{values.__name__}`",
        "",
        inspect.cleandoc(values.__doc__ or "").replace("``", "`"),
        "",
        *table(header, rows),
    ]

"""Bit fields, records and registers described once, as data.

Everything that crosses a boundary between hardware and software (a register, an instruction, a
descriptor in DRAM) is a value of one of these classes.  The RTL derives its layout from it
(:func:`hdl.parts.layout.record_layout`), the drivers their constants and packers, the documentation
its tables.  Standard library only: a board imports this module.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

__all__ = ["Access", "Field", "Record", "Register", "RegisterBlock", "Role"]


@dataclass(frozen=True)
class Field:
    """One bit field.

    Parameters
    ----------
    name : str
        Identifier, lower case with underscores.
    width : int
        Bits, at least 1.
    doc : str
        One sentence: the meaning, with its unit.
    signed : bool
        Two's complement when true.
    offset : int or None
        Lowest bit. ``None`` places the field directly above the previous one.
    reset : int
        Value after reset (registers only).
    """

    name: str
    width: int
    doc: str
    signed: bool = False
    offset: int | None = None
    reset: int = 0

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"Field name must be an identifier, not {self.name!r}")
        if self.width < 1:
            raise ValueError(f"Width of field {self.name} must be at least 1 bit, not {self.width}")

    @property
    def minimum(self) -> int:
        """The least value the field holds."""
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def maximum(self) -> int:
        """The greatest value the field holds."""
        return (1 << (self.width - (1 if self.signed else 0))) - 1

    def encode(self, value: int) -> int:
        """Return ``value`` as an unsigned bit pattern; ValueError when it does not fit."""
        value = int(value)
        if not self.minimum <= value <= self.maximum:
            raise ValueError(
                f"Field {self.name} holds {self.minimum} to {self.maximum}, not {value}"
            )
        return value & ((1 << self.width) - 1)

    def decode(self, bits: int) -> int:
        """Return the value of the field's bit pattern ``bits``."""
        bits &= (1 << self.width) - 1
        if self.signed and bits >> (self.width - 1):
            bits -= 1 << self.width
        return bits


def _place(name: str, fields: Iterable[Field], width: int) -> dict[str, int]:
    offsets: dict[str, int] = {}
    position = 0
    for item in fields:
        if item.name in offsets:
            raise ValueError(f"{name} names field {item.name} twice")
        start = position if item.offset is None else item.offset
        if start < position:
            raise ValueError(f"{name}.{item.name} at bit {start} overlaps the field before it")
        offsets[item.name] = start
        position = start + item.width
    if position > width:
        raise ValueError(f"{name} needs {position} bits, has {width}")
    return offsets


@dataclass(frozen=True)
class Record:
    """A fixed-size group of bit fields, such as an instruction or a descriptor.

    Fields stand from bit 0 upwards; in DRAM a record is little-endian 64-bit words, so that bit
    64·k is bit 0 of word k.

    Parameters
    ----------
    name : str
        The record's name in the documentation.
    width : int
        Bits, a multiple of 64.
    fields : tuple of Field
        From the lowest bit up. Gaps are reserved and zero.
    doc : str
        What the record is for.
    """

    name: str
    width: int
    fields: tuple[Field, ...]
    doc: str

    def __post_init__(self) -> None:
        if self.width % 64:
            raise ValueError(f"Width of {self.name} must be a multiple of 64, not {self.width}")
        _ = self.offsets

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Field name to its lowest bit."""
        return _place(self.name, self.fields, self.width)

    @cached_property
    def by_name(self) -> dict[str, Field]:
        """Field name to field."""
        return {item.name: item for item in self.fields}

    @property
    def word_count(self) -> int:
        """Number of 64-bit words."""
        return self.width // 64

    def pack(self, values: Mapping[str, int] | None = None, **more: int) -> int:
        """Return the record as one integer; fields not named are 0.

        Raises ValueError for an unknown field or a value that does not fit.
        """
        values = {**(values or {}), **more}
        unknown = sorted(set(values) - set(self.by_name))
        if unknown:
            raise ValueError(f"{self.name} has no field {', '.join(unknown)}")
        return sum(
            self.by_name[name].encode(value) << self.offsets[name] for name, value in values.items()
        )

    def unpack(self, bits: int) -> dict[str, int]:
        """Return every field's value of the packed record ``bits``."""
        return {item.name: item.decode(bits >> self.offsets[item.name]) for item in self.fields}

    def pack_words(self, values: Mapping[str, int] | None = None, **more: int) -> list[int]:
        """Return the record as 64-bit words, lowest first."""
        bits = self.pack(values, **more)
        return [(bits >> (64 * i)) & 0xFFFF_FFFF_FFFF_FFFF for i in range(self.word_count)]

    def pack_bytes(self, values: Mapping[str, int] | None = None, **more: int) -> bytes:
        """Return the record as it stands in DRAM (``width // 8`` bytes, little-endian)."""
        return self.pack(values, **more).to_bytes(self.width // 8, "little")

    def unpack_bytes(self, data: bytes) -> dict[str, int]:
        """Return every field's value of the record at the start of ``data``.

        Raises ValueError when ``data`` is shorter than the record.
        """
        size = self.width // 8
        if len(data) < size:
            raise ValueError(f"{self.name} takes {size} bytes, got {len(data)}")
        return self.unpack(int.from_bytes(data[:size], "little"))


class Access(enum.Enum):
    """What software may do with a register, and what it does.

    When software and hardware touch a register in the same cycle: hardware's set wins over
    software's clear in RW1C; software's write wins in RW.
    """

    R = "R"
    """Read only: hardware drives the value. A write is answered OKAY and does nothing."""
    W = "W"
    """Write only: a write is a strobe with data, reads give 0."""
    RW = "RW"
    """Software owns the value; hardware reads it."""
    RW1C = "RW1C"
    """Hardware sets bits; software clears those it writes 1 to."""


class Role(enum.Enum):
    """Where the value of a register comes from that software only reads."""

    STATE = "state"
    """Logic of the overlay; every register that is none of the others."""
    CONSTANT = "constant"
    """It is always the reset values of its fields."""
    CONFIGURATION = "configuration"
    """Each field is the attribute of the same name of the configuration that was built."""
    COUNTER = "counter"
    """It counts in its one field, ``value``."""


@dataclass(frozen=True)
class Register:
    """One 32-bit register.

    Parameters
    ----------
    name : str
        Identifier, lower case.
    offset : int
        Byte offset within the block, a multiple of 4.
    access : Access
        What software may do.
    doc : str
        One or two sentences for the register page.
    fields : tuple of Field
        From bit 0 up. Bits outside every field read as 0.
    role : Role
        Where the value comes from; all but STATE have access R.
    """

    name: str
    offset: int
    access: Access
    doc: str
    fields: tuple[Field, ...]
    role: Role = Role.STATE

    def __post_init__(self) -> None:
        if self.role is not Role.STATE and self.access is not Access.R:
            raise ValueError(
                f"Register {self.name} is a {self.role.value}: its access must be R, "
                f"not {self.access.value}"
            )
        if self.role is Role.COUNTER and [item.name for item in self.fields] != ["value"]:
            raise ValueError(f"Counter {self.name} must have one field, named value")
        if self.offset % 4 or self.offset < 0:
            raise ValueError(f"Offset of register {self.name} must be a multiple of 4")
        _ = self.offsets

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Field name to its lowest bit."""
        return _place(self.name, self.fields, 32)

    @cached_property
    def by_name(self) -> dict[str, Field]:
        """Field name to field."""
        return {item.name: item for item in self.fields}

    @property
    def reset(self) -> int:
        """The register's value after reset."""
        return self.pack({item.name: item.reset for item in self.fields})

    def pack(self, values: Mapping[str, int] | None = None, **more: int) -> int:
        """Return the 32-bit word with the named fields set, all others 0."""
        values = {**(values or {}), **more}
        unknown = sorted(set(values) - set(self.by_name))
        if unknown:
            raise ValueError(f"Register {self.name} has no field {', '.join(unknown)}")
        return sum(
            self.by_name[name].encode(value) << self.offsets[name] for name, value in values.items()
        )

    def unpack(self, word: int) -> dict[str, int]:
        """Return every field's value in the 32-bit word ``word``."""
        return {item.name: item.decode(word >> self.offsets[item.name]) for item in self.fields}


@dataclass(frozen=True)
class RegisterBlock:
    """The registers of one overlay behind one AXI4-Lite slave.

    Parameters
    ----------
    name : str
        The overlay's name.
    size : int
        Bytes of address space, a power of two.
    doc : str
        What the block is for.
    registers : tuple of Register
        In order of offset.
    """

    name: str
    size: int
    doc: str
    registers: tuple[Register, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.size & (self.size - 1) or self.size < 4:
            raise ValueError(f"Size of {self.name} must be a power of two, not {self.size}")
        last = -4
        for register in self.registers:
            if register.offset <= last or register.offset + 4 > self.size:
                raise ValueError(f"Register {register.name} stands out of order or out of range")
            last = register.offset
        if len(self.by_name) != len(self.registers):
            raise ValueError(f"{self.name} names a register twice")

    @cached_property
    def by_name(self) -> dict[str, Register]:
        """Register name to register."""
        return {item.name: item for item in self.registers}

    @cached_property
    def counters(self) -> tuple[str, ...]:
        """Names of the registers that count, in order of offset."""
        return tuple(item.name for item in self.registers if item.role is Role.COUNTER)

    def __getitem__(self, name: str) -> Register:
        return self.by_name[name]

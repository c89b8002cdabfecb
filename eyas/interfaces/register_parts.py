"""What the registers of all overlays have in common. Standard library only."""

from __future__ import annotations

import enum

from eyas.interfaces.fields import Access, Field, Register, Role

__all__ = ["ExplainedCode", "counter", "identification", "table_entries"]


class ExplainedCode(enum.IntEnum):
    """Error codes; ``text`` is what a user reads, ``remedy`` what to do."""

    text: str
    remedy: str

    def __new__(cls, value: int, text: str, remedy: str) -> ExplainedCode:
        member = int.__new__(cls, value)
        member._value_ = value
        member.text = text
        member.remedy = remedy
        return member


def identification(
    overlay: str, identity: int, major: int, minor: int
) -> tuple[Register, Register]:
    """The first two registers of every overlay, at 0x00 and 0x04.

    Parameters
    ----------
    overlay : str
        What the overlay is called.
    identity : int
        Four letters, the first in the low byte.
    major, minor : int
        The version of registers and records; a driver refuses a major one that it does not know.
    """
    letters = identity.to_bytes(4, "little").decode()
    return (
        Register(
            "identity",
            0x00,
            Access.R,
            f"Tells an Eyas {overlay} overlay from anything else.",
            (Field("value", 32, f"0x{identity:08X}, '{letters}'", reset=identity),),
            Role.CONSTANT,
        ),
        Register(
            "version",
            0x04,
            Access.R,
            "A driver refuses a major version it does not know.",
            (
                Field("minor", 16, "raised at additions", reset=minor),
                Field("major", 16, "raised at incompatible changes", reset=major),
            ),
            Role.CONSTANT,
        ),
    )


def counter(name: str, offset: int, doc: str) -> Register:
    """A counter of 32 bits that wraps, with the one field ``value``."""
    value = Field("value", 32, "count, wraps at 2^32")
    return Register(name, offset, Access.R, doc, (value,), Role.COUNTER)


def table_entries(number: int, offset: int, doc: str) -> Register:
    """Register ``number`` of a THC table: four entries, a byte each, the first lowest."""
    first = 4 * number
    fields = tuple(Field(f"entry{first + i}", 8, f"T[{first + i}]") for i in range(4))
    return Register(f"table{number}", offset, Access.RW, doc, fields)

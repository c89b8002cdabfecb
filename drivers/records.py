"""Records in shared memory, read at the speed of :mod:`struct`."""

from __future__ import annotations

import struct
from typing import Any

from eyas.interfaces.fields import Record

__all__ = ["RecordReader"]

_FORMATS = {8: "B", 16: "H", 32: "I", 64: "Q"}


class RecordReader:
    """Reads some fields of a record again and again: what a driver does once a job.

    :meth:`eyas.interfaces.fields.Record.unpack_bytes` reads any field, some ten times slower.

    Parameters
    ----------
    record : Record
        What stands in memory.
    names : str
        Fields in the record's order, unsigned, of 8, 16, 32 or 64 bits on a byte's boundary.

    Raises
    ------
    ValueError
        For a field that this class cannot read, or one out of order.
    """

    def __init__(self, record: Record, *names: str) -> None:
        layout, position = "<", 0
        for name in names:
            field, start = record.by_name[name], record.offsets[name]
            if field.signed or start % 8 or field.width not in _FORMATS or start < position:
                raise ValueError(
                    f"Field {name} of {record.name} is signed, out of order or no whole bytes; "
                    f"read it with unpack_bytes"
                )
            layout += "x" * ((start - position) // 8) + _FORMATS[field.width]
            position = start + field.width
        self._unpack = struct.Struct(layout).unpack_from

    def read(self, memory: Any, offset: int = 0) -> tuple[int, ...]:
        """The fields of the record that begins at byte ``offset`` of ``memory`` (bytes, array)."""
        return self._unpack(memory, offset)

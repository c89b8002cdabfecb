"""The format of the service's streams: packets, and lines of JSON between them.

A packet (:mod:`eyas.interfaces.switch.packet`) begins with its magic number, a line with ``{``.
Lines are for what the packet format leaves to configuration: a worker introduces itself and its
job, the server accepts or refuses, and says later why a job ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from eyas.interfaces.switch.packet import HEADER_BYTES, PACKET, PACKET_MAGIC, Packet

__all__ = ["LONGEST_LINE", "Frames", "line"]

LONGEST_LINE = 4096
"""Bytes, the line's end included."""
_BRACE = b"{"
_MAGIC = PACKET_MAGIC.to_bytes(2, "little")


def line(content: Mapping[str, Any]) -> bytes:
    """A line as it goes over the socket."""
    return json.dumps(content).encode() + b"\n"


class Frames:
    """Cuts a stream of bytes into packets and lines."""

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def buffered_bytes(self) -> int:
        """Bytes that wait for the rest of their packet or line."""
        return len(self._data)

    def feed(self, data: bytes) -> Iterator[Packet | dict[str, Any]]:
        """All that is complete with ``data``; ValueError when the stream holds anything else.

        What is not taken from the iterator comes with the next call.
        """
        self._data += data
        while self._data:
            if self._data.startswith(_BRACE):
                size = self._data.find(b"\n", 0, LONGEST_LINE) + 1
                if not size:
                    if len(self._data) >= LONGEST_LINE:
                        raise ValueError(f"a line does not end within {LONGEST_LINE} bytes")
                    return
                frame: Packet | dict[str, Any] = _content(self._data[:size])
            else:
                if not self._data.startswith(_MAGIC[: len(self._data)]):
                    raise ValueError("the stream holds neither a packet nor a line")
                if len(self._data) < HEADER_BYTES:
                    return
                header = PACKET.unpack_bytes(bytes(self._data[:HEADER_BYTES]))
                size = HEADER_BYTES + header["length"]
                if len(self._data) < size:
                    return
                frame = Packet.from_bytes(self._data[:size])
            del self._data[:size]
            yield frame


def _content(data: bytes | bytearray) -> dict[str, Any]:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("a line of the stream is not JSON as this service writes it") from None

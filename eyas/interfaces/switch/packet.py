"""The aggregation packet: what workers, switch and server send each other.

A packet is a header of 32 bytes (:data:`PACKET`) and a payload of at most 1024.  A packet from a
worker carries packed indices (or, with int32 lanes, values); one from the switch or the server
carries sums, lane after lane, little-endian, first coordinate first.  The coordinates of a packet
are as many as make 1024 bytes of sums, or fewer in a tensor's last packet; indices of an odd number
of coordinates are padded with index 0.

The checksum is zlib's CRC-32 of header and payload, with the checksum's own four bytes taken as
zero.  Multi-byte fields are little-endian.

numpy and the standard library only: a board imports this module.
"""

from __future__ import annotations

import enum
import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eyas.interfaces.fields import Field, Record
from eyas.interfaces.switch.config import MAX_PAYLOAD_BYTES

__all__ = [
    "HEADER_BYTES",
    "MAX_PACKET_BYTES",
    "MAX_PAYLOAD_BYTES",
    "MAX_WORKERS",
    "PACKET",
    "PACKET_MAGIC",
    "PACKET_VERSION",
    "Lanes",
    "Packet",
    "PacketError",
    "PacketFault",
    "PacketKind",
]

PACKET_MAGIC = 0x4745
"""``EG`` in the first two bytes."""
PACKET_VERSION = 1
HEADER_BYTES = 32
MAX_PACKET_BYTES = HEADER_BYTES + MAX_PAYLOAD_BYTES
MAX_WORKERS = 32
"""Bits of the bitmap."""


class PacketKind(enum.IntEnum):
    """What a packet is for; the action of each in the switch, server and worker tables."""

    DATA = 1
    """A worker's contribution, sent once."""
    RESEND = 2
    """The same contribution again, after a timeout; a switch adds it under SWITCHML alone."""
    PARTIAL = 3
    """An incomplete sum that left the switch, for the server."""
    RESULT = 4
    """A complete sum, for the workers."""
    REMINDER = 5
    """The server asks the switch for what it holds of a key."""
    QUERY = 6
    """The server asks a worker whether it has a key's result."""
    ANSWER = 7
    """A copy of a result, for the server."""
    BYE = 8
    """A worker has all it needs."""
    BYE_ACK = 9
    """All workers have."""


class Lanes(enum.IntEnum):
    """How sums stand in a payload."""

    UINT8 = 0
    UINT16 = 1
    INT32 = 2

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """A lane's type, little-endian."""
        return np.dtype(("u1", "<u2", "<i4")[self])

    @property
    def coordinates(self) -> int:
        """Coordinates of a full packet."""
        return MAX_PAYLOAD_BYTES // self.dtype.itemsize


PACKET = Record(
    "aggregation packet header",
    8 * HEADER_BYTES,
    (
        Field("magic", 16, "PACKET_MAGIC"),
        Field("version", 4, "PACKET_VERSION"),
        Field("kind", 4, "PacketKind"),
        Field("job", 8, "training job"),
        Field("epoch", 8, "the job's configuration: raised whenever its table entry changes"),
        Field("worker", 8, "sender, or addressee of a QUERY: 0 to 31"),
        Field("priority", 8, "1 to 255, higher is more urgent; 0 only in a slot, by decay"),
        Field("lanes", 4, "Lanes"),
        Field("from_server", 1, "RESULT: the server made it, and needs no copy of it"),
        Field("seq", 32, "packet of the job's stream; a serial number that wraps", offset=64),
        Field("base", 32, "DATA, RESEND: the worker's lowest sequence number without a result"),
        Field("bitmap", 32, "workers whose contributions the payload holds"),
        Field("destinations", 32, "workers to which a RESULT goes"),
        Field("count", 8, "number of contributions in the payload: the bitmap's ones", offset=192),
        Field("coordinates", 12, "coordinates that the payload stands for"),
        Field("length", 12, "bytes of payload, 0 to 1024"),
        Field("checksum", 32, "CRC-32 of the packet with this field zero", offset=224),
    ),
    "Ahead of every payload.",
)

_CHECKSUM = slice(PACKET.offsets["checksum"] // 8, PACKET.offsets["checksum"] // 8 + 4)


class PacketFault(enum.Enum):
    """Why bytes are no packet, in the order of the checks; each has a counter."""

    TRUNCATED = "shorter than its header says, or than a header"
    FOREIGN = "another magic: not one of our packets"
    VERSION = "another version of the format"
    KIND = "an unknown kind or lane format"
    LENGTH = "a payload length that does not belong to its kind, lanes and coordinates"
    CHECKSUM = "a wrong checksum"
    BITMAP = "a worker beyond 31, or a bitmap that does not belong to its kind, worker and count"


class PacketError(ValueError):
    """Bytes that are no packet; ``fault`` says why."""

    def __init__(self, fault: PacketFault, size: int) -> None:
        super().__init__(f"{size} bytes are not an aggregation packet: {fault.value}")
        self.fault = fault


_WITH_INDICES = (PacketKind.DATA, PacketKind.RESEND)
_WITH_SUMS = (PacketKind.PARTIAL, PacketKind.RESULT, PacketKind.ANSWER)


@dataclass(frozen=True)
class Packet:
    """One packet; fields as in :data:`PACKET`.

    ``payload`` of DATA and RESEND: packed indices, two to a byte
    (:data:`eyas.interfaces.thc.formats.PACKING`), or int32 values where ``lanes`` is INT32.  Of
    PARTIAL, RESULT and ANSWER: sums.  Of the others: empty.
    """

    kind: PacketKind
    job: int
    epoch: int
    seq: int = 0
    worker: int = 0
    base: int = 0
    priority: int = 1
    lanes: Lanes = Lanes.UINT8
    bitmap: int = 0
    destinations: int = 0
    from_server: int = 0
    count: int = 0
    coordinates: int = 0
    payload: bytes = b""

    def to_bytes(self) -> bytes:
        """The packet on the wire; ValueError when a field does not fit, PacketError when the
        fields contradict each other."""
        fault = _contradiction(self)
        if fault is not None:
            raise PacketError(fault, HEADER_BYTES + len(self.payload))
        header = bytearray(
            PACKET.pack_bytes(
                magic=PACKET_MAGIC,
                version=PACKET_VERSION,
                length=len(self.payload),
                **{name: getattr(self, name) for name in _FIELDS},
            )
        )
        header[_CHECKSUM] = zlib.crc32(self.payload, zlib.crc32(header)).to_bytes(4, "little")
        return bytes(header) + self.payload

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> Packet:
        """The packet at the start of ``data``; PacketError when there is no valid one.

        Bytes behind the payload are ignored: rings in memory and Ethernet pad.
        """
        if len(data) < HEADER_BYTES:
            raise PacketError(PacketFault.TRUNCATED, len(data))
        header = bytearray(data[:HEADER_BYTES])
        fields = PACKET.unpack_bytes(bytes(header))
        if fields["magic"] != PACKET_MAGIC:
            raise PacketError(PacketFault.FOREIGN, len(data))
        if fields["version"] != PACKET_VERSION:
            raise PacketError(PacketFault.VERSION, len(data))
        try:
            kind, lanes = PacketKind(fields["kind"]), Lanes(fields["lanes"])
        except ValueError:
            raise PacketError(PacketFault.KIND, len(data)) from None
        size = fields["length"]
        if size > MAX_PAYLOAD_BYTES:
            raise PacketError(PacketFault.LENGTH, len(data))
        if len(data) < HEADER_BYTES + size:
            raise PacketError(PacketFault.TRUNCATED, len(data))
        payload = bytes(data[HEADER_BYTES : HEADER_BYTES + size])
        header[_CHECKSUM] = bytes(4)
        if zlib.crc32(payload, zlib.crc32(header)) != fields["checksum"]:
            raise PacketError(PacketFault.CHECKSUM, len(data))
        values: dict[str, Any] = {name: fields[name] for name in _FIELDS}
        values |= {"kind": kind, "lanes": lanes}
        packet = cls(**values, payload=payload)
        fault = _contradiction(packet)
        if fault is not None:
            raise PacketError(fault, len(data))
        return packet

    def sums(self) -> npt.NDArray[np.generic]:
        """The payload of a PARTIAL, RESULT or ANSWER: one value a coordinate."""
        return np.frombuffer(self.payload, self.lanes.dtype)

    def with_changes(self, **changes: Any) -> Packet:
        """The packet with the named fields changed."""
        return replace(self, **changes)


_FIELDS = tuple(
    item.name
    for item in PACKET.fields
    if item.name not in ("magic", "version", "length", "checksum")
)


def _contradiction(packet: Packet) -> PacketFault | None:
    """The first rule that the packet's fields break."""
    kind, coordinates, size = packet.kind, packet.coordinates, len(packet.payload)
    if kind in _WITH_INDICES and packet.lanes is not Lanes.INT32:
        expected = -(-coordinates // 2)
    elif kind in _WITH_INDICES or kind in _WITH_SUMS:
        expected = coordinates * packet.lanes.dtype.itemsize
    else:
        expected = coordinates = 0
    has_payload = kind in _WITH_INDICES or kind in _WITH_SUMS
    if (
        size != expected
        or packet.coordinates != coordinates
        or coordinates > packet.lanes.coordinates
        or has_payload != bool(coordinates)
    ):
        return PacketFault.LENGTH
    if packet.worker >= MAX_WORKERS:
        return PacketFault.BITMAP
    ones = bin(packet.bitmap).count("1")
    if kind in _WITH_INDICES:
        right = packet.bitmap == 1 << packet.worker and packet.count == 1
    elif kind in _WITH_SUMS:
        right = ones == packet.count > 0
    else:
        right = packet.bitmap == packet.count == 0
    return None if right else PacketFault.BITMAP

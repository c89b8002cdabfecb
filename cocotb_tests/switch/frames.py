"""Frames for the switch: good packets of every kind, and every way in which they are none."""

import random
import zlib

from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.packet import (
    HEADER_BYTES,
    MAX_WORKERS,
    PACKET,
    Lanes,
    Packet,
    PacketFault,
    PacketKind,
)

__all__ = ["beats", "good_packet", "spoil", "verdict"]

_INDICES = (PacketKind.DATA, PacketKind.RESEND)
_SUMS = (PacketKind.PARTIAL, PacketKind.RESULT, PacketKind.ANSWER)


def beats(frame: bytes, rng: random.Random) -> list[int]:
    """A frame as items of ``frame_layout``; noise where there are no bytes."""
    items = []
    for start in range(0, len(frame), 8):
        word = frame[start : start + 8]
        value = int.from_bytes(word + rng.randbytes(8 - len(word)), "little")
        items.append(value | len(word) << 64 | (start + 8 >= len(frame)) << 68)
    return items


def good_packet(rng: random.Random, config: SwitchConfig, **fixed) -> Packet:
    """A packet that the parser lets through, with whatever ``fixed`` says."""
    kind = fixed.pop("kind", None) or rng.choice(list(PacketKind))
    lanes = fixed.pop("lanes", None)
    lanes = rng.choice(list(Lanes)) if lanes is None else lanes
    most = config.slot_bytes // lanes.dtype.itemsize
    coordinates = rng.choice((1, 2, most, most - 1, rng.randint(1, most), rng.randint(1, most)))
    coordinates = fixed.pop("coordinates", coordinates)
    worker, bitmap = rng.randrange(MAX_WORKERS), rng.getrandbits(32)
    bitmap = rng.choice((bitmap, 0xFFFF_FFFF, 1 << worker, 1 << 31)) or 1
    if kind in _INDICES:
        bitmap = 1 << worker
    elif kind not in _SUMS:
        coordinates = bitmap = 0
    if kind in _INDICES and lanes is not Lanes.INT32:
        size = -(-coordinates // 2)
    else:
        size = coordinates * lanes.dtype.itemsize
    values = {
        "kind": kind,
        "job": rng.randrange(config.jobs),
        "epoch": rng.getrandbits(8),
        "seq": rng.getrandbits(32),
        "worker": worker,
        "base": rng.getrandbits(32),
        "priority": rng.getrandbits(8),
        "lanes": lanes,
        "bitmap": bitmap,
        "destinations": rng.getrandbits(32),
        "from_server": rng.getrandbits(1),
        "count": bin(bitmap).count("1"),
        "coordinates": coordinates,
        "payload": rng.randbytes(size),
    }
    return Packet(**(values | fixed))


def spoil(rng: random.Random, frame: bytes, fault: PacketFault) -> bytes:
    """The frame of a good packet, changed so that it may have ``fault``; :func:`verdict` tells."""
    changed = bytearray(frame)

    def put(name: str, value: int) -> None:
        whole = int.from_bytes(changed[:HEADER_BYTES], "little")
        width = next(field.width for field in PACKET.fields if field.name == name)
        mask = (1 << width) - 1 << PACKET.offsets[name]
        whole = whole & ~mask | (value << PACKET.offsets[name]) & mask
        changed[:HEADER_BYTES] = whole.to_bytes(HEADER_BYTES, "little")

    def bump(name: str) -> None:
        width = next(field.width for field in PACKET.fields if field.name == name)
        whole = int.from_bytes(changed[:HEADER_BYTES], "little")
        value = whole >> PACKET.offsets[name]
        put(name, rng.choice((value + 1, value - 1, value ^ 1 << rng.randrange(width))))

    if fault is PacketFault.TRUNCATED:
        return bytes(changed[: rng.randrange(1, len(changed))])
    if fault is PacketFault.FOREIGN:
        put("magic", rng.getrandbits(16))
    elif fault is PacketFault.VERSION:
        put("version", rng.getrandbits(4))
    elif fault is PacketFault.KIND:
        put(rng.choice(("kind", "lanes")), rng.getrandbits(4))
    elif fault is PacketFault.CHECKSUM:
        place = rng.randrange(len(changed))
        changed[place] ^= 1 << rng.randrange(8)
        return bytes(changed)
    elif fault is PacketFault.LENGTH:
        bump(rng.choice(("length", "coordinates", "kind", "lanes")))
    else:
        bump(rng.choice(("worker", "bitmap", "count", "kind")))
    # The checksum is right, so that the other rules are what is looked at.
    changed[28:32] = bytes(4)
    size = min(int.from_bytes(changed[24:32], "little") >> 20 & 0xFFF, len(changed) - 32)
    changed[28:32] = zlib.crc32(bytes(changed[: 32 + size])).to_bytes(4, "little")
    return bytes(changed)


def verdict(frame: bytes, config: SwitchConfig) -> Packet | int:
    """The packet, or the parser's fault code."""
    from eyas.interfaces.switch.packet import PacketError
    from hdl.switch.ingress.parser import FAULT_JOB

    order = list(PacketFault)
    try:
        packet = Packet.from_bytes(frame)
    except PacketError as error:
        return order.index(error.fault)
    if packet.coordinates * packet.lanes.dtype.itemsize > config.slot_bytes:
        return order.index(PacketFault.LENGTH)
    if packet.job >= config.jobs:
        return FAULT_JOB
    return packet

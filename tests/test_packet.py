"""The aggregation packet: what is sent is what arrives, and nothing else passes."""

import random
import zlib

import numpy as np
import pytest

from eyas.interfaces.switch.packet import (
    HEADER_BYTES,
    PACKET,
    Lanes,
    Packet,
    PacketError,
    PacketFault,
    PacketKind,
)

SEED = 1
DATA_KINDS = (PacketKind.DATA, PacketKind.RESEND)
SUM_KINDS = (PacketKind.PARTIAL, PacketKind.RESULT, PacketKind.ANSWER)


def random_packet(rng: random.Random) -> Packet:
    """A valid packet of any kind."""
    kind, lanes = rng.choice(list(PacketKind)), rng.choice(list(Lanes))
    worker = rng.randrange(32)
    values = {
        "kind": kind, "lanes": lanes, "worker": worker,
        "job": rng.randrange(256), "epoch": rng.randrange(256), "priority": rng.randrange(256),
        "seq": rng.randrange(1 << 32), "base": rng.randrange(1 << 32),
        "destinations": rng.randrange(1 << 32),
    }  # fmt: skip
    coordinates = rng.choice([1, 2, rng.randrange(1, lanes.coordinates + 1), lanes.coordinates])
    if kind in DATA_KINDS:
        size = 4 * coordinates if lanes is Lanes.INT32 else (coordinates + 1) // 2
        values |= {"bitmap": 1 << worker, "count": 1}
    elif kind in SUM_KINDS:
        size = coordinates * lanes.dtype.itemsize
        bitmap = rng.randrange(1, 1 << 32)
        values |= {"bitmap": bitmap, "count": bin(bitmap).count("1")}
    else:
        return Packet(**values)
    return Packet(**values, coordinates=coordinates, payload=rng.randbytes(size))


def test_every_packet_comes_back_as_it_went() -> None:
    rng = random.Random(SEED)
    seen = set()
    for _ in range(500):
        packet = random_packet(rng)
        data = packet.to_bytes()
        assert len(data) == HEADER_BYTES + len(packet.payload) <= 1056
        assert Packet.from_bytes(data + rng.randbytes(rng.randrange(60))) == packet
        seen.add((packet.kind, packet.lanes))
    assert len(seen) == len(PacketKind) * len(Lanes)


def test_no_changed_bit_passes() -> None:
    rng = random.Random(SEED)
    for _ in range(20):
        data = bytearray(random_packet(rng).to_bytes())
        for bit in range(8 * min(len(data), 64)):
            data[bit // 8] ^= 1 << bit % 8
            with pytest.raises(PacketError):
                Packet.from_bytes(data)
            data[bit // 8] ^= 1 << bit % 8


def test_no_shorter_packet_passes() -> None:
    data = random_packet(random.Random(SEED)).with_changes().to_bytes()
    for size in range(len(data)):
        with pytest.raises(PacketError) as caught:
            Packet.from_bytes(data[:size])
        assert caught.value.fault is PacketFault.TRUNCATED


@pytest.mark.parametrize(
    ("fault", "changes"),
    [
        (PacketFault.FOREIGN, {"magic": 0x1234}),
        (PacketFault.VERSION, {"version": 2}),
        (PacketFault.KIND, {"kind": 0}),
        (PacketFault.KIND, {"kind": 15}),
        (PacketFault.KIND, {"lanes": 3}),
        (PacketFault.LENGTH, {"length": 1025}),
        (PacketFault.LENGTH, {"coordinates": 3}),
        (PacketFault.LENGTH, {"coordinates": 0}),
        (PacketFault.BITMAP, {"worker": 32}),
        (PacketFault.BITMAP, {"bitmap": 3}),
        (PacketFault.BITMAP, {"count": 2}),
    ],
)
def test_each_fault_has_its_name(fault: PacketFault, changes: dict[str, int]) -> None:
    packet = Packet(
        kind=PacketKind.DATA, job=1, epoch=2, worker=4, bitmap=16, count=1, coordinates=8,
        payload=bytes(range(4)),
    )  # fmt: skip
    data = packet.to_bytes()
    fields = PACKET.unpack_bytes(data) | changes | {"checksum": 0}
    header = PACKET.pack_bytes(fields)
    fields["checksum"] = zlib.crc32(data[HEADER_BYTES:], zlib.crc32(header))
    with pytest.raises(PacketError) as caught:
        Packet.from_bytes(PACKET.pack_bytes(fields) + data[HEADER_BYTES:])
    assert caught.value.fault is fault
    assert fault.value in str(caught.value)


def test_a_packet_that_contradicts_itself_is_not_sent() -> None:
    good = Packet(
        kind=PacketKind.RESULT, job=0, epoch=0, bitmap=7, count=3, coordinates=2, payload=b"ab"
    )
    assert np.array_equal(good.sums(), [97, 98])
    for changes in ({"count": 2}, {"payload": b"abc"}, {"coordinates": 1}, {"bitmap": 0}):
        with pytest.raises(PacketError):
            good.with_changes(**changes).to_bytes()
    with pytest.raises(ValueError, match="job"):
        good.with_changes(job=256).to_bytes()

"""Which slot a key maps to."""

from __future__ import annotations

import zlib

__all__ = ["atp_index", "shared_slot", "static_slot"]


def atp_index(app: int, index: int, salt: int, aggregators: int) -> int:
    """ATP's aggregator of tensor packet ``index`` (from 0 on) of application ``app``.

    zlib's CRC-32 over six bytes, low byte first: application, index, salt, 16 bits each; modulo
    the number of aggregators.
    """
    key = b"".join((value & 0xFFFF).to_bytes(2, "little") for value in (app, index, salt))
    return zlib.crc32(key) % aggregators


def shared_slot(job: int, seq: int, salt: int, slots: int) -> int:
    """The slot of a key where all jobs share ``slots`` (a power of two): ATP's hash.

    Keys of one job whose sequence numbers differ in the low ``log2(slots)`` ≤ 8 bits alone never
    meet: the CRC's low byte is a permutation of the byte that goes in.
    """
    return atp_index(job, seq, salt, slots)


def static_slot(seq: int, base: int, size: int) -> int:
    """The slot of a key in a job's own ``size`` slots (a power of two) from ``base`` on.

    The lower half of the sequence numbers' cycle is one of SwitchML's two sets, the upper half the
    other.
    """
    return base + (seq & (size - 1))

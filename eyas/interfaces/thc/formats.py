"""THC's formats and limits: tables, packed indices, sums, and the encoder's word widths.

Workers send b-bit indices; the aggregator looks each one up in one small table and adds the
integers it finds; workers decode the sums.  What both sides must agree on stands here, for the
models, the RTL and the drivers.  numpy only: a board imports this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

__all__ = [
    "BLOCK_LOG2",
    "ENCODER_BLOCKS",
    "ENCODER_GRANULARITY",
    "INDEX_BITS",
    "LANE_BITS",
    "MANTISSA_BITS",
    "MANTISSA_LIMIT",
    "MAX_GRANULARITY",
    "MAX_SUM",
    "MAX_WORKERS",
    "MULTIPLICAND_BITS",
    "MULTIPLIER_BITS",
    "MULTIPLIER_FRACTION",
    "NO_WORKER",
    "PACKING",
    "POSITION_BITS",
    "POSITION_FRACTION",
    "ROUNDING_BITS",
    "SUM_BITS",
    "THREEFRY_PARITY",
    "THREEFRY_ROTATIONS",
    "THREEFRY_ROUNDS",
    "LookupTable",
    "check_sums",
    "pack",
    "packed_size",
    "unpack",
]

INDEX_BITS: Final = (2, 3, 4)
"""Widths of an index."""
LANE_BITS: Final = (8, 16)
"""Widths of an accumulator lane, chosen per job; a lane is unsigned and never carries out."""
MAX_GRANULARITY: Final = 255
"""Largest table entry in hardware: an entry is one byte."""
MAX_SUM: Final = 65535
"""Largest sum, and so the largest entry of any table: what a 16-bit lane holds."""
MAX_WORKERS: Final = 255
"""Contributions a lane can count; the switch's worker bitmap allows 32."""

PACKING: Final[dict[int, tuple[int, ...]]] = {2: (6, 4, 2, 0), 3: (4, 0), 4: (4, 0)}
"""Index bits to the shifts at which a byte holds consecutive indices, the first one highest.

A 3-bit index travels in a nibble whose top bit is 0.  A last byte that is not full holds its
indices in the high bits, zeros below.
"""

# The encoder's words; models/thc/fixed_point.py says what is done with them.
BLOCK_LOG2: Final = 10
"""log2 of the encoder's block in RTL, and of the default everywhere."""
ENCODER_BLOCKS: Final = tuple(1 << k for k in range(3, BLOCK_LOG2 + 1))
"""Transform blocks that the fixed-point form knows."""
ENCODER_GRANULARITY: Final = 63
"""Largest g that the fixed-point form knows: a position has 6 integer bits."""
MANTISSA_BITS: Final = 16
"""A coordinate, two's complement, in units of the block's power of two."""
MANTISSA_LIMIT: Final = 32767
"""Mantissas are symmetric: −32768 is never sent."""
SUM_BITS: Final = 26
"""Hadamard sums, two's complement, exact."""
MULTIPLICAND_BITS: Final = 25
"""A Hadamard sum, saturated for the multiplier's wide input."""
MULTIPLIER_BITS: Final = 17
"""A block's multiplier, unsigned: positive in the multiplier's 18-bit signed input."""
MULTIPLIER_FRACTION: Final = 25
"""Fraction bits of the multiplier."""
POSITION_FRACTION: Final = 11
"""Fraction bits of a position among the table's points."""
POSITION_BITS: Final = 6 + POSITION_FRACTION
"""A position, unsigned: 0 to g."""
ROUNDING_BITS: Final = 16
"""Random bits that round one coordinate."""

# The counter-based generator: Threefry-4x32 with 12 rounds.
THREEFRY_ROUNDS: Final = 12
THREEFRY_PARITY: Final = 0x1BD11BDA
"""Xored with the four words of the key this gives the fifth."""
THREEFRY_ROTATIONS: Final = (
    (10, 26),
    (11, 21),
    (13, 27),
    (23, 5),
    (6, 20),
    (17, 11),
    (25, 10),
    (18, 20),
)
"""Left rotations of the two mixes of round r: row r modulo 8."""
NO_WORKER: Final = 0
"""Counter word 2 of the draws that all workers share; worker w's own draws have w + 1 there."""


@dataclass(frozen=True, init=False)
class LookupTable:
    """What an index stands for: T[z], an integer in 0…g.

    Parameters
    ----------
    entries : sequence of int
        2^b integers, b 2 to 4: T[0] = 0, the last g, non-decreasing, symmetric
        (T[z] + T[2^b − 1 − z] = g).
    granularity : int or None
        g, 1 to 65535 (hardware: to 255); ``None`` takes the last entry.

    Raises
    ------
    TypeError, ValueError
        When a rule is broken; the message names the rule and the value.
    """

    entries: tuple[int, ...]
    granularity: int

    def __init__(self, entries: Sequence[int], granularity: int | None = None) -> None:
        values = tuple(_integer("a table entry", value) for value in entries)
        if len(values) not in (4, 8, 16):
            raise ValueError(f"A table has 4, 8 or 16 entries (2 to 4 bits), not {len(values)}")
        g = values[-1] if granularity is None else _integer("granularity", granularity)
        if not 1 <= g <= MAX_SUM:
            raise ValueError(f"Granularity must be 1 to {MAX_SUM}, not {g}")
        for z, value in enumerate(values):
            if not 0 <= value <= g:
                raise ValueError(f"Table entry {z} is {value}: entries must lie in 0 to {g}")
        if values[0] != 0 or values[-1] != g:
            raise ValueError(
                f"A table must run from 0 to its granularity {g}, "
                f"not from {values[0]} to {values[-1]}"
            )
        for z, (low, high) in enumerate(pairwise(values)):
            if high < low:
                raise ValueError(
                    f"Table entry {z + 1} is {high}, less than entry {z}, {low}: "
                    f"a table must not fall"
                )
        for z, (value, mirror) in enumerate(zip(values, reversed(values), strict=True)):
            if value + mirror != g:
                raise ValueError(
                    f"Table entries {z} and {len(values) - 1 - z} are {value} and {mirror}: "
                    f"they must add up to the granularity {g}"
                )
        object.__setattr__(self, "entries", values)
        object.__setattr__(self, "granularity", g)

    @property
    def bits(self) -> int:
        """b, the bits of an index."""
        return len(self.entries).bit_length() - 1

    @property
    def gaps(self) -> tuple[int, ...]:
        """T[z + 1] − T[z] for each z, and 0 for the last."""
        return (*(high - low for low, high in pairwise(self.entries)), 0)

    @property
    def intervals(self) -> tuple[int, ...]:
        """For each integer position 0…g the greatest z with T[z] at or below it."""
        return tuple(
            max(z for z, value in enumerate(self.entries) if value <= position)
            for position in range(self.granularity + 1)
        )


def check_sums(granularity: int, workers: int, lane_bits: int) -> None:
    """Raise ValueError unless hardware can add ``workers`` contributions of 0…``granularity``."""
    workers = _integer("workers", workers)
    if lane_bits not in LANE_BITS:
        raise ValueError(f"A lane has 8 or 16 bits, not {lane_bits!r}")
    if not 1 <= workers <= MAX_WORKERS:
        raise ValueError(f"Workers must be 1 to {MAX_WORKERS}, not {workers}")
    if not 1 <= granularity <= MAX_GRANULARITY:
        raise ValueError(
            f"The aggregator's tables hold entries up to {MAX_GRANULARITY}, not {granularity}"
        )
    most = granularity * workers
    if most >> lane_bits:
        remedy = "use 16-bit lanes" if lane_bits == 8 and not most >> 16 else "use fewer workers"
        raise ValueError(
            f"{workers} workers with granularity {granularity} sum up to {most}, more than "
            f"{lane_bits}-bit lanes hold: {remedy}, or a smaller granularity"
        )


def packed_size(count: int, bits: int) -> int:
    """Bytes that ``count`` indices of ``bits`` bits take."""
    if bits not in PACKING:
        raise ValueError(f"An index has 2, 3 or 4 bits, not {bits!r}")
    if count < 0:
        raise ValueError(f"A number of indices must not be negative, as {count} is")
    return -(-count // len(PACKING[bits]))


def pack(indices: np.ndarray, bits: int) -> np.ndarray:
    """Indices, along the last axis, as bytes.  See :data:`PACKING`."""
    indices = np.asarray(indices)
    size = packed_size(indices.shape[-1], bits)
    if indices.size and (indices.min() < 0 or indices.max() >> bits):
        raise ValueError(f"An index of {bits} bits is 0 to {(1 << bits) - 1}, not all of these")
    shifts = np.array(PACKING[bits], np.uint8)
    padded = np.zeros((*indices.shape[:-1], size * len(shifts)), np.uint8)
    padded[..., : indices.shape[-1]] = indices
    fields = padded.reshape(*indices.shape[:-1], size, len(shifts)) << shifts
    return np.bitwise_or.reduce(fields, axis=-1).astype(np.uint8)


def unpack(data: np.ndarray, bits: int, count: int) -> np.ndarray:
    """The first ``count`` indices, along the last axis, of packed bytes."""
    data = np.asarray(data, np.uint8)
    if data.shape[-1] != packed_size(count, bits):
        raise ValueError(
            f"{count} indices of {bits} bits take {packed_size(count, bits)} bytes, "
            f"not {data.shape[-1]}"
        )
    shifts = np.array(PACKING[bits], np.uint8)
    fields = (data[..., np.newaxis] >> shifts) & ((1 << bits) - 1)
    return fields.reshape(*data.shape[:-1], -1)[..., :count].astype(np.uint8)


def _integer(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name[0].upper()}{name[1:]} must be an integer, not {value!r}")
    return int(value)

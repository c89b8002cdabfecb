"""What passes through the lookup lanes: beats of indices with their packet's header, and rows."""

import enum

from amaranth.lib import data
from amaranth.utils import ceil_log2

from eyas.interfaces.thc.config import ThcConfig

__all__ = ["Emit", "beat_layout", "header_layout", "row_layout"]


class Emit(enum.IntEnum):
    """What leaves a slot while a packet passes through it."""

    NONE = 0
    SUM = 1
    """The sums with this packet in them: its completion."""
    OLD = 2
    """What the slot held before, with ``store``: the packet takes the slot over."""


def header_layout(config: ThcConfig) -> data.StructLayout:
    """What is to be done with a packet.

    Members
    -------
    slot
        Slot of its sums.
    job
        Job whose table is used.
    wide : 1
        16-bit sums, else 8-bit.
    store : 1
        The packet's values replace the slot's sums, else they are added.
    silent : 1
        The packet's values count as 0: a slot is read without being changed.
    emit : 2
        An :class:`Emit`.
    old_wide : 1
        With ``Emit.OLD``: the old sums have 16 bits. Rows that the packet does not reach stay.
    """
    return data.StructLayout(
        {
            "slot": ceil_log2(config.slots),
            "job": ceil_log2(config.jobs),
            "wide": 1,
            "store": 1,
            "silent": 1,
            "emit": 2,
            "old_wide": 1,
        }
    )


def beat_layout(config: ThcConfig) -> data.StructLayout:
    """A beat of indices; ``header`` counts with ``first`` alone.

    Index ``i`` of a beat stands in byte ``i // indices_per_byte``, the first of a byte in its high
    bits; an index of 3 bits is the low bits of its nibble.
    """
    return data.StructLayout(
        {"header": header_layout(config), "first": 1, "last": 1, "data": config.width}
    )


def row_layout(config: ThcConfig) -> data.StructLayout:
    """A row of sums in the order of their coordinates, the first lowest.

    Wide: the sums of one beat. Narrow: of two; where the packet ends with the first of the two,
    the upper half is 0.  ``last`` marks the row of a packet's last beat.
    """
    return data.StructLayout({"sums": config.row_bits, "last": 1})

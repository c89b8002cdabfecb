"""The situation that the action tables decide: how a packet relates to the slot of its key.

Attributes are all that is asked of the three records, so that a compiled switch can hand over
NumPy records of the same field names.
"""

from __future__ import annotations

from eyas.interfaces.switch.actions import Flag, Relation
from eyas.interfaces.switch.packet import Packet, PacketKind
from eyas.interfaces.switch.states import SlotState
from models.switch.records import JobEntry, SlotRecord

__all__ = ["classify"]

_MASK = (1 << 32) - 1


def classify(packet: Packet, job: JobEntry, slot: SlotRecord, coin: int) -> tuple[Relation, int]:
    """A packet's relation to the slot it maps to, and the flags, a bit for each :class:`Flag`.

    Not for the ageing scan, whose relation is the slot's state and whose flags are AGED and FLUSH.

    Parameters
    ----------
    packet : Packet
        What came.
    job : JobEntry
        Its job's entry.
    slot : SlotRecord
        The record of the slot that its key maps to.
    coin : int
        The random bit.
    """
    same = (slot.job, slot.epoch, slot.seq) == (packet.job, packet.epoch, packet.seq)
    if slot.state == SlotState.EMPTY:
        relation = Relation.EMPTY
    elif slot.state == SlotState.BUSY:
        relation = Relation.BUSY_SAME if same else Relation.BUSY_OTHER
    else:
        relation = Relation.DONE_SAME if same else Relation.DONE_OTHER
    adds = relation is Relation.BUSY_SAME
    held = same and slot.state != SlotState.EMPTY
    fits = packet.worker < job.workers
    if packet.kind in (PacketKind.DATA, PacketKind.RESEND):
        fits &= packet.lanes == job.lanes
        fits &= not held or slot.coordinates == packet.coordinates
    ahead = (packet.seq - slot.seq) & _MASK
    flags = (
        (job.enabled and job.epoch == packet.epoch) << Flag.KNOWN
        | fits << Flag.FITS
        | (adds and slot.bitmap >> packet.worker & 1) << Flag.COUNTED
        | ((slot.count if adds else 0) + 1 >= job.needed) << Flag.COMPLETES
        | (adds and slot.count >= job.needed) << Flag.FULL
        | (job.needed < job.workers) << Flag.QUORUM
        | (packet.priority > slot.priority) << Flag.HIGHER
        | (coin & 1) << Flag.COIN
        | (0 < ahead < 1 << 31) << Flag.NEWER
    )
    return relation, flags

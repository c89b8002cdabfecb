"""The switch's decision as pure integer functions, which Numba can compile."""

from __future__ import annotations

import numpy as np

from eyas.interfaces.switch import Policy, SlotState
from models.esa.tables import ROWS, Decision, Flag, Relation

__all__ = ["DECISIONS", "TABLE", "classify", "decide", "situation", "unpack"]

_KINDS = 16
_FLAGS = len(Flag)
_HALF = 1 << 31
_MASK = (1 << 32) - 1


def situation(policy: int, kind: int, relation: int, flags: int) -> int:
    """The number of a situation: an index into :data:`TABLE`."""
    return ((policy * _KINDS + kind) * len(Relation) + relation << _FLAGS) | flags


def _tabulate() -> tuple[tuple[Decision, ...], np.ndarray]:
    """Every distinct decision, and for every situation the number of its decision."""
    shape = (len(Policy), _KINDS, len(Relation), 1 << _FLAGS)
    flags = np.arange(1 << _FLAGS)
    decisions: list[Decision] = []
    table = np.full(shape, 255, np.uint8)
    for row in reversed(ROWS):  # the first row that fits has the last word
        if row.decision not in decisions:
            decisions.append(row.decision)
        fits = np.ones(1 << _FLAGS, bool)
        for flag, wanted in row.flags:
            fits &= (flags >> flag & 1) == wanted
        cells = np.ix_(
            np.array(row.policies or range(shape[0])),
            np.array(row.kinds or range(shape[1])),
            np.array(row.relations or range(shape[2])),
            np.flatnonzero(fits),
        )
        table[cells] = decisions.index(row.decision)
    return tuple(decisions), table.reshape(-1)


DECISIONS, TABLE = _tabulate()
"""All decisions; and by :func:`situation` the number of the decision."""


def decide(policy: int, kind: int, relation: int, flags: int) -> int:
    """The number in :data:`DECISIONS` of what is done.

    Parameters
    ----------
    policy : int
        A :class:`eyas.interfaces.switch.Policy`.
    kind : int
        A PacketKind, or SCAN.
    relation, flags : int
        As :func:`classify` gives them.
    """
    return TABLE[((policy * 16 + kind) * 5 + relation << 11) | flags]


def classify(
    kind: int, job: int, epoch: int, seq: int, worker: int, priority: int, coordinates: int,
    enabled: int, job_epoch: int, workers: int, needed: int, lanes_right: int, coin: int,
    state: int, slot_job: int, slot_epoch: int, slot_seq: int, slot_priority: int,
    bitmap: int, count: int, slot_coordinates: int,
) -> tuple[int, int]:  # fmt: skip
    """How a packet and its slot stand to each other: a Relation, and the flags.

    The first line is the packet's, the second the job table's and the random bit, the rest the
    slot's record.  Not for a scan, whose relation is the slot's state and whose flags are AGED and
    FLUSH.
    """
    same = slot_job == job and slot_epoch == epoch and slot_seq == seq
    if state == 0:
        relation = 0
    elif state == 1:
        relation = 1 if same else 2
    else:
        relation = 3 if same else 4
    contributes = kind == 1 or kind == 2
    held = state != 0 and same
    fits = worker < workers
    if contributes and (not lanes_right or (held and slot_coordinates != coordinates)):
        fits = False
    had = count if relation == 1 else 0
    flags = 0
    if enabled and job_epoch == epoch:
        flags |= 1
    if fits:
        flags |= 2
    if relation == 1 and bitmap >> worker & 1:
        flags |= 4
    if had + 1 >= needed:
        flags |= 8
    if relation == 1 and count >= needed:
        flags |= 16
    if needed < workers:
        flags |= 32
    if priority > slot_priority:
        flags |= 64
    if coin:
        flags |= 128
    if 0 < ((seq - slot_seq) & _MASK) < _HALF:
        flags |= 256
    return relation, flags


def unpack(number: int) -> Decision:
    """The decision of that number."""
    return DECISIONS[number]


# What the plain numbers above, written so for Numba's sake, mean.
assert (SlotState.EMPTY, SlotState.BUSY, SlotState.DONE) == (0, 1, 2)
assert (len(Relation), _FLAGS, Flag.NEWER) == (5, 11, 8)

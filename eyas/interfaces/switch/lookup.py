"""The action tables by number: every situation's decision, in one look-up.

Made once from :data:`eyas.interfaces.switch.actions.ROWS`.  The RTL's truth tables, the golden
switch and whatever simulates it read the same arrays.
"""

from __future__ import annotations

import numpy as np

from eyas.interfaces.switch.actions import ROWS, Decision, Flag, Relation
from eyas.interfaces.switch.states import Policy

__all__ = ["DECISIONS", "TABLE", "decide", "situation"]

_KINDS, _RELATIONS, _FLAGS = 16, len(Relation), len(Flag)


def situation(policy: int, kind: int, relation: int, flags: int) -> int:
    """The number of a situation: an index into :data:`TABLE`.

    Parameters
    ----------
    policy : int
        A :class:`eyas.interfaces.switch.states.Policy`.
    kind : int
        A PacketKind, or ``SCAN``.
    relation : int
        A :class:`eyas.interfaces.switch.actions.Relation`.
    flags : int
        A bit for each :class:`eyas.interfaces.switch.actions.Flag`.
    """
    return ((policy * _KINDS + kind) * _RELATIONS + relation << _FLAGS) | flags


def _tabulate() -> tuple[tuple[Decision, ...], np.ndarray]:
    """Every distinct decision, and for every situation the number of its decision."""
    shape = (len(Policy), _KINDS, _RELATIONS, 1 << _FLAGS)
    flags = np.arange(1 << _FLAGS)
    decisions: list[Decision] = []
    table = np.full(shape, 255, np.uint8)
    for row in reversed(ROWS):  # so that the first row that fits is written last
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
"""All decisions; and by :func:`situation` the number of the decision (uint8)."""


def decide(policy: int, kind: int, relation: int, flags: int) -> int:
    """The number in :data:`DECISIONS` of what is done; parameters as :func:`situation`'s."""
    return int(TABLE[situation(policy, kind, relation, flags)])

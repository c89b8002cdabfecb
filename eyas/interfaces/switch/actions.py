"""The switch's action tables: what each policy does with a packet, as data.

A table is a list of rows; the first row that fits decides, and every situation has one.  A
situation is a policy, what came (a packet's kind, or the ageing scan's look at a slot), how the
slot relates to it, and the flags of :class:`Flag`.  Software looks situations up
(:mod:`eyas.interfaces.switch.lookup`); the RTL (``hdl.switch.decide.decision``) is made from the
same table.

At most one packet leaves for each that came.  That is why a contribution that would complete by
itself (a job of one worker) never preempts: two sums would leave.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from eyas.interfaces.switch.packet import PacketKind
from eyas.interfaces.switch.states import Outcome, Policy, SlotState

__all__ = ["COIN_TAPS", "ROWS", "SCAN", "Action", "Decision", "Flag", "Output", "Relation", "Row"]

SCAN = 0
"""Stands for a kind: the scan looks at a slot.  Relations are then the slot's own state."""


COIN_TAPS = 0xB400
"""Feedback of the 16-bit shift register whose lowest bit is the coin of RANDOM; it starts at 1 and
moves on with each DATA that meets a slot busy with another key."""


class Relation(enum.IntEnum):
    """How the slot of a packet's key relates to the packet."""

    EMPTY = 0
    BUSY_SAME = 1
    """Holds a sum of the packet's job, epoch and seq."""
    BUSY_OTHER = 2
    DONE_SAME = 3
    DONE_OTHER = 4


class Flag(enum.IntEnum):
    """Bits of a situation."""

    KNOWN = 0
    """The job is enabled, and the packet of its epoch."""
    FITS = 1
    """The worker is one of the job's, and DATA and RESEND have its lanes, and as many coordinates
    as the slot of the same key."""
    COUNTED = 2
    """The worker's bit is in the bitmap of the slot of the same key."""
    COMPLETES = 3
    """With this contribution the sum would have as many as the job needs."""
    FULL = 4
    """The slot of the same key has as many as the job needs."""
    QUORUM = 5
    """The job needs fewer than all its workers."""
    HIGHER = 6
    """The packet's priority is above the slot's."""
    COIN = 7
    """The random bit."""
    NEWER = 8
    """The packet's seq comes after the slot's, as serial numbers."""
    AGED = 9
    """Scan: the slot was untouched for as long as is allowed."""
    FLUSH = 10
    """Scan: the slot's job is being flushed."""


class Action(enum.IntEnum):
    """What happens to the slot's sums."""

    KEEP = 0
    CLAIM = 1
    """The contribution takes their place."""
    SWAP = 2
    """The same, and the old ones leave."""
    ADD = 3
    READ = 4
    """They leave and stay."""


class Output(enum.IntEnum):
    """What leaves."""

    NONE = 0
    SAME = 1
    """The packet, unchanged."""
    RESULT = 2
    """The sums, to all workers and the server."""
    PARTIAL = 3
    """The sums, to the server."""
    COPY = 4
    """The sums, as a RESULT to the worker that sent the packet."""


@dataclass(frozen=True)
class Decision:
    """What is done: sums, packet out, the slot's next state (None: as it is), the counter, and
    whether the slot loses priority."""

    action: Action
    output: Output
    state: SlotState | None
    outcome: Outcome
    decays: bool = False


@dataclass(frozen=True)
class Row:
    """A row: what must hold (an empty tuple: anything), and the decision."""

    decision: Decision
    policies: tuple[Policy, ...] = ()
    kinds: tuple[int, ...] = ()
    relations: tuple[Relation, ...] = ()
    flags: tuple[tuple[Flag, bool], ...] = ()


_SHARED = (Policy.ESA, Policy.ATP, Policy.ALWAYS, Policy.RANDOM)
_DIRECT = (Policy.ESA, Policy.ALWAYS, Policy.RANDOM)
"""Policies whose switch sends results itself."""
_SWITCHML = (Policy.SWITCHML,)
_DATA = (PacketKind.DATA,)
_CONTRIBUTIONS = (PacketKind.DATA, PacketKind.RESEND)
_FREE = (Relation.EMPTY, Relation.DONE_OTHER)
_SAME = (Relation.BUSY_SAME,)
_OTHER = (Relation.BUSY_OTHER,)
_BUSY = (Relation.BUSY_SAME,)  # what a scan calls a busy slot
_DONE = (Relation.DONE_SAME,)

_COMPLETES, _ALONE = (Flag.COMPLETES, True), (Flag.COMPLETES, False)
_QUORUM = (Flag.QUORUM, True)

_DUPLICATE = Decision(Action.KEEP, Output.NONE, None, Outcome.DUPLICATE)
_CLAIM = Decision(Action.CLAIM, Output.NONE, SlotState.BUSY, Outcome.CLAIMED)
_ADD = Decision(Action.ADD, Output.NONE, SlotState.BUSY, Outcome.ADDED)
_SWAP = Decision(Action.SWAP, Output.PARTIAL, SlotState.BUSY, Outcome.PREEMPTED)
_PASS = Decision(Action.KEEP, Output.SAME, None, Outcome.PASSED, decays=True)
_FORWARD = Decision(Action.KEEP, Output.SAME, None, Outcome.FORWARDED)
_UPSTREAM = Decision(Action.KEEP, Output.SAME, None, Outcome.UPSTREAM)
_RETIRE = Decision(Action.KEEP, Output.NONE, SlotState.EMPTY, Outcome.RETIRED)
_EVICT = Decision(Action.READ, Output.PARTIAL, SlotState.EMPTY, Outcome.EVICTED)
_IDLE = Decision(Action.KEEP, Output.NONE, None, Outcome.IDLE)


def _leaves(action: Action, output: Output, state: SlotState) -> Decision:
    return Decision(action, output, state, Outcome.COMPLETED)


def _completions(relations: tuple[Relation, ...], action: Action) -> list[Row]:
    """Rows of contributions that complete a sum, in a slot that they may have."""
    partial = Output.PARTIAL
    return [
        # Only the server decides a quorum: workers must all get the same sum.
        Row(_leaves(action, partial, SlotState.DONE), _DIRECT, _DATA, relations,
            (_COMPLETES, _QUORUM)),
        Row(_leaves(action, Output.RESULT, SlotState.DONE), _DIRECT, _DATA, relations,
            (_COMPLETES,)),
        # ATP's slot waits for the server's result, so that a lost sum can be had again.
        Row(_leaves(action, partial, SlotState.BUSY), (Policy.ATP,), _DATA, relations,
            (_COMPLETES,)),
        Row(_leaves(action, Output.RESULT, SlotState.DONE), _SWITCHML, _CONTRIBUTIONS, relations,
            (_COMPLETES,)),
    ]  # fmt: skip


ROWS: tuple[Row, ...] = (
    # The scan.
    Row(_RETIRE, _SWITCHML, (SCAN,), (*_BUSY, *_DONE), ((Flag.FLUSH, True),)),
    Row(_IDLE, _SWITCHML, (SCAN,)),
    *(Row(_EVICT, (), (SCAN,), _BUSY, ((flag, True),)) for flag in (Flag.AGED, Flag.FLUSH)),
    *(Row(_RETIRE, (), (SCAN,), _DONE, ((flag, True),)) for flag in (Flag.AGED, Flag.FLUSH)),
    Row(_IDLE, (), (SCAN,)),
    # Packets that do not belong to the job, or do not fit it.
    Row(
        Decision(Action.KEEP, Output.NONE, None, Outcome.UNKNOWN),
        flags=((Flag.KNOWN, False),),
    ),
    Row(
        Decision(Action.KEEP, Output.NONE, None, Outcome.MISFIT),
        flags=((Flag.FITS, False),),
    ),
    # Contributions, SwitchML: its two sets need no server.
    Row(_DUPLICATE, _SWITCHML, _CONTRIBUTIONS, _SAME, ((Flag.COUNTED, True),)),
    Row(
        Decision(Action.READ, Output.COPY, None, Outcome.ANSWERED),
        _SWITCHML, _CONTRIBUTIONS, (Relation.DONE_SAME,),
    ),
    Row(_DUPLICATE, _SWITCHML, _CONTRIBUTIONS, _OTHER),
    Row(_DUPLICATE, _SWITCHML, _CONTRIBUTIONS, (Relation.DONE_OTHER,), ((Flag.NEWER, False),)),
    # Contributions, shared memory.
    Row(
        Decision(Action.READ, Output.PARTIAL, None, Outcome.DUPLICATE),
        (Policy.ATP,), _DATA, _SAME, ((Flag.COUNTED, True), (Flag.FULL, True)),
    ),
    Row(_DUPLICATE, _SHARED, _DATA, _SAME, ((Flag.COUNTED, True),)),
    Row(
        Decision(Action.KEEP, Output.SAME, None, Outcome.LATE),
        _SHARED, _DATA, (Relation.DONE_SAME,),
    ),
    Row(_SWAP, (Policy.ESA,), _DATA, _OTHER, ((Flag.HIGHER, True), _ALONE)),
    Row(_SWAP, (Policy.ALWAYS,), _DATA, _OTHER, (_ALONE,)),
    Row(_SWAP, (Policy.RANDOM,), _DATA, _OTHER, ((Flag.COIN, True), _ALONE)),
    Row(_PASS, _SHARED, _DATA, _OTHER),
    # Contributions that the slot takes, all policies.
    *_completions(_FREE, Action.CLAIM),
    *_completions(_SAME, Action.ADD),
    Row(_CLAIM, (), _DATA, _FREE),
    Row(_CLAIM, _SWITCHML, _CONTRIBUTIONS, _FREE),
    Row(_ADD, (), _DATA, _SAME),
    Row(_ADD, _SWITCHML, _CONTRIBUTIONS, _SAME),
    # Between server and workers.
    Row(_UPSTREAM, (), (PacketKind.RESEND, PacketKind.ANSWER, PacketKind.BYE)),
    Row(_FORWARD, (), (PacketKind.QUERY, PacketKind.BYE_ACK)),
    Row(
        Decision(Action.KEEP, Output.SAME, SlotState.DONE, Outcome.FORWARDED),
        _SHARED, (PacketKind.RESULT,), _SAME,
    ),
    Row(_FORWARD, (), (PacketKind.RESULT,)),
    Row(
        Decision(Action.READ, Output.PARTIAL, SlotState.EMPTY, Outcome.REMINDED),
        _SHARED, (PacketKind.REMINDER,), _SAME,
    ),
    Row(
        Decision(Action.KEEP, Output.NONE, None, Outcome.NOTHING_HELD),
        (), (PacketKind.REMINDER,),
    ),
    # A PARTIAL only ever leaves a switch.
    Row(Decision(Action.KEEP, Output.NONE, None, Outcome.MISFIT)),
)  # fmt: skip
"""The table of all policies."""

"""The action tables (:data:`eyas.interfaces.switch.actions.ROWS`) as logic, in three short steps.

One table of all that decides would be far too deep for a cycle.  Situations are therefore put into
*classes*: two are of one class when the same is decided for both whatever the rest is.  What is
known before the slot's record is read makes one class, what the record tells another, and both
together the decision.  The classes are found by comparing rows and columns of
:data:`eyas.interfaces.switch.lookup.TABLE`; nothing about a policy stands here.
"""

from functools import lru_cache

import numpy as np
from amaranth.hdl import Cat, Module, Shape, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.switch.actions import Action, Decision, Flag, Output, Relation
from eyas.interfaces.switch.lookup import DECISIONS, TABLE
from eyas.interfaces.switch.packet import PACKET, PacketKind
from eyas.interfaces.switch.states import Outcome, Policy, SlotState
from hdl.switch.layouts import RowAction, settings_layout

__all__ = [
    "ClassifyPacket",
    "ClassifySlot",
    "Decide",
    "GroupKind",
    "decision_layout",
    "packet_class_shape",
    "slot_class_shape",
]

_POLICY_BITS = settings_layout["policy"].width
_KIND_BITS = PACKET.by_name["kind"].width
_POLICIES, _KINDS = 1 << _POLICY_BITS, 1 << _KIND_BITS
_BEFORE = ("known", "fits", "quorum", "coin")
_AFTER = (
    "flush", "aged", "newer", "higher", "full", "last", "alone", "counted", "other_size", "same",
    "done", "busy",
)  # fmt: skip
"""In this order, last uppermost, the classes take little logic."""

decision_layout = data.StructLayout(
    {
        "rows": range(len(RowAction)),
        "claim": 1,
        "add": 1,
        "joined": 1,
        "output": range(len(Output)),
        "changes": 1,
        "state": range(len(SlotState)),
        "decays": 1,
        "outcome": range(len(Outcome)),
    }
)
"""A decision: ``claim`` with SWAP as well; sums that leave have the contribution in them where it
``joined``; the slot becomes ``state`` where it ``changes``."""


class _Classes:
    """The steps' truth tables; each index has what the step's class names first lowest."""

    def __init__(self):
        cases = np.arange(1 << len(_AFTER))
        bit = {name: cases >> place & 1 for place, name in enumerate(_AFTER)}
        relation = np.full(len(cases), Relation.EMPTY)
        relation[bit["done"] == 1] = Relation.DONE_OTHER
        relation[bit["done"] & bit["same"] == 1] = Relation.DONE_SAME
        relation[bit["busy"] == 1] = Relation.BUSY_OTHER
        relation[bit["busy"] & bit["same"] == 1] = Relation.BUSY_SAME
        held = (bit["busy"] | bit["done"]) & bit["same"]
        joins = relation == Relation.BUSY_SAME
        after = (
            bit["counted"] << Flag.COUNTED
            | np.where(joins, bit["last"], bit["alone"]) << Flag.COMPLETES
            | bit["full"] << Flag.FULL
            | bit["higher"] << Flag.HIGHER
            | bit["newer"] << Flag.NEWER
            | bit["aged"] << Flag.AGED
            | bit["flush"] << Flag.FLUSH
        )
        table = TABLE.reshape(len(Policy), _KINDS, len(Relation), 1 << len(Flag))
        rows = []
        for index in range(_KINDS * _POLICIES << len(_BEFORE)):
            before = {name: index >> place & 1 for place, name in enumerate(_BEFORE)}
            kind = index >> len(_BEFORE) & _KINDS - 1
            policy = min(index >> len(_BEFORE) + _KIND_BITS, len(Policy) - 1)  # others do not occur
            contributes = kind in (PacketKind.DATA, PacketKind.RESEND)
            fits = before["fits"] & ~(held & bit["other_size"] & contributes)
            flags = after | before["known"] << Flag.KNOWN | fits << Flag.FITS
            flags |= before["quorum"] << Flag.QUORUM | before["coin"] << Flag.COIN
            rows.append(table[policy, kind][relation, flags])
        packets, packet_class = _distinct(np.array(rows))
        slots, self.slot_class = _distinct(packets.T)
        groups, self.group = _distinct(packet_class.reshape(-1, 1 << len(_BEFORE)))
        self.packet_class = groups.reshape(-1)
        self.slot_bits = _bits(self.slot_class)
        coded = np.array(
            [decision_layout.const(_fields(one)).as_value().value for one in DECISIONS]
        )
        decided = np.pad(slots.T, ((0, 0), (0, (1 << self.slot_bits) - len(slots))), "edge")
        self.decision = coded[decided].reshape(-1)


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows in order; for each row the number of the distinct one that equals it."""
    keys = [row.tobytes() for row in rows]
    numbers = {key: number for number, key in enumerate(sorted(set(keys)))}
    inverse = np.array([numbers[key] for key in keys])
    distinct = np.array([rows[keys.index(key)] for key in numbers])
    return distinct, inverse


def _bits(table: np.ndarray) -> int:
    return int(table.max()).bit_length()


def _fields(decision: Decision) -> dict[str, int]:
    rows = RowAction[decision.action.name] if decision.action else RowAction.NONE
    if decision.output is Output.SAME:
        rows = RowAction.PASS
    return {
        "rows": rows.value,
        "claim": decision.action in (Action.CLAIM, Action.SWAP),
        "add": decision.action is Action.ADD,
        "joined": decision.action in (Action.CLAIM, Action.ADD),
        "output": decision.output.value,
        "changes": decision.state is not None,
        "state": decision.state or 0,
        "decays": decision.decays,
        "outcome": decision.outcome.value,
    }


@lru_cache(maxsize=1)
def _classes() -> _Classes:
    return _Classes()


def _patterns(table: np.ndarray) -> list[str]:
    """Patterns, uppermost bit first, of the indices at which ``table`` is 1."""
    if not table.any():
        return []
    if table.all():
        return ["-" * (len(table).bit_length() - 1)]
    lower, upper = np.split(table, 2)
    if (lower == upper).all():
        return [f"-{rest}" for rest in _patterns(lower)]
    return [f"0{rest}" for rest in _patterns(lower)] + [f"1{rest}" for rest in _patterns(upper)]


def _look_up(index: Value, table: np.ndarray) -> Value:
    """``table[index]`` as a sum of products; beyond the table's end does not occur."""
    padded = np.pad(table, (0, (1 << len(index)) - len(table)), "edge")
    return Cat(index.matches(*_patterns(padded >> bit & 1)) for bit in range(_bits(table)))


def packet_class_shape() -> Shape:
    """Shape of the class that :class:`ClassifyPacket` gives."""
    return unsigned(_bits(_classes().packet_class))


def slot_class_shape() -> Shape:
    """Shape of the class that :class:`ClassifySlot` gives."""
    return unsigned(_classes().slot_bits)


class GroupKind(wiring.Component):
    """First step, combinational: puts kinds of packets under a policy into groups.

    Members
    -------
    policy : In
        A :class:`eyas.interfaces.switch.states.Policy`.
    kind : In
        A PacketKind, or ``eyas.interfaces.switch.actions.SCAN``.
    group : Out
    """

    def __init__(self):
        super().__init__(
            {
                "policy": In(_POLICY_BITS),
                "kind": In(_KIND_BITS),
                "group": Out(_bits(_classes().group)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.group.eq(_look_up(Cat(self.kind, self.policy), _classes().group))
        return m


class ClassifyPacket(wiring.Component):
    """Second step, combinational: classifies what is known of the packet and its job.

    Members
    -------
    group : In
        From :class:`GroupKind`.
    known : In(1)
        The job is enabled, and the packet of its epoch.
    fits : In(1)
        The worker is one of the job's, and a contribution has the job's lanes.
    quorum : In(1)
        The job needs fewer than all its workers.
    coin : In(1)
        The random bit.
    packet_class : Out
    """

    def __init__(self):
        super().__init__(
            {"group": In(_bits(_classes().group))}
            | {name: In(1) for name in _BEFORE}
            | {"packet_class": Out(packet_class_shape())}
        )

    def elaborate(self, platform):
        m = Module()
        index = Cat(*(getattr(self, name) for name in _BEFORE), self.group)
        m.d.comb += self.packet_class.eq(_look_up(index, _classes().packet_class))
        return m


class ClassifySlot(wiring.Component):
    """Third step, combinational, beside the second: classifies the slot's record.

    Members
    -------
    busy, done : In(1)
        The slot's state.
    same : In(1)
        It has the packet's key.  Set for a look.
    other_size : In(1)
        It has another number of coordinates.
    counted : In(1)
        The worker's bit is in its bitmap.
    alone, last : In(1)
        The job needs one contribution; it needs no more than one beside those in the slot.
    full : In(1)
        The slot has as many as the job needs.
    higher : In(1)
        The packet's priority is above the slot's.
    newer : In(1)
        The packet's seq comes after the slot's.
    aged, flush : In(1)
        Look: it was untouched for too long; its job is being flushed.
    slot_class : Out
    """

    def __init__(self):
        super().__init__({name: In(1) for name in _AFTER} | {"slot_class": Out(slot_class_shape())})

    def elaborate(self, platform):
        m = Module()
        index = Cat(getattr(self, name) for name in _AFTER)
        m.d.comb += self.slot_class.eq(_look_up(index, _classes().slot_class))
        return m


class Decide(wiring.Component):
    """Last step: the decision for a packet class and a slot class.

    Latency: none from ``slot_class``, 1 cycle from ``packet_class``, which is known before.

    Members
    -------
    packet_class, slot_class : In
        From :class:`ClassifyPacket` and :class:`ClassifySlot`.
    decision : Out(decision_layout)
    """

    def __init__(self):
        super().__init__(
            {
                "packet_class": In(packet_class_shape()),
                "slot_class": In(slot_class_shape()),
                "decision": Out(decision_layout),
            }
        )

    def elaborate(self, platform):
        m = Module()
        table = _classes().decision.reshape(-1, 1 << len(self.slot_class))
        # Each bit: a group of packet classes, and a slot class at which it is set for them.
        groups: dict[tuple[int, ...], Signal] = {}
        for place, bit in enumerate(Value.cast(self.decision)):
            members: dict[tuple[str, ...], list[int]] = {}
            for number, row in enumerate(table):
                members.setdefault(tuple(_patterns(row >> place & 1)), []).append(number)
            terms = []
            for patterns, numbers in members.items():
                if not patterns:
                    continue
                group = tuple(numbers)
                if group not in groups:
                    groups[group] = Signal(name=f"in_group{len(groups)}", reset_less=True)
                    is_member = Cat(self.packet_class == number for number in group).any()
                    m.d.sync += groups[group].eq(is_member)
                terms.append(groups[group] & self.slot_class.matches(*patterns))
            m.d.comb += bit.eq(Cat(terms).any())
        return m

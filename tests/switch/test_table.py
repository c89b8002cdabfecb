"""The action tables: whole, without dead rows, and as a slow description of our own has them."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from eyas.interfaces.switch.actions import ROWS, SCAN, Action, Decision, Flag, Output, Relation
from eyas.interfaces.switch.lookup import DECISIONS, TABLE, decide, situation
from eyas.interfaces.switch.packet import Lanes, PacketKind
from eyas.interfaces.switch.states import Outcome, Policy, SlotState
from models.switch.classify import classify
from models.switch.records import JobEntry, SlotRecord

KINDS = (SCAN, *PacketKind)
CONTRIBUTIONS = (PacketKind.DATA, PacketKind.RESEND)
DIRECT = (Policy.ESA, Policy.ALWAYS, Policy.RANDOM)


def situations():
    return itertools.product(Policy, KINDS, Relation, range(1 << len(Flag)))


def test_every_situation_has_a_row() -> None:
    assert TABLE.max() < len(DECISIONS)
    assert len(TABLE) == len(Policy) * 16 * len(Relation) << len(Flag)


def test_every_row_decides_somewhere() -> None:
    deciding = np.full(len(TABLE), len(ROWS))
    for number, row in reversed(list(enumerate(ROWS))):
        for policy, kind, relation in itertools.product(
            row.policies or Policy, row.kinds or KINDS, row.relations or Relation
        ):
            start = situation(policy, kind, relation, 0)
            flags = np.arange(1 << len(Flag))
            fits = np.all([(flags >> flag & 1) == wanted for flag, wanted in row.flags], axis=0)
            deciding[start : start + (1 << len(Flag))][fits | (len(row.flags) == 0)] = number
    reached = set(deciding[deciding < len(ROWS)].tolist())
    assert reached == set(range(len(ROWS)))


def test_at_most_one_packet_leaves_and_sums_leave_once() -> None:
    """What leaves is the packet or the slot's sums; no action lets two sums leave."""
    for decision in DECISIONS:
        sums = decision.output in (Output.RESULT, Output.PARTIAL, Output.COPY)
        if decision.action is Action.SWAP:
            assert decision.output is Output.PARTIAL
        if decision.action is Action.READ:
            assert sums
        if decision.action is Action.KEEP:
            assert not sums
        if decision.output is Output.SAME:
            assert decision.action is Action.KEEP


def test_contributions_are_not_lost_where_a_slot_changes_hands() -> None:
    """A busy slot's sums are only ever overwritten or emptied as they leave."""
    for policy, kind, relation, flags in situations():
        if relation not in (Relation.BUSY_SAME, Relation.BUSY_OTHER):
            continue
        decision = DECISIONS[decide(policy, kind, relation, flags)]
        flushed = policy is Policy.SWITCHML and kind == SCAN
        if decision.state is SlotState.EMPTY and not flushed:
            assert decision.output is Output.PARTIAL
        assert decision.action is not Action.CLAIM


def described(policy: Policy, kind: int, relation: Relation, flags: int) -> tuple[object, ...]:
    """The specification's words, one after the other: action, output, state, outcome."""

    def has(flag: Flag) -> bool:
        return bool(flags >> flag & 1)

    keep, none, same = Action.KEEP, Output.NONE, Output.SAME
    busy, done = SlotState.BUSY, SlotState.DONE
    if kind == SCAN:
        if policy is Policy.SWITCHML:
            if has(Flag.FLUSH) and relation in (Relation.BUSY_SAME, Relation.DONE_SAME):
                return keep, none, SlotState.EMPTY, Outcome.RETIRED
            return keep, none, None, Outcome.IDLE
        if not (has(Flag.AGED) or has(Flag.FLUSH)):
            return keep, none, None, Outcome.IDLE
        if relation is Relation.BUSY_SAME:
            return Action.READ, Output.PARTIAL, SlotState.EMPTY, Outcome.EVICTED
        if relation is Relation.DONE_SAME:
            return keep, none, SlotState.EMPTY, Outcome.RETIRED
        return keep, none, None, Outcome.IDLE
    if not has(Flag.KNOWN):
        return keep, none, None, Outcome.UNKNOWN
    if not has(Flag.FITS):
        return keep, none, None, Outcome.MISFIT
    if kind in (PacketKind.ANSWER, PacketKind.BYE) or (
        kind == PacketKind.RESEND and policy is not Policy.SWITCHML
    ):
        return keep, same, None, Outcome.UPSTREAM
    if kind in (PacketKind.QUERY, PacketKind.BYE_ACK):
        return keep, same, None, Outcome.FORWARDED
    if kind == PacketKind.RESULT:
        marks = relation is Relation.BUSY_SAME and policy is not Policy.SWITCHML
        return keep, same, done if marks else None, Outcome.FORWARDED
    if kind == PacketKind.REMINDER:
        if relation is Relation.BUSY_SAME and policy is not Policy.SWITCHML:
            return Action.READ, Output.PARTIAL, SlotState.EMPTY, Outcome.REMINDED
        return keep, none, None, Outcome.NOTHING_HELD
    if kind not in CONTRIBUTIONS:
        return keep, none, None, Outcome.MISFIT
    # A contribution that the slot may take.
    if relation is Relation.BUSY_SAME and has(Flag.COUNTED):
        if policy is Policy.ATP and has(Flag.FULL):
            return Action.READ, Output.PARTIAL, None, Outcome.DUPLICATE
        return keep, none, None, Outcome.DUPLICATE
    if relation is Relation.DONE_SAME:
        if policy is Policy.SWITCHML:
            return Action.READ, Output.COPY, None, Outcome.ANSWERED
        return keep, same, None, Outcome.LATE
    if relation is Relation.DONE_OTHER and policy is Policy.SWITCHML and not has(Flag.NEWER):
        return keep, none, None, Outcome.DUPLICATE
    if relation is Relation.BUSY_OTHER:
        if policy is Policy.SWITCHML:
            return keep, none, None, Outcome.DUPLICATE
        wins = {
            Policy.ESA: has(Flag.HIGHER), Policy.ATP: False, Policy.ALWAYS: True,
            Policy.RANDOM: has(Flag.COIN),
        }[policy]  # fmt: skip
        if wins and not has(Flag.COMPLETES):
            return Action.SWAP, Output.PARTIAL, busy, Outcome.PREEMPTED
        return keep, same, None, Outcome.PASSED
    action = Action.ADD if relation is Relation.BUSY_SAME else Action.CLAIM
    if not has(Flag.COMPLETES):
        outcome = Outcome.ADDED if action is Action.ADD else Outcome.CLAIMED
        return action, none, busy, outcome
    if policy is Policy.ATP:
        return action, Output.PARTIAL, busy, Outcome.COMPLETED
    if policy in DIRECT and has(Flag.QUORUM):
        return action, Output.PARTIAL, done, Outcome.COMPLETED
    return action, Output.RESULT, done, Outcome.COMPLETED


def test_decisions_are_those_of_the_description() -> None:
    for policy, kind, relation, flags in situations():
        found: Decision = DECISIONS[decide(policy, kind, relation, flags)]
        seen = (found.action, found.output, found.state, found.outcome)
        assert seen == described(policy, kind, relation, flags), (policy, kind, relation, flags)
        assert found.decays == (found.outcome is Outcome.PASSED)


SEEDS = 4000


def test_classify_is_the_slow_description() -> None:
    rng = np.random.default_rng(11)
    relations = set()
    for _ in range(SEEDS):
        kind = int(rng.choice([int(kind) for kind in PacketKind]))
        job, epoch, slot_job, slot_epoch = (int(x) for x in rng.integers(0, 2, 4))
        seq = int(rng.choice([0, 1, 2**31, 2**31 + 1, 2**32 - 1]))
        slot_seq = int(rng.choice([seq, 0, 2**32 - 1, 2**31]))
        workers = int(rng.integers(1, 33))
        needed = int(rng.integers(1, workers + 1))
        worker, priority, slot_priority = (int(x) for x in rng.integers(0, [34, 256, 256]))
        coordinates, held_coordinates = (int(x) for x in rng.integers(1, 3, 2))
        enabled, job_epoch, lanes_right, coin = (int(x) for x in rng.integers(0, 2, 4))
        state = int(rng.integers(0, 3))
        bitmap = int(rng.integers(0, 1 << 32))
        count = bin(bitmap).count("1")
        packet = SimpleNamespace(
            kind=kind, job=job, epoch=epoch, seq=seq, worker=worker, priority=priority,
            coordinates=coordinates, lanes=Lanes.UINT8,
        )  # fmt: skip
        lanes = Lanes.UINT8 if lanes_right else Lanes.UINT16
        entry = JobEntry(bool(enabled), job_epoch, workers, needed, lanes)
        record = SlotRecord(
            SlotState(state), slot_job, slot_epoch, slot_seq, slot_priority, bitmap, count,
            coordinates=held_coordinates,
        )  # fmt: skip
        relation, flags = classify(packet, entry, record, coin)
        relations.add(relation)
        same = (job, epoch, seq) == (slot_job, slot_epoch, slot_seq)
        names = {0: "EMPTY", 1: "BUSY", 2: "DONE"}[state]
        names += "" if state == 0 else "_SAME" if same else "_OTHER"
        assert Relation(relation).name == names
        summing = names == "BUSY_SAME"
        suits = bool(lanes_right) and not (state and same and coordinates != held_coordinates)
        expected = {
            Flag.KNOWN: bool(enabled) and job_epoch == epoch,
            Flag.FITS: worker < workers and (kind not in CONTRIBUTIONS or suits),
            Flag.COUNTED: summing
            and worker < 32
            and str(bin(bitmap | 1 << 40))[-1 - worker] == "1",
            Flag.COMPLETES: (count if summing else 0) + 1 >= needed,
            Flag.FULL: summing and count >= needed,
            Flag.QUORUM: needed != workers,
            Flag.HIGHER: priority > slot_priority,
            Flag.COIN: bool(coin),
            Flag.NEWER: seq != slot_seq and (seq - slot_seq) % 2**32 < 2**31,
            Flag.AGED: False,
            Flag.FLUSH: False,
        }
        assert {flag: bool(flags >> flag & 1) for flag in Flag} == expected
    assert relations == set(Relation)


@pytest.mark.parametrize("policy", Policy, ids=lambda policy: policy.name)
def test_every_outcome_of_a_policy_is_reachable(policy: Policy) -> None:
    found = {
        DECISIONS[decide(policy, kind, relation, flags)].outcome
        for _, kind, relation, flags in situations()
    }
    never = {
        Policy.ATP: {Outcome.PREEMPTED, Outcome.ANSWERED},
        Policy.SWITCHML: {
            Outcome.PREEMPTED, Outcome.PASSED, Outcome.LATE, Outcome.REMINDED, Outcome.EVICTED,
        },
    }.get(policy, {Outcome.ANSWERED})  # fmt: skip
    assert found == set(Outcome) - never

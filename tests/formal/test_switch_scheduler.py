"""The switch's Scheduler on 2 slots and 2 jobs: proofs by k-induction.

Parser and row engine are free streams under the handshake's contract; jobs change, flushes and
looks come at any time.
"""

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assume, Cat, Cover, Mux, Signal, Value
from amaranth.lib import data

from eyas.interfaces.switch.actions import SCAN
from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.packet import MAX_WORKERS
from eyas.interfaces.switch.states import Outcome, Policy, SlotState
from hdl.switch.decide.decision import _classes as classes
from hdl.switch.decide.decision import decision_layout
from hdl.switch.decide.operation_builder import decided_layout
from hdl.switch.decide.scheduler import Scheduler
from hdl.switch.decide.slot_match import SlotMatch, updates_layout
from hdl.switch.decide.slot_records import key_layout, status_layout
from hdl.switch.layouts import RowAction, operation_layout
from tests.formal.harness import fires, keep_contract, mutant, prove, require, within

pytestmark = pytest.mark.formal

CONFIG = SwitchConfig(slots=2, slot_bytes=32, jobs=2, ingress_beats=8, egress_rows=4)
SCAN_CLASSES = sorted(
    {
        int(classes().packet_class[before | int(classes().group[policy << 4 | SCAN]) << 4])
        for policy in Policy
        for before in range(16)
    }
)
"""What ClassifyPacket says of looks, and of no packet."""
EVENT = 6
"""Cycles from a packet, or a look, to its event."""


def constant(m, shape):
    """Return a value that the solver chooses once."""
    value = Signal(shape)
    m.d.comb += value.eq(AnyConst(len(value)))
    return value


def environment(m, dut):
    """What the parser sees to, and settings that stay."""
    keep_contract(m, "i", dut.i, assume=True)
    settings = constant(m, len(Value.cast(dut.settings)))
    header = dut.i.p.header
    m.d.comb += [
        Assume(Value.cast(dut.settings) == settings),
        Assume(dut.settings.policy < len(Policy)),
        Assume(header.job < CONFIG.jobs),
        Assume(header.worker < MAX_WORKERS),
        Assume(header.kind != 0),
    ]


def delayed(m, name, value, cycles):
    """``value`` of 0, 1, … so many cycles ago."""
    values = [value]
    for cycle in range(cycles):
        later = Signal(len(value), name=f"{name}_{cycle}")
        m.d.sync += later.eq(values[-1])
        values.append(later)
    return values


def spacing_invariants(m, dut, inside):
    """Operations are 4 stages apart, and each has a place in the queue."""
    stages, wait, places = inside("stages"), inside("wait"), inside("places")
    inside.invariant("stages_apart", ~(stages & (stages >> 1 | stages >> 2 | stages >> 3)).any())
    for stage in range(3):
        inside.invariant(f"wait_in_{stage}", ~stages[stage] | (wait == 3 - stage))
    level = inside("queue.queue.level")
    inside.invariant("a_place_each", places + sum(stages) + level == dut.places)
    packets = inside("packets")
    inside.invariant("packets_are_operations", (packets & ~stages) == 0)


def identity(fields):
    """Which sum a packet, or a slot's record, is of."""
    return Cat(fields.job[:1], fields.epoch, fields.seq)


def pipeline_invariants(dut, inside, slot, worker, workers, keys, status, key):
    """What stages hold, so that the induction need not go back to where an operation began:
    the arrival is the packet of so many cycles ago, the record read that in memory, the comparisons
    those of both."""
    stages, found, record = inside("stages"), dut.packet_lookup.found, dut.records.record
    for stage in range(2, 6):
        same = found.own == 1 << workers[stage + 1]
        same &= identity(found.key) == keys[stage + 1]
        inside.invariant(f"arrived_in_{stage}", ~(stages[stage] & ~found.scan) | same)
    looks = found.packet_class.matches(*SCAN_CLASSES)
    is_class = found.packet_class <= int(classes().packet_class.max())
    inside.invariant("packet_class_is_one", ~stages[2:].any() | is_class)
    inside.invariant("looks_are_judged_so", ~stages[2:].any() | (found.scan == looks))
    here = found.slot == slot
    record_is = Value.cast(record) == Cat(key, status)
    inside.invariant("record_is_the_memory", ~(stages[2:5].any() & here) | record_is)
    state = record.status.state

    def bit(bitmap):
        return bitmap.bit_select(worker, 1)

    is_in, own = bit(record.status.bitmap), bit(found.own)
    same = found.scan | (identity(found.key) == identity(record.key))
    is_busy = state == SlotState.BUSY
    is_done = state == SlotState.DONE
    for name, value in (
        ("same", same), ("busy", is_busy), ("done", is_done)
    ):  # fmt: skip
        judged = inside(f"slot_match.{name}") == value
        inside.invariant(f"judged_{name}", ~stages[3] | judged)
    seen = found.scan | ~own | (inside("slot_match.counted") == is_in)
    inside.invariant("judged_counted", ~stages[3] | seen)
    updates = data.View(updates_layout, inside("updates"))
    inside.invariant("bits_join", ~stages[4] | (bit(updates.bitmap) == (own | is_in)))
    decided = data.View(decided_layout(CONFIG), inside("result"))
    for number, decision in (
        (4, data.View(decision_layout, inside("decide.decision"))),
        (5, decided.decision),
    ):
        stage = stages[number]
        rows = decision.rows
        may_add = is_busy & same & ~(own & is_in) & ~found.scan
        holds = is_busy | is_done
        claims = (rows == RowAction.CLAIM) | (rows == RowAction.SWAP)
        leaves = (rows == RowAction.READ) | (rows == RowAction.SWAP)
        sums = (rows == RowAction.CLAIM) | (rows == RowAction.ADD)
        inside.invariant(f"adds_{number}", ~(stage & decision.add) | may_add)
        inside.invariant(f"leaves_{number}", ~(stage & leaves) | holds)
        inside.invariant(f"rows_add_{number}", ~stage | (decision.add == (rows == RowAction.ADD)))
        inside.invariant(f"rows_claim_{number}", ~stage | (decision.claim == claims))
        inside.invariant(f"rows_join_{number}", ~stage | (decision.joined == sums))
        inside.invariant(f"packets_claim_{number}", ~(stage & claims) | ~found.scan)
    then = Mux(decided.decision.claim, own, is_in | (decided.decision.add & own))
    inside.invariant("result_bit", ~stages[5] | (bit(decided.record.status.bitmap) == then))
    written = Value.cast(decided.record) == Cat(key, status)
    inside.invariant("record_is_written", ~(stages[5] & here) | written)


def outcome_properties(m, dut, inside):
    """Each packet, and each look, has one event ``EVENT`` cycles later, and no other comes; a
    packet's outcome is a documented one. What leaves has a place; a packet waits at most 8 cycles
    for its turn while there is one, and looks do not keep it out."""
    environment(m, dut)
    spacing_invariants(m, dut, inside)
    begins = inside("begins")
    packet = fires(dut.i)
    require(m, "a_packet_begins", ~packet | begins)
    came = delayed(m, "came", packet, EVENT)[-1]
    began = delayed(m, "began", begins, EVENT)[-1]
    event = dut.event
    require(m, "one_event_each", dut.event_strobe == began)
    require(m, "packets_have_their_own", ~dut.event_strobe | (event.scan == ~came))
    require(
        m,
        "outcome_is_documented",
        ~dut.event_strobe | (event.outcome <= Mux(event.scan, Outcome.IDLE, Outcome.UNKNOWN)),
    )
    queue = inside("queue.queue.level")
    needed = inside("operation_builder.is_needed")
    require(m, "nothing_is_lost", ~(dut.event_strobe & needed) | (queue < dut.places))
    places, hold = inside("places"), inside("scan.hold")
    waits = within(m, "turn", 8, dut.ready & (places != 0) & ~hold & ~dut.i.ready, dut.i.ready)
    after_look, wait = inside("after_look"), inside("wait")
    inside.invariant("turn_is_near", waits <= Mux(after_look, 8, 4) - wait)
    for name, outcome in (("claims", Outcome.CLAIMED), ("passes", Outcome.PASSED)):
        seen = Signal(name=f"{name}_seen")
        m.d.comb += seen.eq(dut.event_strobe & (event.outcome == outcome))
        m.d.comb += Cover(seen)
    m.d.comb += Cover((queue == dut.places) & dut.o.valid)


def sum_properties(m, dut, inside):
    """No worker is counted twice in a slot, only packets of the slot's key are added, and a sum
    that leaves names the workers in it: for any one slot and any one worker."""
    environment(m, dut)
    spacing_invariants(m, dut, inside)
    slot = constant(m, len(dut.event.slot))
    worker = constant(m, 5)
    header = dut.i.p.header
    keys = delayed(m, "key", identity(header), EVENT)
    packet_workers = delayed(m, "worker", header.worker[:5], EVENT)
    came_key = keys[-1]
    own = Signal()
    m.d.comb += own.eq(packet_workers[-1] == worker)

    operation = data.View(operation_layout(CONFIG), inside("operation_builder.operation"))
    action = operation.action
    is_in, held = Signal(), Signal(len(came_key))
    here = Signal()
    claims, adds = Signal(), Signal()
    m.d.comb += [
        here.eq(dut.event_strobe & (dut.event.slot == slot)),
        claims.eq((action == RowAction.CLAIM) | (action == RowAction.SWAP)),
        adds.eq(action == RowAction.ADD),
    ]
    with m.If(here & claims):
        m.d.sync += [is_in.eq(own), held.eq(came_key)]
    with m.Elif(here & adds):
        m.d.sync += is_in.eq(is_in | own)
    require(m, "rows_are_the_events", ~here | (operation.slot == slot))
    require(m, "nobody_is_counted_twice", ~(here & adds & own & is_in))
    require(m, "only_its_key_is_added", ~(here & adds) | (held == came_key))
    leaves = here & operation.emits & (action != RowAction.PASS)
    then = Mux(adds, is_in | own, Mux(action == RowAction.CLAIM, own, is_in))
    named = operation.header.bitmap.bit_select(worker, 1)
    require(m, "a_sum_names_its_workers", ~leaves | (named == then))

    # The record tells the same, but for the one cycle in which it was written and nothing was done.
    status = data.View(status_layout, inside.memory_word("records.status_memory", slot))
    record_key = data.View(key_layout(CONFIG), inside.memory_word("records.key_memory", slot))
    empty = (status.state == SlotState.EMPTY) | inside("records.busy")
    told = status.bitmap.bit_select(worker, 1)
    inside.invariant("bitmap_is_the_workers", here | empty | (told == is_in))
    inside.invariant("key_is_the_slots", here | empty | (identity(record_key) == held))
    before = dut.records.record
    was_empty = before.status.state == SlotState.EMPTY
    told = before.status.bitmap.bit_select(worker, 1)
    inside.invariant("before_it", ~here | was_empty | (told == is_in))
    inside.invariant("before_it_key", ~here | was_empty | (identity(before.key) == held))
    pipeline_invariants(dut, inside, slot, worker, packet_workers, keys, status, record_key)
    joined = Signal()
    m.d.sync += joined.eq(joined | (here & adds))
    m.d.comb += Cover(joined & here & (action == RowAction.SWAP))
    m.d.comb += Cover(leaves & adds)


def build(kind=Scheduler):
    """A scheduler with two places: its queue is full soon."""
    return type("SmallScheduler", (kind,), {"places": 2})(CONFIG)


def test_every_packet_has_one_outcome(tmp_path):
    prove(
        build,
        outcome_properties,
        tmp_path,
        depth=7,
        cover_depth=20,
        faults={
            "dropped_unseen": (
                lambda: build(
                    mutant(
                        Scheduler,
                        "event_strobe.eq(leaves)",
                        "event_strobe.eq(leaves & operation_builder.is_needed)",
                    )
                ),
                "one_event_each",
            ),
            "no_place_kept": (
                lambda: build(mutant(Scheduler, "(wait == 0) & (places != 0)", "(wait == 0)")),
                "nothing_is_lost",
                14,
            ),
        },
    )


def test_nobody_is_counted_twice(tmp_path):
    forgetful = mutant(SlotMatch, "classify.counted.eq(", "classify.counted.eq(0 & ")
    prove(
        build,
        sum_properties,
        tmp_path,
        depth=3,
        cover_depth=18,
        faults={
            "no_duplicate_check": (
                lambda: build(mutant(Scheduler, SlotMatch=forgetful)),
                "counted_twice",
                10,
            ),
            "too_close": (
                lambda: build(mutant(Scheduler, "spacing = 4", "spacing = 3")),
                "only_its_key_is_added",
                10,
            ),
        },
    )

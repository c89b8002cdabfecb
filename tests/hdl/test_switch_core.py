"""The scheduler's parts against the models they stand for."""

import random
from itertools import product

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Value
from amaranth.lib import wiring
from amaranth.sim import Simulator

from eyas.interfaces.switch.actions import Action, Decision, Flag, Output, Relation
from eyas.interfaces.switch.config import DEFAULT_SWITCH, SwitchConfig
from eyas.interfaces.switch.lookup import DECISIONS, TABLE
from eyas.interfaces.switch.packet import PacketKind
from eyas.interfaces.switch.states import Policy
from hdl.switch.core import SwitchCore
from hdl.switch.decide.decision import (
    ClassifyPacket,
    ClassifySlot,
    Decide,
    GroupKind,
    decision_layout,
)
from hdl.switch.decide.slot_choice import SlotChoice
from hdl.switch.jobs.outcome_counters import OutcomeCounters
from hdl.switch.layouts import RowAction
from models.switch.hashing import shared_slot, static_slot

POLICIES, KINDS = len(Policy), 16
STATES = {
    # state and key: busy, done, same
    Relation.EMPTY: (0, 0, 0),
    Relation.BUSY_SAME: (1, 0, 1),
    Relation.BUSY_OTHER: (1, 0, 0),
    Relation.DONE_SAME: (0, 1, 1),
    Relation.DONE_OTHER: (0, 1, 0),
}


def simulate(component: wiring.Component, bench, clock: bool = False) -> None:
    m = Module()
    m.submodules.dut = component
    simulator = Simulator(m)
    if clock:
        simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()


def truth_table(component: wiring.Component, inputs: list[str], output: str, clock=False):
    """The output for each value of the inputs, the first lowest; with a clock, a cycle later."""
    index = Cat(*(Value.cast(getattr(component, name)) for name in inputs))
    found = np.zeros(1 << len(index), np.int64)

    async def bench(ctx):
        for value in range(len(found)):
            rest = value
            for name in inputs:
                port = getattr(component, name)
                ctx.set(port, rest & (1 << len(port)) - 1)
                rest >>= len(port)
            await (ctx.tick() if clock else ctx.delay(1e-9))
            found[value] = ctx.get(Value.cast(getattr(component, output)))

    simulate(component, bench, clock)
    return found


def meaning(decision: Decision) -> int:
    """What the RTL is to say for a decision of the model."""
    rows = {
        Action.KEEP: RowAction.NONE,
        Action.CLAIM: RowAction.CLAIM,
        Action.SWAP: RowAction.SWAP,
        Action.ADD: RowAction.ADD,
        Action.READ: RowAction.READ,
    }[decision.action]
    if decision.output is Output.SAME:
        assert decision.action is Action.KEEP
        rows = RowAction.PASS
    constant = decision_layout.const(
        {
            "rows": rows.value,
            "claim": decision.action in (Action.CLAIM, Action.SWAP),
            "add": decision.action is Action.ADD,
            "joined": decision.action in (Action.ADD, Action.CLAIM),
            "output": decision.output.value,
            "changes": decision.state is not None,
            "state": 0 if decision.state is None else decision.state.value,
            "decays": decision.decays,
            "outcome": decision.outcome.value,
        }
    )
    return constant.as_value().value


def test_decision_is_the_table_in_every_situation():
    """Each step's truth table out of simulation; composed, they are TABLE, situation by situation.

    A situation of the table that says COMPLETES for a slot is met with `last` or `alone`, FITS with
    a record of the same size or, if the packet contributes to a slot of its key, of another size.
    """
    groups = truth_table(GroupKind(), ["kind", "policy"], "group")
    classify = ClassifyPacket()
    packet_classes = truth_table(
        classify, ["known", "fits", "quorum", "coin", "group"], "packet_class"
    )
    slot_inputs = [
        "busy", "done", "same", "other_size", "counted", "last", "alone", "full", "higher", "newer",
        "aged", "flush",
    ]  # fmt: skip
    slot_classes = truth_table(ClassifySlot(), slot_inputs, "slot_class")
    last = Decide()
    slot_bits = len(last.slot_class)
    decisions = truth_table(last, ["slot_class", "packet_class"], "decision", clock=True)
    meanings = np.array([meaning(decision) for decision in DECISIONS])

    flags = np.arange(1 << len(Flag))
    bit = {flag: flags >> flag & 1 for flag in Flag}
    checked = 0
    table = TABLE.reshape(POLICIES, KINDS, len(Relation), -1)
    for policy, kind, relation in product(range(POLICIES), range(KINDS), Relation):
        group = groups[kind | policy << 4]
        busy, done, same = STATES[relation]
        held = bool(same)
        contributes = kind in (PacketKind.DATA, PacketKind.RESEND)
        # Ways to say the same: which of two comparisons holds, and why a packet does not fit.
        for other_completes, other_size in product((0, 1), (0, 1)):
            joins = relation is Relation.BUSY_SAME
            completes = bit[Flag.COMPLETES]
            last_in, alone = (completes, other_completes) if joins else (other_completes, completes)
            misfits = other_size and contributes and held
            fits = bit[Flag.FITS]
            possible = fits == 0 if misfits else np.ones(len(flags), bool)
            fits_before = 1 if misfits else fits
            before = bit[Flag.KNOWN] | fits_before << 1 | bit[Flag.QUORUM] << 2
            before = before | bit[Flag.COIN] << 3 | group << 4
            values = (
                busy, done, same, other_size, bit[Flag.COUNTED], last_in, alone, bit[Flag.FULL],
                bit[Flag.HIGHER], bit[Flag.NEWER], bit[Flag.AGED], bit[Flag.FLUSH],
            )  # fmt: skip
            slot = sum(value << place for place, value in enumerate(values))
            seen = decisions[slot_classes[slot] | packet_classes[before] << slot_bits]
            wanted = meanings[table[policy, kind, relation]]
            wrong = np.flatnonzero(possible & (seen != wanted))
            assert not len(wrong), f"{policy} {kind} {relation} flags {wrong[0]:b}"
            checked += possible.sum()
    assert checked >= TABLE.size


def test_slot_is_the_models():
    """Hash and own slots, for random keys."""
    config = DEFAULT_SWITCH
    dut = SlotChoice(config)
    rng = random.Random(5)

    async def bench(ctx):
        for _ in range(400):
            policy = rng.choice(list(Policy))
            job, seq, salt = rng.randrange(32), rng.getrandbits(32), rng.getrandbits(16)
            log2 = rng.randint(0, 8)
            size = 1 << rng.randint(1, 8)
            base = size * rng.randrange(config.slots // size)
            for name, value in (
                ("policy", policy), ("slots_log2", log2), ("salt", salt), ("take", 1), ("job", job),
                ("seq", seq), ("base", base), ("mask", size - 1),
            ):  # fmt: skip
                ctx.set(getattr(dut, name), value)
            await ctx.tick()
            shared = shared_slot(job, seq, salt, 1 << log2)
            own = static_slot(seq, base, size)
            assert ctx.get(dut.slot) == (own if policy is Policy.SWITCHML else shared)

    simulate(dut, bench, clock=True)


def test_counters_count_what_is_not_cleared():
    """Events every 4 cycles on one counter; a clearing forgets those before, never later ones."""
    config = SwitchConfig(slots=2, slot_bytes=32, jobs=2, ingress_beats=8, egress_rows=4)
    dut = OutcomeCounters(config)

    async def count(ctx, times, job, outcome):
        for _ in range(times):
            ctx.set(dut.strobe, 1)
            ctx.set(dut.job, job)
            ctx.set(dut.outcome, outcome)
            await ctx.tick()
            ctx.set(dut.strobe, 0)
            await ctx.tick().repeat(3)

    async def value(ctx, job, outcome):
        ctx.set(dut.read_job, job)
        ctx.set(dut.read_outcome, outcome)
        await ctx.tick().repeat(2)
        return ctx.get(dut.value)

    async def bench(ctx):
        await ctx.tick().until(~dut.busy)
        await count(ctx, 5, 1, 3)
        await count(ctx, 2, 0, 15)
        assert await value(ctx, 1, 3) == 5
        assert await value(ctx, 0, 15) == 2
        assert await value(ctx, 0, 3) == 0
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        await count(ctx, 40, 1, 15)  # while the clearing passes its counter
        assert not ctx.get(dut.busy)
        left = await value(ctx, 1, 15)
        assert left < 40
        assert await value(ctx, 1, 3) == await value(ctx, 0, 15) == 0
        await count(ctx, 3, 1, 15)
        assert await value(ctx, 1, 15) == left + 3

    simulate(dut, bench, clock=True)


@pytest.mark.parametrize("config", [None, 4, {"slots": 4}])
def test_a_configuration_is_wanted(config):
    with pytest.raises(TypeError, match="Config must be a SwitchConfig, not"):
        SwitchCore(config)

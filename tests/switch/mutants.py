"""Faults put into switch, server or worker on purpose: the harness must notice each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from eyas.interfaces.switch.actions import Action, Decision, Flag, Output, Relation
from eyas.interfaces.switch.lookup import DECISIONS, decide
from eyas.interfaces.switch.packet import Packet, PacketError, PacketKind
from eyas.interfaces.switch.states import Outcome, Policy, SlotState
from models.switch import golden as switch
from models.switch import server, terms, worker

Patch = pytest.MonkeyPatch
Situation = tuple[int, int, int, int]
"""Policy, kind, relation, flags: what decide() is given."""

SHARED = (Policy.ESA, Policy.ATP, Policy.ALWAYS, Policy.RANDOM)


def change_table(patch: Patch, change: Callable[[Decision, Situation], Decision]) -> None:
    """Let the golden switch's decisions pass through ``change``."""

    class Changed:
        def __getitem__(self, situation: Situation) -> Decision:
            return change(DECISIONS[decide(*situation)], situation)

    patch.setattr(switch, "decide", lambda *situation: situation)
    patch.setattr(switch, "DECISIONS", Changed())


def no_query(patch: Patch) -> None:
    """The server reminds the switch, but asks no worker."""
    asks = server.Server._remind

    def remind(self, number, key):
        return [data for data in asks(self, number, key) if kind_of(data) != PacketKind.QUERY]

    patch.setattr(server.Server, "_remind", remind)


def quorum_in_the_switch(patch: Patch) -> None:
    """The switch sends a quorum's sum to the workers itself."""

    def change(decision, situation):
        if decision.outcome is Outcome.COMPLETED and situation[3] >> Flag.QUORUM & 1:
            return replace(decision, output=Output.RESULT)
        return decision

    change_table(patch, change)


def duplicates_added(patch: Patch) -> None:
    """The switch does not look whether a worker is in already."""

    def change(decision, situation):
        if decision.outcome is Outcome.DUPLICATE and situation[2] == Relation.BUSY_SAME:
            return Decision(Action.ADD, Output.NONE, SlotState.BUSY, Outcome.ADDED)
        return decision

    change_table(patch, change)


def resend_added_in_the_switch(patch: Patch) -> None:
    """The switch treats RESEND as DATA."""

    def change(decision, situation):
        policy, kind, relation, flags = situation
        if kind == PacketKind.RESEND:
            return DECISIONS[decide(policy, PacketKind.DATA, relation, flags)]
        return decision

    change_table(patch, change)


def swap_keeps_the_bitmap(patch: Patch) -> None:
    """A packet that takes a slot over inherits the workers of the sum before."""
    act = switch.GoldenSwitch._act

    def mutant(self, slot, decision, packet):
        before = self.records[slot].bitmap
        out = act(self, slot, decision, packet)
        if decision.action is Action.SWAP:
            record = self.records[slot]
            record.bitmap |= before
            record.count = bin(record.bitmap).count("1")
        return out

    patch.setattr(switch.GoldenSwitch, "_act", mutant)


def swap_keeps_the_sums(patch: Patch) -> None:
    """A packet that takes a slot over is added to what was there."""
    act = switch.GoldenSwitch._act

    def mutant(self, slot, decision, packet):
        before = self.values[slot].copy()
        out = act(self, slot, decision, packet)
        if decision.action is Action.SWAP and self.records[slot].coordinates:
            self.values[slot] += before
        return out

    patch.setattr(switch.GoldenSwitch, "_act", mutant)


def superset_added(patch: Patch) -> None:
    """The server adds a partial sum that holds all it has, instead of taking it."""
    merge = server.Server._merge

    def mutant(self, key, packet, values):
        superset = not key.bitmap & ~packet.bitmap and key.bitmap != packet.bitmap
        if key.sums is not None and superset:
            values = server.add_sums(key.sums, values, packet.lanes)
        merge(self, key, packet, values)

    patch.setattr(server.Server, "_merge", mutant)


def overlap_added(patch: Patch) -> None:
    """The server adds sums whose workers overlap."""
    merge = server.Server._merge

    def mutant(self, key, packet, values):
        if key.bitmap & packet.bitmap and key.bitmap & ~packet.bitmap:
            key.sums = server.add_sums(key.sums, values, packet.lanes)
            key.bitmap |= packet.bitmap
        else:
            merge(self, key, packet, values)

    patch.setattr(server.Server, "_merge", mutant)


def server_ignores_epochs(patch: Patch) -> None:
    """The server takes contributions of before the job changed."""
    receive = server.Server.receive

    def mutant(self, data, now):
        packet = Packet.from_bytes(data).with_changes(epoch=self.terms.epoch)
        return receive(self, packet.to_bytes(), now)

    patch.setattr(server.Server, "receive", mutant)


def numbers_compared_plainly(patch: Patch) -> None:
    """Sequence numbers are compared as if they never wrapped."""
    patch.setattr(terms, "serial_distance", lambda seq, reference: seq - reference)


def worker_keeps_no_results(patch: Patch) -> None:
    """A worker forgets a result as soon as it has delivered it."""
    deliver = worker.Worker._deliver

    def mutant(self, packet, now):
        deliver(self, packet, now)
        for number in [n for n in self._results if n < self.base]:
            del self._results[number]

    patch.setattr(worker.Worker, "_deliver", mutant)


def delivered_again(patch: Patch) -> None:
    """A worker delivers a result as often as it comes."""
    deliver = worker.Worker._deliver

    def mutant(self, packet, now):
        number = self.terms.number(packet.seq, self.base)
        if number in self._results:
            included = bool(packet.bitmap >> self.worker & 1)
            self.deliveries.append(worker.Delivery(number, packet.bitmap, included, packet.sums()))
        deliver(self, packet, now)

    patch.setattr(worker.Worker, "_deliver", mutant)


def bitmap_not_looked_at(patch: Patch) -> None:
    """A worker that a quorum left out believes that it was in."""
    made = worker.Delivery

    def mutant(number, bitmap, included, sums):
        return made(number, bitmap, True, sums)

    patch.setattr(worker, "Delivery", mutant)


def finals_forgotten(patch: Patch) -> None:
    """The server forgets a quorum's sums as it does those of all workers."""
    purge = server.Server._purge

    def mutant(self):
        bases, self._bases = self._bases, [self._newest - 1] * len(self._bases)
        purge(self)
        self._bases = bases

    patch.setattr(server.Server, "_purge", mutant)


def final_made_twice(patch: Patch) -> None:
    """A late contribution to a quorum's final sum makes it another one."""
    take = server.Server._take

    def mutant(self, packet, number, now):
        key = self._keys.get(number)
        late = key is not None and key.final is not None and self.terms.quorum
        if late and packet.kind is PacketKind.RESEND and not key.final.bitmap & packet.bitmap:
            key.bitmap = key.final.bitmap
            key.sums = key.final.sums().astype("int64")
            key.final = None
        return take(self, packet, number, now)

    patch.setattr(server.Server, "_take", mutant)


def old_packet_takes_the_set(patch: Patch) -> None:
    """SwitchML without the comparison: a late copy takes the slot of a newer packet."""

    def change(decision, situation):
        policy, kind, relation, flags = situation
        if policy == Policy.SWITCHML and relation == Relation.DONE_OTHER:
            return DECISIONS[decide(policy, kind, relation, flags | 1 << Flag.NEWER)]
        return decision

    change_table(patch, change)


def unanswered_copy(patch: Patch) -> None:
    """SwitchML without the answer from a completed slot."""

    def change(decision, _):
        if decision.outcome is Outcome.ANSWERED:
            return replace(decision, action=Action.KEEP, output=Output.NONE)
        return decision

    change_table(patch, change)


def kind_of(data: bytes) -> PacketKind | None:
    """A packet's kind."""
    try:
        return Packet.from_bytes(data).kind
    except PacketError:
        return None


MUTANTS: tuple[tuple[Callable[[Patch], None], tuple[Policy, ...]], ...] = (
    (no_query, SHARED),
    (quorum_in_the_switch, SHARED),
    (duplicates_added, tuple(Policy)),
    (resend_added_in_the_switch, SHARED),
    (swap_keeps_the_bitmap, (Policy.ESA, Policy.ALWAYS, Policy.RANDOM)),
    (swap_keeps_the_sums, (Policy.ESA, Policy.ALWAYS, Policy.RANDOM)),
    (superset_added, SHARED),
    (overlap_added, SHARED),
    (server_ignores_epochs, SHARED),
    (numbers_compared_plainly, tuple(Policy)),
    (worker_keeps_no_results, SHARED),
    (delivered_again, tuple(Policy)),
    (bitmap_not_looked_at, SHARED),
    (finals_forgotten, SHARED),
    (final_made_twice, SHARED),
    (old_packet_takes_the_set, (Policy.SWITCHML,)),
    (unanswered_copy, (Policy.SWITCHML,)),
)
"""Each with the policies under which it matters."""

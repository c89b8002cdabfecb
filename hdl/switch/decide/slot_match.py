"""Compares a packet with the record of its slot."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.states import SlotState
from hdl.switch.decide.decision import ClassifySlot, slot_class_shape
from hdl.switch.decide.packet_lookup import found_layout
from hdl.switch.decide.slot_records import slot_layout, status_layout
from hdl.switch.layouts import settings_layout

__all__ = ["SlotMatch", "updates_layout"]

updates_layout = data.StructLayout(
    {
        "priority": status_layout["priority"].shape,
        "bitmap": status_layout["bitmap"].shape,
        "count": status_layout["count"].shape,
        "decayed_priority": status_layout["priority"].shape,
        "decayed_collisions": status_layout["collisions"].shape,
        "looked_age": status_layout["age"].shape,
    }
)
"""Next values of a status: with the contribution added, after a collision, after a look."""


def _counted_on(value):
    """``value + 1``, or the greatest value that fits."""
    most = (1 << len(value)) - 1
    return Mux(value == most, most, value + 1)


class SlotMatch(wiring.Component):
    """Compares a packet with a slot's record, and classifies the slot.

    Meanwhile it computes every next status that a decision may choose from.

    All inputs stay as they are for 2 cycles.

    Latency: ``meets_other`` 1 cycle; ``slot_class`` and ``updates`` 2 cycles, for 1 cycle at least.

    Parameters
    ----------
    config : SwitchConfig
        Slots, jobs.

    Members
    -------
    packet_found : In(found_layout)
        A packet or a look.
    record : In(slot_layout)
        The record of its slot.
    age_limit, decay_after : In
        Settings.
    flush_job : In
        The job that is being flushed.
    meets_other : Out(1)
        DATA met a slot that is busy with another key.
    slot_class : Out
        For :class:`hdl.switch.decide.decision.Decide`.
    updates : Out(updates_layout)
        For :class:`hdl.switch.decide.status_update.StatusUpdate`.
    """

    def __init__(self, config: SwitchConfig):
        self.config = config
        super().__init__(
            {
                "packet_found": In(found_layout(config)),
                "record": In(slot_layout(config)),
                "age_limit": In(settings_layout["age_limit"].shape),
                "decay_after": In(settings_layout["decay_after"].shape),
                "flush_job": In(ceil_log2(config.jobs)),
                "meets_other": Out(1),
                "slot_class": Out(slot_class_shape()),
                "updates": Out(updates_layout),
            }
        )

    def elaborate(self, platform):
        m = Module()
        found, key, status = self.packet_found, self.record.key, self.record.status
        priority = found.packet.header.priority

        m.submodules.classify = classify = ClassifySlot()
        is_data = Signal()
        differs = Signal()
        is_before = Signal()
        decays = Signal()
        more = Signal.like(status.collisions)
        same_key = (
            (found.key.job == key.job) & (found.key.epoch == key.epoch) & (found.key.seq == key.seq)
        )
        decay_from = Signal.like(self.decay_after, reset_less=True)
        m.d.sync += [
            decay_from.eq(self.decay_after - 1),
            classify.busy.eq(status.state == SlotState.BUSY),
            classify.done.eq(status.state == SlotState.DONE),
            classify.same.eq(found.scan | same_key),
            classify.other_size.eq(found.key.coordinates != key.coordinates),
            classify.counted.eq((found.own & status.bitmap).any()),
            classify.alone.eq(found.needed_minus_one == 0),
            classify.last.eq(status.count >= found.needed_minus_one),
            classify.full.eq(status.count >= found.needed),
            classify.higher.eq(priority > status.priority),
            is_before.eq((found.key.seq - key.seq)[31]),
            differs.eq(found.key.seq != key.seq),
            classify.aged.eq((self.age_limit != 0) & (status.age >= self.age_limit)),
            classify.flush.eq(found.flush & (key.job == self.flush_job)),
            is_data.eq(found.data),
            more.eq(_counted_on(status.collisions)),
            decays.eq((self.decay_after != 0) & (status.collisions >= decay_from)),
        ]
        m.d.comb += [
            classify.newer.eq(differs & ~is_before),
            self.meets_other.eq(is_data & classify.busy & ~classify.same),
        ]

        updates = Signal(updates_layout, reset_less=True)
        m.d.comb += self.updates.eq(updates)
        m.d.sync += [
            self.slot_class.eq(classify.slot_class),
            updates.priority.eq(Mux(classify.higher, priority, status.priority)),
            updates.bitmap.eq(found.own | status.bitmap),
            updates.count.eq(status.count + 1),
            updates.decayed_priority.eq(Mux(decays, status.priority[1:], status.priority)),
            updates.decayed_collisions.eq(Mux(decays, 0, more)),
            updates.looked_age.eq(_counted_on(status.age)),
        ]

        return m

"""How a packet and a slot's record stand to each other."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.states import SlotState
from hdl.switch.decide.decision import JudgeSlot, slot_class_shape
from hdl.switch.decide.packet_lookup import arrival_layout
from hdl.switch.decide.slot_records import slot_layout, status_layout
from hdl.switch.layouts import settings_layout

__all__ = ["Comparison", "updates_layout"]

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
"""What may become of a status: with the contribution added, after a collision, after a look."""


def _counted_on(value):
    """``value + 1``, or the greatest value that fits."""
    most = (1 << len(value)) - 1
    return Mux(value == most, most, value + 1)


class Comparison(wiring.Component):
    """Compares, then judges the slot, and works out meanwhile what may become of its status.

    All inputs stay as they are for 2 cycles.

    Latency: ``meets_other`` 1 cycle; ``slot_class`` and ``updates`` 2 cycles, for 1 cycle at least.

    Parameters
    ----------
    config : SwitchConfig
        Slots, jobs.

    Members
    -------
    arrival : In(arrival_layout)
    record : In(slot_layout)
        Of the slot that it meets.
    age_limit, decay_after : In
        Settings.
    flush_job : In
        The job that is being flushed.
    meets_other : Out(1)
        DATA met a slot that is busy with another key.
    slot_class : Out
        For :class:`hdl.switch.decide.decision.Decide`.
    updates : Out(updates_layout)
    """

    def __init__(self, config: SwitchConfig):
        self.config = config
        super().__init__(
            {
                "arrival": In(arrival_layout(config)),
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
        arrival, key, status = self.arrival, self.record.key, self.record.status
        priority = arrival.packet.header.priority

        m.submodules.judge = judge = JudgeSlot()
        is_data = Signal()
        differs = Signal()
        is_before = Signal()
        decays = Signal()
        more = Signal.like(status.collisions)
        same_key = (
            (arrival.key.job == key.job)
            & (arrival.key.epoch == key.epoch)
            & (arrival.key.seq == key.seq)
        )
        decay_from = Signal.like(self.decay_after, reset_less=True)
        m.d.sync += [
            decay_from.eq(self.decay_after - 1),
            judge.busy.eq(status.state == SlotState.BUSY),
            judge.done.eq(status.state == SlotState.DONE),
            judge.same.eq(arrival.scan | same_key),
            judge.other_size.eq(arrival.key.coordinates != key.coordinates),
            judge.counted.eq((arrival.own & status.bitmap).any()),
            judge.alone.eq(arrival.less == 0),
            judge.last.eq(status.count >= arrival.less),
            judge.full.eq(status.count >= arrival.needed),
            judge.higher.eq(priority > status.priority),
            is_before.eq((arrival.key.seq - key.seq)[31]),
            differs.eq(arrival.key.seq != key.seq),
            judge.aged.eq((self.age_limit != 0) & (status.age >= self.age_limit)),
            judge.flush.eq(arrival.flush & (key.job == self.flush_job)),
            is_data.eq(arrival.data),
            more.eq(_counted_on(status.collisions)),
            decays.eq((self.decay_after != 0) & (status.collisions >= decay_from)),
        ]
        m.d.comb += [
            judge.newer.eq(differs & ~is_before),
            self.meets_other.eq(is_data & judge.busy & ~judge.same),
        ]

        updates = Signal(updates_layout, reset_less=True)
        m.d.comb += self.updates.eq(updates)
        m.d.sync += [
            self.slot_class.eq(judge.slot_class),
            updates.priority.eq(Mux(judge.higher, priority, status.priority)),
            updates.bitmap.eq(arrival.own | status.bitmap),
            updates.count.eq(status.count + 1),
            updates.decayed_priority.eq(Mux(decays, status.priority[1:], status.priority)),
            updates.decayed_collisions.eq(Mux(decays, 0, more)),
            updates.looked_age.eq(_counted_on(status.age)),
        ]

        return m

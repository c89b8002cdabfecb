"""A slot's next status."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.switch.config import SwitchConfig
from hdl.switch.decide.decision import decision_layout
from hdl.switch.decide.packet_lookup import found_layout
from hdl.switch.decide.slot_match import updates_layout
from hdl.switch.decide.slot_records import status_layout

__all__ = ["StatusUpdate"]


class StatusUpdate(wiring.Component):
    """Chooses the slot's next status by the decision; combinational.

    Parameters
    ----------
    config : SwitchConfig
        Slots, jobs, depths.

    Members
    -------
    found : In(found_layout)
        The packet or look.
    before : In(status_layout)
        The status as it was.
    updates : In(updates_layout)
        What may become of it.
    decision : In(decision_layout)
        What is done.
    status : Out(status_layout)
        The status behind it.
    """

    def __init__(self, config: SwitchConfig):
        super().__init__(
            {
                "found": In(found_layout(config)),
                "before": In(status_layout),
                "updates": In(updates_layout),
                "decision": In(decision_layout),
                "status": Out(status_layout),
            }
        )

    def elaborate(self, platform):
        m = Module()
        decision, updates, status = self.decision, self.updates, self.status

        m.d.comb += status.eq(self.before)
        with m.If(decision.changes):
            m.d.comb += [status.state.eq(decision.state), status.age.eq(0)]
        with m.Elif(self.found.scan):
            m.d.comb += status.age.eq(updates.looked_age)
        with m.If(decision.claim):
            m.d.comb += [
                status.priority.eq(self.found.packet.header.priority),
                status.bitmap.eq(self.found.own),
                status.count.eq(1),
                status.collisions.eq(0),
            ]
        with m.Elif(decision.add):
            m.d.comb += [
                status.priority.eq(updates.priority),
                status.bitmap.eq(updates.bitmap),
                status.count.eq(updates.count),
            ]
        with m.Elif(decision.decays):
            m.d.comb += [
                status.priority.eq(updates.decayed_priority),
                status.collisions.eq(updates.decayed_collisions),
            ]

        return m

"""Builds the operation that a decision leads to, with the header of the packet that leaves."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.switch.actions import Output
from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.packet import PACKET_MAGIC, PACKET_VERSION, PacketKind
from hdl.switch.decide.decision import decision_layout
from hdl.switch.decide.packet_lookup import found_layout
from hdl.switch.decide.slot_records import slot_layout
from hdl.switch.layouts import event_layout, header_layout, operation_layout

__all__ = ["OperationBuilder", "decided_layout"]


def decided_layout(config: SwitchConfig) -> data.StructLayout:
    """A decision, with the slot's record behind it."""
    return data.StructLayout({"decision": decision_layout, "record": slot_layout(config)})


class OperationBuilder(wiring.Component):
    """Makes the operation, with the header that leaves, and the event; combinational.

    Parameters
    ----------
    config : SwitchConfig
        Slots, jobs, depths.

    Members
    -------
    found : In(found_layout)
        The packet or look.
    before : In(slot_layout)
        The slot's record as it was.
    decided : In(decided_layout)
        What is done.
    operation : Out(operation_layout)
    is_needed : Out(1)
        A packet leaves, or there is a payload to be done with: else the operation is nothing.
    event : Out(event_layout)
    """

    def __init__(self, config: SwitchConfig):
        self.config = config
        super().__init__(
            {
                "found": In(found_layout(config)),
                "before": In(slot_layout(config)),
                "decided": In(decided_layout(config)),
                "operation": Out(operation_layout(config)),
                "is_needed": Out(1),
                "event": Out(event_layout(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        found, decision, operation = self.found, self.decided.decision, self.operation
        packet = found.packet

        leaving = Signal(slot_layout(self.config))
        with m.If(decision.joined):
            m.d.comb += leaving.eq(self.decided.record)
        with m.Else():
            m.d.comb += leaving.eq(self.before)
        key, status = leaving.key, leaving.status
        header = Signal(header_layout)
        with m.If(decision.output == Output.SAME):
            m.d.comb += [header.eq(packet.header), header.checksum.eq(0)]
        with m.Else():
            m.d.comb += [
                header.magic.eq(PACKET_MAGIC),
                header.version.eq(PACKET_VERSION),
                header.kind.eq(
                    Mux(decision.output == Output.PARTIAL, PacketKind.PARTIAL, PacketKind.RESULT)
                ),
                header.length.eq(key.coordinates << key.lanes),
                *(header[name].eq(key[name]) for name in key.shape().members),
                *(header[name].eq(status[name]) for name in ("priority", "bitmap", "count")),
            ]
            with m.Switch(decision.output):
                with m.Case(Output.RESULT):
                    m.d.comb += header.destinations.eq(found.everyone)
                with m.Case(Output.COPY):
                    m.d.comb += header.destinations.eq(found.own)

        m.d.comb += [
            self.is_needed.eq(operation.emits | (operation.beats != 0)),
            operation.action.eq(decision.rows),
            operation.emits.eq(decision.output != Output.NONE),
            operation.header.eq(header),
            operation.slot.eq(found.slot),
            operation.job.eq(found.key.job),
            operation.lanes.eq(found.key.lanes),
            operation.coordinates.eq(found.key.coordinates),
            operation.start.eq(packet.start),
            operation.beats.eq(found.beats),
            self.event.scan.eq(found.scan),
            self.event.flush.eq(found.flush),
            self.event.slot.eq(found.slot),
            self.event.job.eq(Mux(found.scan, self.before.key.job, found.key.job)),
            self.event.outcome.eq(decision.outcome),
        ]

        return m

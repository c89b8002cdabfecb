"""Starts and stops the rings, takes their indices, keeps their first error."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.switch.registers import (
    RING_LOG2,
    SWITCH_REGISTERS,
    SwitchCode,
    SwitchPlace,
)
from hdl.parts.layout import register_layout
from hdl.switch.rings.ring_shapes import (
    address_shape,
    entries_shape,
    index_shape,
    place_shape,
    trouble_layout,
)

__all__ = ["RingControl"]


class RingControl(wiring.Component):
    """The rings' registers, and the errors of the parts that work on the rings.

    Members
    -------
    command : In, command_strobe : In(1)
        CONTROL as it is written.
    ingress_base, egress_base, window_base, window_end : In
        Addresses, taken at a start.
    sizes : In
        RING_SIZES, likewise.
    doorbell, acknowledge : In, with strobes
        Indices as they are written.
    consumed, produced : In
        Where the reader and the writer are.
    idle : In(1)
        Nothing is under way.
    reader_failed, writer_failed : In(1), with trouble and (the reader's) place
        Errors.
    start : Out(1)
        High for one cycle; everything below stands from the next one on.
    running, dropping : Out(1)
        Descriptors are taken; packets are dropped.
    ingress_at, egress_at, window_from, window_to : Out
    ingress_entries, egress_entries : Out
    producer, consumer : Out
        The doorbell, and the acknowledgement, as taken.
    acknowledged : Out(1)
        High for one cycle: an acknowledgement was taken.
    error, error_address : Out
        Registers.
    failed : Out(2)
        Errors of this cycle.
    """

    def __init__(self):
        def layout(name):
            return register_layout(SWITCH_REGISTERS[name])

        super().__init__(
            {
                "command": In(layout("control")),
                "command_strobe": In(1),
                "ingress_base": In(address_shape),
                "egress_base": In(address_shape),
                "window_base": In(address_shape),
                "window_end": In(address_shape),
                "sizes": In(layout("ring_sizes")),
                "doorbell": In(index_shape),
                "doorbell_strobe": In(1),
                "acknowledge": In(index_shape),
                "acknowledge_strobe": In(1),
                "consumed": In(index_shape),
                "produced": In(index_shape),
                "idle": In(1),
                "reader_failed": In(1),
                "reader_trouble": In(trouble_layout),
                "reader_place": In(place_shape),
                "writer_failed": In(1),
                "writer_trouble": In(trouble_layout),
                "start": Out(1),
                "running": Out(1),
                "dropping": Out(1),
                "ingress_at": Out(address_shape),
                "egress_at": Out(address_shape),
                "window_from": Out(address_shape),
                "window_to": Out(address_shape),
                "ingress_entries": Out(entries_shape),
                "egress_entries": Out(entries_shape),
                "producer": Out(index_shape),
                "consumer": Out(index_shape),
                "acknowledged": Out(1),
                "error": Out(layout("error")),
                "error_address": Out(layout("error_address")),
                "failed": Out(2),
            }
        )

    def elaborate(self, platform):
        m = Module()
        least, most = RING_LOG2
        command, strobe = self.command, self.command_strobe

        # What software may not do: a start, an index.
        refused, refused_index = Signal(8), Signal(index_shape)
        bases = (self.ingress_base, self.egress_base, self.window_base)
        logs = (self.sizes.ingress_log2, self.sizes.egress_log2)
        crooked = sum((base[:3] != 0 for base in bases[1:]), bases[0][:3] != 0) != 0
        unfit = sum(((log < least) | (log > most) for log in logs), 0) != 0

        with m.If(strobe & (command.stop | command.abort)):
            m.d.sync += self.running.eq(0)
        with m.If(strobe & command.abort):
            # Until the next start: looks at slots go on, and software gives the memory back.
            m.d.sync += self.dropping.eq(1)
        with m.If(strobe & command.start):
            with m.If(self.running | ~self.idle):
                m.d.comb += refused.eq(SwitchCode.RINGS_RUNNING)
            with m.Elif(crooked):
                m.d.comb += refused.eq(SwitchCode.RING_MISALIGNED)
            with m.Elif(unfit):
                m.d.comb += refused.eq(SwitchCode.RING_SIZE)
            with m.Else():
                m.d.comb += self.start.eq(1)
                m.d.sync += [
                    self.running.eq(1),
                    self.dropping.eq(0),
                    self.ingress_at.eq(self.ingress_base),
                    self.egress_at.eq(self.egress_base),
                    self.window_from.eq(self.window_base),
                    self.window_to.eq(self.window_end),
                    self.ingress_entries.eq(1 << self.sizes.ingress_log2),
                    self.egress_entries.eq(1 << self.sizes.egress_log2),
                    self.producer.eq(0),
                    self.consumer.eq(0),
                ]

        # An index is checked in the cycle after its write.
        rung, took = Signal(), Signal()
        ahead, posted, taken = Signal(index_shape), Signal(index_shape), Signal(index_shape)
        doorbell, acknowledge = Signal(index_shape), Signal(index_shape)
        m.d.sync += [
            rung.eq(self.doorbell_strobe),
            doorbell.eq(self.doorbell),
            ahead.eq(self.doorbell - self.consumed),
            posted.eq(self.producer - self.consumed),
            took.eq(self.acknowledge_strobe),
            acknowledge.eq(self.acknowledge),
            taken.eq(self.acknowledge - self.consumer),
        ]
        waiting = Signal(index_shape)
        m.d.sync += waiting.eq(self.produced - self.consumer)
        with m.If(rung):
            with m.If((ahead > self.ingress_entries) | (ahead < posted)):
                m.d.comb += [
                    refused.eq(SwitchCode.RING_OVERRUN),
                    refused_index.eq(doorbell),
                ]
            with m.Else():
                m.d.sync += self.producer.eq(doorbell)
        with m.If(took):
            with m.If(taken > waiting):
                m.d.comb += [
                    refused.eq(SwitchCode.RING_OVERRUN),
                    refused_index.eq(acknowledge),
                ]
            with m.Else():
                m.d.comb += self.acknowledged.eq(1)
                m.d.sync += self.consumer.eq(acknowledge)

        # The first error stays.  A clear gives way to an error of the same cycle.
        clears = strobe & command.clear_error
        failed = refused != 0
        m.d.comb += self.failed.eq(failed + self.reader_failed + self.writer_failed)
        with m.If(clears):
            m.d.sync += [self.error.eq(0), self.error_address.eq(0)]
        with m.If(clears | (self.error.code == 0)):
            for happens, trouble, place in (
                (self.reader_failed, self.reader_trouble, self.reader_place),
                (self.writer_failed, self.writer_trouble, SwitchPlace.PACKETS),
            ):
                with m.If(happens):
                    m.d.sync += [
                        self.error.code.eq(trouble.code),
                        self.error.place.eq(place),
                        self.error.index.eq(trouble.index),
                        self.error_address.address.eq(trouble.address),
                    ]
            with m.If(failed):
                m.d.sync += [
                    self.error.code.eq(refused),
                    self.error.place.eq(SwitchPlace.RINGS),
                    self.error.index.eq(refused_index),
                    self.error_address.address.eq(0),
                ]

        return m

"""Decides which packet may have which slot; an operation every 4 cycles."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.switch.actions import COIN_TAPS
from eyas.interfaces.switch.config import SwitchConfig
from hdl.parts.stream import StreamFifo
from hdl.switch.decide.decision import Decide
from hdl.switch.decide.operation_builder import OperationBuilder, decided_layout
from hdl.switch.decide.packet_lookup import PacketLookup
from hdl.switch.decide.slot_match import SlotMatch
from hdl.switch.decide.slot_records import SlotRecords, slot_layout
from hdl.switch.decide.slot_scan import SlotScan
from hdl.switch.decide.status_update import StatusUpdate
from hdl.switch.jobs.job_table import TrainingJobWritePort
from hdl.switch.layouts import event_layout, operation_layout, packet_layout, settings_layout

__all__ = ["Scheduler"]


class Scheduler(wiring.Component):
    """Decides what each packet does to its slot, and keeps the slots' records.

    Packets keep their order; looks at slots stand between them.  An operation begins every 4 cycles
    at most, so that a record is written before the next operation reads one, and only when there
    is a place for what it leads to: nothing waits within.  A look and a packet take turns when both
    are there.

    Latency: 7 cycles from a packet to its operation.

    Parameters
    ----------
    config : SwitchConfig
        Slots, jobs, depths.

    Members
    -------
    i : In(stream of packet_layout)
        Good packets of jobs that the table has.
    o : Out(stream of operation_layout)
        What is to be done with slots and payloads; a look or packet that needs nothing of either
        makes no operation.
    settings : In(settings_layout)
        Change only while nothing is under way.
    job_write : In(TrainingJobWritePort)
        Sets an entry of the job table.
    flush : In(1)
        Looks at every slot, and empties those of ``flush_job``; ignored while ``flushing``.
    flush_job : In
        The job; stays as it is while ``flushing``.
    flushing : Out(1)
        A flush is under way; ends when ``rows_idle`` says that all it led to is done.
    rows_idle : In(1)
        Whoever takes the operations is done with those that it took.
    event : Out(event_layout), event_strobe : Out(1)
        The outcome of each packet or look, in order.
    event_record : Out(slot_layout)
        The slot's record after it; for benches.
    ready : Out(1)
        The records are cleared after the reset; until then nothing is taken.
    idle : Out(1)
        No packet and no operation is in here; there may be looks, of which one may lead to an
        operation.
    """

    latency = 7
    spacing = 4
    places = 4
    """Operations under way or waiting to be taken."""

    def __init__(self, config: SwitchConfig):
        self.config = config
        self.records = SlotRecords(config)
        self.packet_lookup = PacketLookup(config)
        self.scan = SlotScan(config)
        self.queue = StreamFifo(operation_layout(config), self.places)
        job = ceil_log2(config.jobs)
        super().__init__(
            {
                "i": In(stream.Signature(packet_layout(config))),
                "o": Out(stream.Signature(operation_layout(config))),
                "settings": In(settings_layout),
                "job_write": In(TrainingJobWritePort(config)),
                "flush": In(1),
                "flush_job": In(job),
                "flushing": Out(1),
                "rows_idle": In(1),
                "event": Out(event_layout(config)),
                "event_strobe": Out(1),
                "event_record": Out(slot_layout(config)),
                "ready": Out(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, settings, scan, queue = self.config, self.settings, self.scan, self.queue
        m.submodules.packet_lookup = packet_lookup = self.packet_lookup
        m.submodules.records = records = self.records
        m.submodules.scan = scan
        m.submodules.queue = queue
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        wiring.connect(m, wiring.flipped(self.job_write), packet_lookup.job_write)

        # What begins: a packet, or a look.
        can_begin = Signal()
        begins = Signal()
        after_look = Signal()
        is_wasted = Signal()
        places = Signal(range(self.places + 1), init=self.places)
        wait = Signal(range(self.spacing))
        packets = Signal(6)  # stages that a packet is in
        m.d.comb += [
            scan.period.eq(settings.scan_period),
            scan.flush.eq(self.flush),
            scan.drained.eq((places == self.places) & self.rows_idle),
            self.flushing.eq(scan.flushing),
            self.idle.eq(~packets.any() & ~queue.o.valid),
            self.ready.eq(~records.busy),
            can_begin.eq(self.ready & (wait == 0) & (places != 0) & ~scan.hold),
            scan.taken.eq(can_begin & scan.look & ~after_look),
            self.i.ready.eq(can_begin & ~scan.taken),
            begins.eq(scan.taken | (self.i.ready & self.i.valid)),
        ]
        m.d.sync += [
            places.eq(places - begins + is_wasted + (self.o.valid & self.o.ready)),
            packets.eq(Cat(self.i.ready & self.i.valid, packets)),
        ]
        with m.If(can_begin):
            m.d.sync += after_look.eq(scan.taken)
        with m.If(begins):
            m.d.sync += wait.eq(self.spacing - 1)
        with m.Elif(wait != 0):
            m.d.sync += wait.eq(wait - 1)

        # The stage that it is in. What was found, and the record once read, stay for 4 cycles:
        # until the end of the last stage.
        stages = Signal(6)  # looks up, reads, compares, classifies, decides, leaves
        reads, classifies, decides, leaves = stages[1], stages[3], stages[4], stages[5]
        m.d.sync += stages.eq(Cat(begins, stages))
        coin = Signal(16, init=1)
        m.d.comb += [
            packet_lookup.settings.eq(settings),
            packet_lookup.take.eq(begins),
            packet_lookup.scan.eq(scan.taken),
            packet_lookup.packet.eq(self.i.payload),
            packet_lookup.look.slot.eq(scan.slot),
            packet_lookup.look.flush.eq(scan.is_flush),
            packet_lookup.coin.eq(coin[0]),
            records.read.eq(reads),
            records.read_slot.eq(packet_lookup.slot),
        ]

        m.submodules.slot_match = slot_match = SlotMatch(config)
        m.submodules.decide = decide = Decide()
        m.submodules.update = update = StatusUpdate(config)
        m.d.comb += [
            slot_match.packet_found.eq(packet_lookup.found),
            slot_match.record.eq(records.record),
            slot_match.age_limit.eq(settings.age_limit),
            slot_match.decay_after.eq(settings.decay_after),
            slot_match.flush_job.eq(self.flush_job),
            decide.packet_class.eq(packet_lookup.found.packet_class),
            decide.slot_class.eq(slot_match.slot_class),
            update.found.eq(packet_lookup.found),
            update.before.eq(records.record.status),
            update.updates.eq(slot_match.updates),
            update.decision.eq(decide.decision),
            records.write_slot.eq(packet_lookup.found.slot),
            records.write_status.eq(decides),
            records.write_key.eq(decides & decide.decision.claim),
            records.key.eq(packet_lookup.found.key),
            records.status.eq(update.status),
        ]
        # Every DATA packet that meets another's sum tosses the coin for the next.
        with m.If(classifies & slot_match.meets_other):
            m.d.sync += coin.eq(coin[1:] ^ Mux(coin[0], COIN_TAPS, 0))

        m.submodules.operation_builder = operation_builder = OperationBuilder(config)
        result = Signal(decided_layout(config), reset_less=True)
        m.d.sync += [
            result.decision.eq(decide.decision),
            result.record.key.eq(
                Mux(decide.decision.claim, packet_lookup.found.key, records.record.key)
            ),
            result.record.status.eq(update.status),
        ]
        m.d.comb += [
            operation_builder.found.eq(packet_lookup.found),
            operation_builder.before.eq(records.record),
            operation_builder.decided.eq(result),
            queue.i.payload.eq(operation_builder.operation),
            queue.i.valid.eq(leaves & operation_builder.is_needed),
            is_wasted.eq(leaves & ~operation_builder.is_needed),
            self.event.eq(operation_builder.event),
            self.event_strobe.eq(leaves),
            self.event_record.eq(result.record),
        ]

        return m

"""The switch: frames in, packets out, 256 bits a cycle."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.states import COUNTED_OUTCOMES
from hdl.switch.decide.scheduler import Scheduler
from hdl.switch.decide.slot_records import slot_layout
from hdl.switch.ingress.parser import FAULT_JOB, IngressParser
from hdl.switch.jobs.job_table import TrainingJobWritePort
from hdl.switch.jobs.outcome_counters import OutcomeCounters
from hdl.switch.layouts import egress_layout, event_layout, frame_layout, settings_layout
from hdl.switch.rows.row_engine import RowEngine
from hdl.switch.rows.row_lanes import table_config
from hdl.thc.lanes.table_lookup import TableWritePort

__all__ = ["SwitchCore"]


class SwitchCore(wiring.Component):
    """Aggregates packets of many jobs in few slots, exactly as
    ``models.switch.golden.GoldenSwitch``.

    Frames keep their order; at most one packet leaves for each.  An invalid frame changes
    nothing but a counter.  What leaves waits in the egress queue; while it is full, frames wait.

    Throughput: a beat a cycle whatever the packets do, as long as rows are taken as fast as they
    leave.

    Parameters
    ----------
    config : SwitchConfig
        Slots, jobs, depths.

    Members
    -------
    i : In(stream of frame_layout)
        Frames.
    o : Out(stream of egress_layout)
        Packets that leave.
    settings : In(settings_layout)
        Change only while ``idle`` and no job is enabled.
    job_write : In(TrainingJobWritePort)
        Sets an entry of the job table, for packets from then on.
    table : In(TableWritePort)
        Sets what a job's indices stand for, while none of its packets is under way.
    flush : In(1)
        Empties every slot of ``flush_job``, a look at each; ignored while ``flushing``.
    flush_job : In
        The job; stays as it is while ``flushing``.
    flushing : Out(1)
        A flush is under way; it ends when all that leaves because of it is in the egress queue.
    fault : Out(1), fault_code : Out
        A frame was invalid, and why: the place in PacketFault, or ``FAULT_JOB``.
    event_strobe : Out(1), event : Out(event_layout)
        The outcome of a packet, or of a look at a slot.
    event_record : Out(slot_layout)
        The slot's record after it; for benches.
    counter_job, counter_outcome : In
        Which counter ``counter_value`` shows.
    counter_value : Out(32)
        The counter that they chose 2 cycles ago.
    clear_counters : In(1)
        Sets all counters to 0.
    clearing : Out(1)
        The counters are being set to 0; what happens meanwhile may not be counted.
    ready : Out(1)
        Slots are empty after the reset; frames are taken before, but wait.
    idle : Out(1)
        No frame, packet or operation is under way. Looks at slots go on, and one of them may let a
        sum leave.
    """

    def __init__(self, config: SwitchConfig):
        if not isinstance(config, SwitchConfig):
            raise TypeError(f"Config must be a SwitchConfig, not {config!r}")
        self.config = config
        job = ceil_log2(config.jobs)
        super().__init__(
            {
                "i": In(stream.Signature(frame_layout)),
                "o": Out(stream.Signature(egress_layout)),
                "settings": In(settings_layout),
                "job_write": In(TrainingJobWritePort(config)),
                "table": In(TableWritePort(table_config(config))),
                "flush": In(1),
                "flush_job": In(job),
                "flushing": Out(1),
                "fault": Out(1),
                "fault_code": Out(range(FAULT_JOB + 1)),
                "event_strobe": Out(1),
                "event": Out(event_layout(config)),
                "event_record": Out(slot_layout(config)),
                "counter_job": In(job),
                "counter_outcome": In(ceil_log2(config.counters)),
                "counter_value": Out(32),
                "clear_counters": In(1),
                "clearing": Out(1),
                "ready": Out(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.parser = parser = IngressParser(self.config)
        m.submodules.scheduler = scheduler = Scheduler(self.config)
        m.submodules.rows = rows = RowEngine(self.config)
        m.submodules.counters = counters = OutcomeCounters(self.config)
        wiring.connect(m, wiring.flipped(self.i), parser.i)
        wiring.connect(m, parser.o, scheduler.i)
        wiring.connect(m, scheduler.o, rows.operation)
        wiring.connect(m, rows.egress, wiring.flipped(self.o))
        wiring.connect(m, wiring.flipped(self.job_write), scheduler.job_write)
        wiring.connect(m, wiring.flipped(self.table), rows.table)
        m.d.comb += [
            parser.read_address.eq(rows.read_address),
            rows.read_data.eq(parser.read_data),
            parser.release.eq(rows.release),
            parser.release_beats.eq(rows.release_beats),
            self.fault.eq(parser.fault),
            self.fault_code.eq(parser.fault_code),
            scheduler.settings.eq(self.settings),
            scheduler.flush.eq(self.flush),
            scheduler.flush_job.eq(self.flush_job),
            scheduler.rows_idle.eq(rows.idle),
            self.flushing.eq(scheduler.flushing),
            self.event_strobe.eq(scheduler.event_strobe),
            self.event.eq(scheduler.event),
            self.event_record.eq(scheduler.event_record),
            self.ready.eq(scheduler.ready),
            self.idle.eq(
                parser.idle & scheduler.idle & ~scheduler.flushing & rows.idle & rows.empty
            ),
        ]

        # A cycle behind the event, which comes out of logic.
        outcome = scheduler.event.outcome
        m.d.sync += [
            counters.strobe.eq(scheduler.event_strobe & (outcome < len(COUNTED_OUTCOMES))),
            counters.job.eq(scheduler.event.job),
            counters.outcome.eq(outcome),
        ]
        m.d.comb += [
            counters.read_job.eq(self.counter_job),
            counters.read_outcome.eq(self.counter_outcome),
            counters.clear.eq(self.clear_counters),
            self.counter_value.eq(counters.value),
            self.clearing.eq(counters.busy),
        ]

        return m

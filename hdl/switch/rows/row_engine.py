"""Carries out the scheduler's operations: payload through the lanes, rows into the egress queue."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.switch.config import SwitchConfig
from hdl.switch.layouts import egress_layout, operation_layout
from hdl.switch.out.egress import EgressQueue
from hdl.switch.rows.row_feeder import RowFeeder
from hdl.switch.rows.row_lanes import RowLanes, table_config
from hdl.thc.lanes.table_lookup import TableWritePort

__all__ = ["RowEngine"]


class RowEngine(wiring.Component):
    """Slot memory with its lanes, and the egress queue.

    An operation is begun only when all rows that it lets out have room in the queue, and runs from
    there without a pause.  Operations are done in order.

    Throughput: as many cycles an operation as its payload has beats, or as many as rows leave
    where those are more, and 1 to 4 cycles: a packet at the rate at which its 4 beats of header
    and its payload come in, on one slot as well.  Latency: 5 cycles from an operation to its
    header at ``egress``, 10 to its first row.

    Parameters
    ----------
    config : SwitchConfig
        Depths.

    Members
    -------
    operation : In(stream of operation_layout)
        What is to be done; ``header.length``, the bytes that leave behind the header, is at most
        ``config.slot_bytes``.
    read_address : Out
        A beat of payload in the packet buffer ...
    read_data : In(64)
        ... which is here a cycle later.
    release : Out(1)
        The oldest ``release_beats`` beats of payload have been read.
    release_beats : Out
        1 to ``config.payload_beats``.
    table : In(TableWritePort)
        Sets a job's table, while no operation of the job is under way.
    egress : Out(stream of egress_layout)
        Packets that leave.
    idle : Out(1)
        All that leaves of the operations taken is in the queue, or has left.
    empty : Out(1)
        No row is in the queue.
    """

    def __init__(self, config: SwitchConfig):
        if not isinstance(config, SwitchConfig):
            raise TypeError(f"Config must be a SwitchConfig, not {config!r}")
        self.config = config
        super().__init__(
            {
                "operation": In(stream.Signature(operation_layout(config))),
                "read_address": Out(ceil_log2(config.ingress_beats)),
                "read_data": In(64),
                "release": Out(1),
                "release_beats": Out(range(config.payload_beats + 1)),
                "table": In(TableWritePort(table_config(config))),
                "egress": Out(stream.Signature(egress_layout)),
                "idle": Out(1),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.feeder = feeder = RowFeeder(self.config)
        m.submodules.lanes = lanes = RowLanes(self.config)
        m.submodules.queue = queue = EgressQueue(self.config)
        wiring.connect(m, wiring.flipped(self.operation), feeder.operation)
        wiring.connect(m, wiring.flipped(self.table), lanes.table)
        wiring.connect(m, queue.o, wiring.flipped(self.egress))
        m.d.comb += [
            self.read_address.eq(feeder.read_address),
            self.release.eq(feeder.release),
            self.release_beats.eq(feeder.release_beats),
            queue.rows.eq(feeder.rows),
            feeder.fits.eq(queue.fits),
            queue.announce.eq(feeder.announce),
            queue.header.eq(feeder.header),
            lanes.valid.eq(feeder.valid),
            lanes.step.eq(feeder.step),
            lanes.beat.eq(self.read_data),
            queue.row_valid.eq(lanes.row_valid),
            queue.row.eq(lanes.row),
            self.idle.eq(feeder.idle & lanes.idle & queue.settled),
            self.empty.eq(queue.empty),
        ]

        return m

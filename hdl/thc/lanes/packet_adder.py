"""The lookup lanes with a queue: a packet starts only when all that it emits has room."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.thc.config import ThcConfig
from hdl.parts.stream import StreamFifo
from hdl.thc.lanes.lookup_lanes import LookupLanes
from hdl.thc.lanes.packets import Emit, beat_layout, row_layout
from hdl.thc.lanes.table_lookup import TableWritePort

__all__ = ["PacketAdder"]


class PacketAdder(wiring.Component):
    """Lookup lanes with a queue for the rows that leave.

    A beat waits only at a packet's head, when the packet emits and the queue has no room for a
    whole slot of rows; once begun, a packet is taken at a beat a cycle.

    Throughput: a beat a cycle as long as rows are taken as fast as they come: one a beat for
    packets that emit 16-bit sums, one in two beats for 8-bit sums.

    Parameters
    ----------
    config : ThcConfig
        Widths and depths.

    Members
    -------
    table : In(TableWritePort)
        Sets a job's table, while no packet of the job is under way.
    i : In(stream of beat_layout)
        Packets.
    o : Out(stream of row_layout)
        Rows of the packets that emit, in order.
    idle : Out(1)
        Nothing is in here.
    """

    def __init__(self, config: ThcConfig):
        self.config = config
        self.lanes = LookupLanes(config)
        self.queue = StreamFifo(row_layout(config), 2 * config.slot_rows + 2 * LookupLanes.latency)
        super().__init__(
            {
                "table": In(TableWritePort(config)),
                "i": In(stream.Signature(beat_layout(config))),
                "o": Out(stream.Signature(row_layout(config))),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.lanes = lanes = self.lanes
        m.submodules.queue = queue = self.queue
        wiring.connect(m, wiring.flipped(self.table), lanes.table)
        wiring.connect(m, queue.o, wiring.flipped(self.o))

        # Beside the rows in the queue there are those that the lanes still hold, and one that left
        # them since the level was last looked at.
        has_room = Signal()
        most = queue.depth - self.config.slot_rows - LookupLanes.latency - 1
        m.d.sync += has_room.eq(queue.level <= most)
        head = self.i.p.first & (self.i.p.header.emit != Emit.NONE)
        m.d.comb += [
            self.i.ready.eq(~head | has_room),
            lanes.valid.eq(self.i.valid & self.i.ready),
            lanes.beat.eq(self.i.payload),
            queue.i.valid.eq(lanes.row_valid),
            queue.i.payload.eq(lanes.row),
            self.idle.eq(lanes.idle & ~queue.o.valid & (queue.level == 0)),
        ]

        return m

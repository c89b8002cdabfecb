"""What leaves the switch: packets in a queue of rows, none begun without room for all its rows."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.switch.config import SwitchConfig
from hdl.parts.stream import StreamFifo
from hdl.switch.layouts import ROW_BITS, egress_layout, header_layout

__all__ = ["EgressQueue"]


class EgressQueue(wiring.Component):
    """Queue of ``config.egress_rows`` rows that keeps account of the rows that are to come.

    A packet is announced with its header; its rows follow when they are there, those of the
    packets in the order of the headers.  The header itself waits for the rows ahead of it.

    Latency: 3 cycles from an announcement to the header, 2 from a row to where it is offered, with
    nothing in the way.  Throughput: a row a cycle, headers included.

    Parameters
    ----------
    config : SwitchConfig
        Depths.

    Members
    -------
    rows : In
        Rows of payload of the packet that would be announced next.
    fits : Out(1)
        A packet of as many rows as ``rows`` said a cycle ago fits; undefined in the cycle after
        an announcement.
    announce : In(1)
        The packet comes, with ``header``. Only while ``fits``.
    header : In(header_layout)
        Its header.
    row_valid : In(1)
        ``row`` is here, and is taken: two cycles after its announcement or later, and a
        cycle or more for every announcement since the row before.
    row : In(256)
        Payload.
    o : Out(stream of egress_layout)
        Rows that leave.
    settled : Out(1)
        All that was announced is in the queue, or has left.
    empty : Out(1)
        No row is in the queue; unlike ``o.valid`` it knows of a row in the cycle behind its push.
    """

    pending = 4
    """Headers that wait for the rows ahead of them."""

    def __init__(self, config: SwitchConfig):
        self.config = config
        super().__init__(
            {
                "rows": In(range(config.slot_rows + 1)),
                "fits": Out(1),
                "announce": In(1),
                "header": In(header_layout),
                "row_valid": In(1),
                "row": In(ROW_BITS),
                "o": Out(stream.Signature(egress_layout)),
                "settled": Out(1),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config

        announced = data.StructLayout({"header": header_layout, "rows": self.rows.shape()})
        m.submodules.headers = headers = StreamFifo(announced, self.pending)
        # One more than the rows: an item less is promised while the output register is empty.
        m.submodules.queue = queue = StreamFifo(egress_layout, config.egress_rows + 1)
        wiring.connect(m, queue.o, wiring.flipped(self.o))

        # Rows neither taken nor announced.
        free = Signal(range(config.egress_rows + 1), init=config.egress_rows)
        leaves = self.o.valid & self.o.ready
        # One chain: free − (rows + 1) + leaves = free + ~rows + leaves.
        taken = Mux(self.announce, Cat(~self.rows, *[1] * (len(free) - len(self.rows))), 0)
        m.d.sync += [
            free.eq((Cat(1, free) + Cat(leaves, taken))[1 : 1 + len(free)]),
            self.fits.eq((free > self.rows) & headers.i.ready),
        ]
        m.d.comb += [
            headers.i.valid.eq(self.announce),
            headers.i.payload.header.eq(self.header),
            headers.i.payload.rows.eq(self.rows),
        ]

        # Rows that the packet at the queue's end still lacks.
        lacking = Signal.like(self.rows)
        next_header = (lacking == 0) & headers.o.valid
        m.d.comb += [
            headers.o.ready.eq(lacking == 0),
            queue.i.valid.eq(self.row_valid | next_header),
            queue.i.payload.first.eq(~self.row_valid),
            self.settled.eq((lacking == 0) & ~headers.o.valid),
            self.empty.eq(queue.level == 0),
        ]
        with m.If(self.row_valid):
            m.d.sync += lacking.eq(lacking - 1)
            m.d.comb += [
                queue.i.payload.data.eq(self.row),
                queue.i.payload.last.eq(lacking == 1),
            ]
        with m.Else():
            m.d.comb += [
                queue.i.payload.data.eq(headers.o.payload.header),
                queue.i.payload.last.eq(headers.o.payload.rows == 0),
            ]
            with m.If(next_header):
                m.d.sync += lacking.eq(headers.o.payload.rows)

        return m

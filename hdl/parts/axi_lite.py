"""AXI4-Lite slave: turns the five channels into one write and one read at a time."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.parts.axi import AxiLite, Response

__all__ = ["AxiLiteSlave"]


class AxiLiteSlave(wiring.Component):
    """Takes writes and reads from an AXI4-Lite master and does them one by one.

    A write's address may come before, with or after its data; the write is done in the first
    cycle in which both are there and the response before it has been taken, and shows before its
    own response does.  A read is a snapshot taken in one cycle.  Responses are held until taken.
    An address that the user calls unmapped is answered DECERR.  No combinational path leads from
    the bus to the bus.

    Throughput: one write and one read every 2 cycles. Latency: a response is offered 2 cycles
    after the last of its request was taken.

    Parameters
    ----------
    address_width : int
        Bits of byte address, at least 3. The lowest two are ignored: an access is to the word.

    Members
    -------
    bus : In(AxiLite(address_width))
        The bus.
    write_strobe : Out(1)
        High in the one cycle in which a write is done.
    write_address : Out(address_width - 2)
        Word written.
    write_data : Out(32)
        Data, all four bytes.
    write_mask : Out(4)
        Bytes to write.
    write_mapped : In(1)
        Whether ``write_address`` exists; in the same cycle.
    read_address : Out(address_width - 2)
        Word read.
    read_data : In(32)
        Its value; in the same cycle.
    read_mapped : In(1)
        Whether ``read_address`` exists; in the same cycle.
    """

    def __init__(self, address_width):
        if address_width < 3:
            raise ValueError(f"Address width must be at least 3, not {address_width}")
        self.address_width = address_width
        super().__init__(
            {
                "bus": In(AxiLite(address_width)),
                "write_strobe": Out(1),
                "write_address": Out(address_width - 2),
                "write_data": Out(32),
                "write_mask": Out(4),
                "write_mapped": In(1),
                "read_address": Out(address_width - 2),
                "read_data": In(32),
                "read_mapped": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bus = self.bus

        # Each request channel has room for one item, which waits there until it is done.
        aw_full = Signal()
        w_full = Signal()
        ar_full = Signal()
        aw = Signal.like(bus.aw.payload, reset_less=True)
        w = Signal.like(bus.w.payload, reset_less=True)
        ar = Signal.like(bus.ar.payload, reset_less=True)
        for channel, full, item in (
            (bus.aw, aw_full, aw),
            (bus.w, w_full, w),
            (bus.ar, ar_full, ar),
        ):
            m.d.comb += channel.ready.eq(~full)
            with m.If(~full):
                m.d.sync += [full.eq(channel.valid), item.eq(channel.payload)]

        b_full = Signal()
        b = Signal.like(bus.b.payload, reset_less=True)
        m.d.comb += [
            bus.b.valid.eq(b_full),
            bus.b.payload.eq(b),
            self.write_strobe.eq(aw_full & w_full & ~b_full),
            self.write_address.eq(aw.addr[2:]),
            self.write_data.eq(w.data),
            self.write_mask.eq(w.strb),
        ]
        with m.If(self.write_strobe):
            m.d.sync += [
                aw_full.eq(0),
                w_full.eq(0),
                b_full.eq(1),
                b.resp.eq(Mux(self.write_mapped, Response.OKAY, Response.DECERR)),
            ]
        with m.Elif(bus.b.ready):
            m.d.sync += b_full.eq(0)

        r_full = Signal()
        r = Signal.like(bus.r.payload, reset_less=True)
        m.d.comb += [
            bus.r.valid.eq(r_full),
            bus.r.payload.eq(r),
            self.read_address.eq(ar.addr[2:]),
        ]
        with m.If(ar_full & ~r_full):
            m.d.sync += [
                ar_full.eq(0),
                r_full.eq(1),
                r.data.eq(Mux(self.read_mapped, self.read_data, 0)),
                r.resp.eq(Mux(self.read_mapped, Response.OKAY, Response.DECERR)),
            ]
        with m.Elif(bus.r.ready):
            m.d.sync += r_full.eq(0)

        return m

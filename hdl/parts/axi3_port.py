"""From our DRAM master to an AXI3 port of the processing system."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.parts.axi import Axi4
from hdl.parts.axi3 import Axi3

__all__ = ["Axi3MemoryPort"]


class Axi3MemoryPort(wiring.Component):
    """Passes bursts on to one of the processing system's high-performance ports, by wires alone.

    The master's bursts must have at most 16 beats, as those of ``BurstReader`` and
    ``BurstWriter`` have: AXI3 has no longer ones.  All of them have ID 0, so answers come in
    order, and write data, whose ID is 0 too, is never interleaved.

    Latency: 0 cycles. Throughput: 1 beat a cycle each way.

    Members
    -------
    axi4 : In(Axi4())
        From the design.
    axi3 : Out(Axi3(64, 6))
        To the port: INCR, 8 bytes a beat, bufferable and modifiable.
    """

    axi4: In(Axi4())
    axi3: Out(Axi3(64, 6))

    def elaborate(self, platform):
        m = Module()
        inner, outer = self.axi4, self.axi3

        for channel in ("aw", "ar"):
            request = getattr(inner, channel)
            m.d.comb += [
                getattr(outer, f"{channel}addr").eq(request.payload.addr),
                getattr(outer, f"{channel}len").eq(request.payload.len[:4]),
                getattr(outer, f"{channel}size").eq(3),
                getattr(outer, f"{channel}burst").eq(0b01),
                getattr(outer, f"{channel}cache").eq(0b0011),
                getattr(outer, f"{channel}valid").eq(request.valid),
                request.ready.eq(getattr(outer, f"{channel}ready")),
            ]
        m.d.comb += [
            outer.wdata.eq(inner.w.payload.data),
            outer.wstrb.eq(inner.w.payload.strb),
            outer.wlast.eq(inner.w.payload.last),
            outer.wvalid.eq(inner.w.valid),
            inner.w.ready.eq(outer.wready),
            inner.b.payload.resp.eq(outer.bresp),
            inner.b.valid.eq(outer.bvalid),
            outer.bready.eq(inner.b.ready),
            inner.r.payload.data.eq(outer.rdata),
            inner.r.payload.resp.eq(outer.rresp),
            inner.r.payload.last.eq(outer.rlast),
            inner.r.valid.eq(outer.rvalid),
            outer.rready.eq(inner.r.ready),
        ]

        return m

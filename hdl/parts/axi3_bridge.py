"""From the processor's AXI3 bursts to single accesses of registers."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.parts.axi import AxiLite, Response
from hdl.parts.axi3 import Axi3

__all__ = ["Axi3LiteBridge"]

PAGE_BITS = 12
"""No burst leaves 4 KiB: only these bits of its addresses change."""


class _Walk(wiring.Component):
    """Addresses of a burst's beats, one after the other; FIXED, INCR and WRAP.

    Members
    -------
    load : In(1)
        Take the burst ``addr``, ``len``, ``size``, ``burst``.
    step : In(1)
        To the next beat.
    address : Out(32)
        Of the present beat.
    last : Out(1)
        It is the burst's last.
    """

    load: In(1)
    addr: In(32)
    len: In(4)
    size: In(2)
    burst: In(2)
    step: In(1)
    address: Out(32)
    last: Out(1)

    def elaborate(self, platform):
        m = Module()

        address = Signal(32, reset_less=True)
        left = Signal(4, reset_less=True)
        bytes_ = Signal(4, reset_less=True)
        # The bits that count: none, all, or those inside the wrapping block.
        mask = Signal(PAGE_BITS, reset_less=True)
        size_mask = (1 << self.size) - 1
        following = Signal(PAGE_BITS)
        m.d.comb += [
            self.address.eq(address),
            self.last.eq(left == 0),
            following.eq(address[:PAGE_BITS] + bytes_),
        ]
        with m.If(self.load):
            m.d.sync += [
                address.eq(self.addr),
                left.eq(self.len),
                bytes_.eq(1 << self.size),
            ]
            with m.Switch(self.burst):
                with m.Case(0):
                    m.d.sync += mask.eq(0)
                with m.Case(2):
                    m.d.sync += mask.eq((self.len << self.size) | size_mask)
                with m.Default():
                    m.d.sync += mask.eq(~0)
        with m.Elif(self.step):
            low = (address[:PAGE_BITS] & ~mask) | (following & mask)
            m.d.sync += [address[:PAGE_BITS].eq(low), left.eq(left - 1)]

        return m


class Axi3LiteBridge(wiring.Component):
    """Turns each beat of a burst into an access of its own; answers for the whole burst.

    One read burst and one write burst are under way at a time, each beat done before the next
    begins; so data is written in the order of addresses.  A beat outside ``base`` to
    ``base + 2**address_width - 1`` goes nowhere and is answered DECERR.  A write burst is answered
    with the worst response of its beats, a read beat with its own.  Responses carry the ID of
    their burst, whatever it is.  Beats are counted: WLAST and WID are not looked at.  LOCK is
    not either, so that exclusive accesses are answered as they must be by a slave that knows none.

    Nothing is combinational from the bus to the bus.

    Throughput: a beat every 4 cycles where the registers answer at once.

    Parameters
    ----------
    address_width : int
        Bits of byte address of the registers, 3 to 31.
    base : int
        Where they stand in the processor's address space, a multiple of their size.

    Members
    -------
    axi3 : In(Axi3(32, 12))
        From the processing system's general-purpose port.
    lite : Out(AxiLite(address_width))
        To the registers.
    """

    def __init__(self, address_width, base):
        if not 3 <= address_width <= 31:
            raise ValueError(f"Address width must be from 3 to 31, not {address_width}")
        if not 0 <= base < 1 << 32 or base % (1 << address_width):
            raise ValueError(
                f"Base must be a 32-bit multiple of {1 << address_width:#x}, not {base:#x}"
            )
        self.address_width = address_width
        self.base = base
        super().__init__({"axi3": In(Axi3(32, 12)), "lite": Out(AxiLite(address_width))})

    def elaborate(self, platform):
        m = Module()
        self._write(m)
        self._read(m)
        return m

    def _walk(self, m, channel):
        """The addresses of ``channel``'s burst, and whether the present one is inside."""
        walk = m.submodules[f"{channel}_walk"] = _Walk()
        m.d.comb += [
            getattr(walk, name).eq(getattr(self.axi3, channel + name))
            for name in ("addr", "len", "size", "burst")
        ]
        inside = Signal(name=f"{channel}_inside")
        m.d.comb += inside.eq(walk.address[self.address_width :] == self.base >> self.address_width)
        return walk, inside

    def _write(self, m):
        bus, lite = self.axi3, self.lite
        walk, inside = self._walk(m, "aw")
        ident = Signal.like(bus.awid, reset_less=True)
        worst = Signal(2, reset_less=True)
        data = Signal(32, reset_less=True)
        strobes = Signal(4, reset_less=True)
        # Address and data of an access are taken one by one.
        sent = Signal(2)
        m.d.comb += [
            bus.bid.eq(ident),
            bus.bresp.eq(worst),
            lite.aw.payload.addr.eq(walk.address),
            lite.w.payload.data.eq(data),
            lite.w.payload.strb.eq(strobes),
        ]

        def done(response):
            """The present beat ends with ``response``."""
            # DECERR and SLVERR both beat OKAY; DECERR is the greater number.
            m.d.sync += worst.eq(Mux(response > worst, response, worst))
            with m.If(walk.last):
                m.next = "answer"
            with m.Else():
                m.d.comb += walk.step.eq(1)
                m.next = "data"

        with m.FSM(name="write"):
            with m.State("idle"):
                m.d.comb += [bus.awready.eq(1), walk.load.eq(bus.awvalid)]
                with m.If(bus.awvalid):
                    m.d.sync += [ident.eq(bus.awid), worst.eq(Response.OKAY)]
                    m.next = "data"
            with m.State("data"):
                m.d.comb += bus.wready.eq(1)
                m.d.sync += [data.eq(bus.wdata), strobes.eq(bus.wstrb), sent.eq(0)]
                with m.If(bus.wvalid):
                    m.next = "access"
            with m.State("access"):
                m.d.comb += [
                    lite.aw.valid.eq(inside & ~sent[0]),
                    lite.w.valid.eq(inside & ~sent[1]),
                    lite.b.ready.eq(sent.all()),
                ]
                m.d.sync += sent.eq(
                    sent | Cat(lite.aw.valid & lite.aw.ready, lite.w.valid & lite.w.ready)
                )
                with m.If(~inside):
                    done(Response.DECERR)
                with m.Elif(lite.b.valid & lite.b.ready):
                    done(lite.b.payload.resp)
            with m.State("answer"):
                m.d.comb += bus.bvalid.eq(1)
                with m.If(bus.bready):
                    m.next = "idle"

    def _read(self, m):
        bus, lite = self.axi3, self.lite
        walk, inside = self._walk(m, "ar")
        ident = Signal.like(bus.arid, reset_less=True)
        data = Signal(32, reset_less=True)
        response = Signal(2, reset_less=True)
        m.d.comb += [
            bus.rid.eq(ident),
            bus.rdata.eq(data),
            bus.rresp.eq(response),
            bus.rlast.eq(walk.last),
            lite.ar.payload.addr.eq(walk.address),
        ]
        with m.FSM(name="read"):
            with m.State("idle"):
                m.d.comb += [bus.arready.eq(1), walk.load.eq(bus.arvalid)]
                with m.If(bus.arvalid):
                    m.d.sync += ident.eq(bus.arid)
                    m.next = "access"
            with m.State("access"):
                m.d.comb += lite.ar.valid.eq(inside)
                m.d.sync += [data.eq(0), response.eq(Response.DECERR)]
                with m.If(~inside):
                    m.next = "beat"
                with m.Elif(lite.ar.ready):
                    m.next = "wait"
            with m.State("wait"):
                m.d.comb += lite.r.ready.eq(1)
                m.d.sync += [data.eq(lite.r.payload.data), response.eq(lite.r.payload.resp)]
                with m.If(lite.r.valid):
                    m.next = "beat"
            with m.State("beat"):
                m.d.comb += bus.rvalid.eq(1)
                with m.If(bus.rready):
                    with m.If(walk.last):
                        m.next = "idle"
                    with m.Else():
                        m.d.comb += walk.step.eq(1)
                        m.next = "access"

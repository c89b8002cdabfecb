"""Cuts a request of any length into bursts."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.parts.axi import BYTES_PER_BEAT, MAXIMUM_BURST

__all__ = ["BurstSplitter", "burst_layout", "request_layout"]

_BEAT_BITS = BYTES_PER_BEAT.bit_length() - 1
_BURST_BITS = MAXIMUM_BURST.bit_length() - 1


def request_layout(address_width, length_width):
    """Payload of a request: byte address of the first beat, number of beats."""
    return data.StructLayout({"address": address_width, "beats": length_width})


def burst_layout(address_width):
    """Payload of a burst: byte address, beats less one, whether it ends its request."""
    return data.StructLayout({"addr": address_width, "len": _BURST_BITS, "final": 1})


class BurstSplitter(wiring.Component):
    """Cuts requests into bursts that end where the address is a multiple of 128 bytes.

    A burst so has at most 16 beats and never crosses a boundary of 4 KiB.  The bursts of a
    request cover its beats in order, without gap or overlap.

    Latency: 1 cycle. Throughput: 1 burst a cycle, and a cycle more for each request.

    Parameters
    ----------
    address_width : int
        Bits of byte address, 13 to 64.
    length_width : int
        Bits of ``beats``, at least 5.

    Members
    -------
    request : In(stream of request_layout)
        ``address`` is a multiple of 8 (the lowest three bits are ignored); ``beats`` from 1 to
        2^length_width - 1.
    o : Out(stream of burst_layout)
        Bursts.
    """

    def __init__(self, address_width, length_width):
        for name, value, low, high in (
            ("Address", address_width, 13, 64),
            ("Length", length_width, 5, 64),
        ):
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} width must be an integer, not {value!r}")
            if not low <= value <= high:
                raise ValueError(f"{name} width must be from {low} to {high}, not {value}")
        self.address_width = address_width
        self.length_width = length_width
        super().__init__(
            {
                "request": In(stream.Signature(request_layout(address_width, length_width))),
                "o": Out(stream.Signature(burst_layout(address_width))),
            }
        )

    def elaborate(self, platform):
        m = Module()

        busy = Signal()
        # Block of 16 beats, first beat in it, beats still to come after that one.
        block = Signal(self.address_width - _BEAT_BITS - _BURST_BITS, reset_less=True)
        first = Signal(_BURST_BITS, reset_less=True)
        more = Signal(self.length_width, reset_less=True)

        room = ~first  # beats behind the first one in its block
        m.d.comb += [
            self.request.ready.eq(~busy),
            self.o.valid.eq(busy),
            self.o.payload.addr.eq(Cat(Const(0, _BEAT_BITS), first, block)),
            self.o.payload.final.eq(more <= room),
            self.o.payload.len.eq(Mux(self.o.payload.final, more, room)),
        ]
        with m.If(~busy):
            m.d.sync += [
                busy.eq(self.request.valid),
                Cat(first, block).eq(self.request.payload.address[_BEAT_BITS:]),
                more.eq(self.request.payload.beats - 1),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += [
                busy.eq(~self.o.payload.final),
                block.eq(block + 1),
                first.eq(0),
                more.eq(more - room - 1),
            ]

        return m

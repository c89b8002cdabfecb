"""AXI interfaces as they stand inside the design.

A bus is five streams named as in the standard.  :mod:`hdl.parts.flat` gives it the flat ports with
the standard's names (``s_axi_awaddr``, ``m_axi_rdata``, …) at the edge of an overlay.
"""

import enum

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["BYTES_PER_BEAT", "MAXIMUM_BURST", "Axi4", "AxiLite", "Response", "connect_memory"]

BYTES_PER_BEAT = 8
"""Bytes in a beat of :class:`Axi4`."""
MAXIMUM_BURST = 16
"""Beats in the longest burst that this project issues: AXI3 has no longer ones."""


class Response(enum.IntEnum):
    """What a slave answers, as on BRESP and RRESP."""

    OKAY = 0
    EXOKAY = 1
    """Exclusive access done; never the answer to the accesses made here."""
    SLVERR = 2
    """The slave refused."""
    DECERR = 3
    """There is no slave at this address."""


def _check_address_width(width):
    if not isinstance(width, int) or isinstance(width, bool):
        raise TypeError(f"Address width must be an integer, not {width!r}")
    if not 1 <= width <= 64:
        raise ValueError(f"Address width must be from 1 to 64, not {width}")


class AxiLite(wiring.Signature):
    """AXI4-Lite with 32-bit data, seen from the master.

    Parameters
    ----------
    address_width : int
        Bits of byte address.

    Members
    -------
    aw : Out(stream of {addr})
        Write address.
    w : Out(stream of {data: 32, strb: 4})
        Write data with its byte strobes.
    b : In(stream of {resp: 2})
        Write response, a :class:`Response`.
    ar : Out(stream of {addr})
        Read address.
    r : In(stream of {data: 32, resp: 2})
        Read data.
    """

    def __init__(self, address_width):
        _check_address_width(address_width)
        self.address_width = address_width
        address = data.StructLayout({"addr": address_width})
        super().__init__(
            {
                "aw": Out(stream.Signature(address)),
                "w": Out(stream.Signature(data.StructLayout({"data": 32, "strb": 4}))),
                "b": In(stream.Signature(data.StructLayout({"resp": 2}))),
                "ar": Out(stream.Signature(address)),
                "r": In(stream.Signature(data.StructLayout({"data": 32, "resp": 2}))),
            }
        )


class Axi4(wiring.Signature):
    """AXI4 with 64-bit data, seen from the master.

    All bursts are INCR with 8-byte beats and ID 0; at the edge of the design these become
    constants, together with ``cache``, ``prot``, ``lock`` and ``qos``.

    Parameters
    ----------
    address_width : int
        Bits of byte address.

    Members
    -------
    aw : Out(stream of {addr, len: 8})
        Write burst: address of its first beat, number of beats less one.
    w : Out(stream of {data: 64, strb: 8, last: 1})
        Write data.
    b : In(stream of {resp: 2})
        Write response of a burst, a :class:`Response`.
    ar : Out(stream of {addr, len: 8})
        Read burst.
    r : In(stream of {data: 64, resp: 2, last: 1})
        Read data.
    """

    def __init__(self, address_width=32):
        _check_address_width(address_width)
        self.address_width = address_width
        address = data.StructLayout({"addr": address_width, "len": 8})
        super().__init__(
            {
                "aw": Out(stream.Signature(address)),
                "w": Out(stream.Signature(data.StructLayout({"data": 64, "strb": 8, "last": 1}))),
                "b": In(stream.Signature(data.StructLayout({"resp": 2}))),
                "ar": Out(stream.Signature(address)),
                "r": In(stream.Signature(data.StructLayout({"data": 64, "resp": 2, "last": 1}))),
            }
        )


def connect_memory(m, bus, reader, writer):
    """Connect the channels of ``bus``, an :class:`Axi4` member of the component being elaborated,
    to those of a burst reader and a burst writer."""
    for part, channels in ((reader, ("ar", "r")), (writer, ("aw", "w", "b"))):
        for channel in channels:
            inside = getattr(part, f"bus_{channel}")
            wiring.connect(m, inside, wiring.flipped(getattr(bus, channel)))

"""Ports through which a stage of an overlay uses the burst reader and the burst writer."""

import enum

from amaranth.hdl import Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.parts.axi import Response
from hdl.parts.burst_reader import answer_layout, beat_layout
from hdl.parts.burst_splitter import request_layout
from hdl.parts.burst_writer import write_beat_layout

__all__ = ["BusCode", "ReadPort", "WritePort", "bus_error"]

_BUS_REQUEST = request_layout(32, 24)


class BusCode(enum.IntEnum):
    """What a bus response is in the error codes of every overlay: each has these by the same
    numbers, named NONE, BUS_SLAVE and BUS_DECODE, so that one function serves all."""

    NONE = 0
    SLAVE = 1
    DECODE = 2


def bus_error(response):
    """Return the :class:`BusCode` of a bus response."""
    return Mux(
        response == Response.DECERR,
        BusCode.DECODE,
        Mux(response == Response.SLVERR, BusCode.SLAVE, BusCode.NONE),
    )


class ReadPort(wiring.Signature):
    """What a stage uses of :class:`hdl.parts.burst_reader.BurstReader`, seen from the stage.

    For each item of ``request`` come its ``beats``, then one ``response``.
    """

    def __init__(self):
        super().__init__(
            {
                "request": Out(stream.Signature(_BUS_REQUEST)),
                "beats": In(stream.Signature(beat_layout)),
                "response": In(stream.Signature(answer_layout)),
            }
        )


class WritePort(wiring.Signature):
    """What a stage uses of :class:`hdl.parts.burst_writer.BurstWriter`, seen from the stage.

    Each item of ``request`` takes its ``beats`` and is answered by one ``response``.
    """

    def __init__(self):
        super().__init__(
            {
                "request": Out(stream.Signature(_BUS_REQUEST)),
                "beats": Out(stream.Signature(write_beat_layout)),
                "response": In(stream.Signature(answer_layout)),
            }
        )

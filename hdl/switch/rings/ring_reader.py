"""Frames out of the ingress ring."""

import enum

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.switch.config import WORD_BYTES
from eyas.interfaces.switch.registers import (
    DESCRIPTOR_BYTES,
    INGRESS_DESCRIPTOR,
    MAX_FRAME_BYTES,
    SwitchCode,
    SwitchPlace,
)
from hdl.parts.axi import Axi4
from hdl.parts.burst_reader import BurstReader
from hdl.parts.layout import field_shape, record_layout
from hdl.parts.memory_ports import bus_error
from hdl.parts.stream import StreamBuffer, StreamFifo
from hdl.switch.layouts import frame_layout
from hdl.switch.rings.ring_shapes import (
    address_shape,
    entries_shape,
    index_shape,
    mask_shape,
    place_shape,
    trouble_layout,
)

__all__ = ["RingReader"]

_BATCH = 4
"""Descriptors read at once: every ring is a multiple."""
_DESCRIPTORS = 16
"""Descriptors that wait here."""
_ORDERS = 16
"""Reads under way."""

_descriptor_layout = record_layout(INGRESS_DESCRIPTOR)
_read_layout = data.StructLayout({"words": _descriptor_layout, "code": 8})


class _Order(enum.IntEnum):
    """What comes next from memory."""

    DESCRIPTORS = 0
    FRAME = 1
    NOTHING = 2
    """A descriptor that was refused."""


_order_layout = data.StructLayout(
    {
        "kind": _Order,
        "size": field_shape(INGRESS_DESCRIPTOR, "size"),
        "address": address_shape,
        "code": 8,
    }
)


class RingReader(wiring.Component):
    """Reads descriptors ahead, checks them, and reads the frames that they name, in order.

    A refused descriptor is reported as an error, and the next one is taken.  A frame with a bus
    error ends with the beat that had the error, changed so that a packet that reaches this beat is
    invalid; a packet that was complete before this beat is not.

    Throughput: a beat a cycle from a memory that gives as many; frames of one beat of payload
    take 6 cycles, descriptors included.

    Members
    -------
    bus_ar, bus_r
        Read channels of :class:`hdl.parts.axi.Axi4`.
    start : In(1)
        Begin with index 0; only while ``idle``.
    running : In(1)
        Read descriptors; those that were read are done with in any case.
    base, entries, window_base, window_end : In
        The ring, its size (a power of two), and where frames may lie; stay from the cycle behind
        ``start`` on.
    producer : In
        Descriptors that are there.
    consumer : Out
        Descriptors done with.
    o : Out(stream of frame_layout)
        Frames.
    done : Out(1)
        High for one cycle: a descriptor is done with.
    failed : Out(1)
        High for one cycle: ``trouble`` at ``place``.
    lost : Out(1)
        With ``failed``: a frame was lost to a bus error.
    trouble : Out(trouble_layout)
    place : Out
        SwitchPlace.
    idle : Out(1)
        Nothing is to be read or under way.
    """

    def __init__(self):
        bus = Axi4().members
        super().__init__(
            {
                "bus_ar": bus["ar"],
                "bus_r": bus["r"],
                "start": In(1),
                "running": In(1),
                "base": In(address_shape),
                "entries": In(entries_shape),
                "window_base": In(address_shape),
                "window_end": In(address_shape),
                "producer": In(index_shape),
                "consumer": Out(index_shape),
                "o": Out(stream.Signature(frame_layout)),
                "done": Out(1),
                "failed": Out(1),
                "lost": Out(1),
                "trouble": Out(trouble_layout),
                "place": Out(place_shape),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.reader = reader = BurstReader(outstanding=8)
        m.submodules.descriptors = descriptors = StreamFifo(_read_layout, _DESCRIPTORS)
        m.submodules.orders = orders = StreamFifo(_order_layout, _ORDERS)
        m.submodules.frames = frames = StreamBuffer(frame_layout)
        wiring.connect(m, reader.bus_ar, wiring.flipped(self.bus_ar))
        wiring.connect(m, wiring.flipped(self.bus_r), reader.bus_r)
        wiring.connect(m, frames.o, wiring.flipped(self.o))
        m.d.comb += reader.response.ready.eq(1)  # errors come with their beat

        more = self._ask(m, reader.request, descriptors.o, orders.i)
        self._deliver(m, reader, descriptors.i, orders.o, frames.i)
        m.d.comb += self.idle.eq(~more & ~orders.o.valid & ~frames.o.valid & reader.idle)

        return m

    def _ask(self, m, request, descriptor, order):
        """Ask for descriptors and frames; returns whether there is more to ask for."""
        fetched = Signal(index_shape)
        promised = Signal(range(_DESCRIPTORS + 1))  # descriptors asked for and not yet used
        there, batch = Signal(index_shape), Signal(range(_BATCH + 1))
        wants, fetches, uses = Signal(), Signal(), Signal()
        to_end = _BATCH - fetched[: _BATCH.bit_length() - 1]
        mask = Signal(mask_shape)
        m.d.sync += mask.eq(self.entries - 1)

        # Looked up anew after each request.
        fresh = Signal(2)
        m.d.sync += [
            there.eq(self.producer - fetched),
            batch.eq(Mux(there < to_end, there, to_end)),
            wants.eq(self.running & (there != 0) & (promised <= _DESCRIPTORS - _BATCH)),
            fresh.eq(Mux(fetches, 0, Cat(1, fresh))),
            promised.eq(promised + Mux(fetches, batch, 0) - uses),
        ]
        with m.If(fetches):
            m.d.sync += fetched.eq(fetched + batch)
        begins = Signal()
        m.d.sync += begins.eq(self.start)
        with m.If(begins):
            m.d.sync += [fetched.eq(0), fresh.eq(0)]

        # A descriptor is looked at in two steps, and leads to a request in the third.
        words = descriptor.p.words
        below, crooked, wrong_size = (
            Signal(name=name, reset_less=True) for name in ("below", "crooked", "wrong_size")
        )
        end = Signal(address_shape.width + 1, reset_less=True)
        beats = Signal(8, reset_less=True)
        code = Signal(8, reset_less=True)
        asks_frame, takes_turn = Signal(), Signal()
        m.d.comb += takes_turn.eq(wants & fresh.all() & self.running)
        with m.FSM(name="look"):
            with m.State("FIELDS"):
                m.d.sync += [
                    below.eq(words.address < self.window_base),
                    end.eq(words.address + words.size),
                    beats.eq((words.size + (WORD_BYTES - 1))[3:]),
                    crooked.eq(words.address[:3] != 0),
                    wrong_size.eq((words.size == 0) | (words.size > MAX_FRAME_BYTES)),
                ]
                with m.If(descriptor.valid):
                    m.next = "JUDGE"
            with m.State("JUDGE"):
                m.next = "ASK"
                with m.If(descriptor.p.code != 0):
                    m.d.sync += code.eq(descriptor.p.code)
                with m.Elif(crooked):
                    m.d.sync += code.eq(SwitchCode.MISALIGNED)
                with m.Elif(wrong_size):
                    m.d.sync += code.eq(SwitchCode.WRONG_SIZE)
                with m.Elif(below | (end > self.window_end)):
                    m.d.sync += code.eq(SwitchCode.DESCRIPTOR_OUTSIDE)
                with m.Else():
                    m.d.sync += code.eq(0)
            with m.State("ASK"):
                m.d.comb += asks_frame.eq(1)
                with m.If(uses):
                    m.next = "FIELDS"

        refused = code != 0
        m.d.comb += [
            descriptor.ready.eq(uses),
            order.p.address.eq(words.address),
            order.p.size.eq(words.size),
            order.p.code.eq(code),
        ]
        with m.If(takes_turn):
            m.d.comb += [
                request.p.address.eq(self.base + (fetched[:12] & mask) * DESCRIPTOR_BYTES),
                request.p.beats.eq(batch),
                request.valid.eq(order.ready),
                order.p.kind.eq(_Order.DESCRIPTORS),
                order.valid.eq(request.ready),
                fetches.eq(order.ready & request.ready),
            ]
        with m.Else():
            m.d.comb += [
                request.p.address.eq(words.address),
                request.p.beats.eq(beats),
                request.valid.eq(asks_frame & ~refused & order.ready),
                order.p.kind.eq(Mux(refused, _Order.NOTHING, _Order.FRAME)),
                order.valid.eq(asks_frame & (refused | request.ready)),
                uses.eq(order.valid & order.ready),
            ]
        return (self.running & (self.producer != fetched)) | (promised != 0) | begins

    def _deliver(self, m, reader, descriptor, order, frame):
        """Sort what comes from memory, and report the descriptors that are done with."""
        beat = reader.o
        failed = reader.code != 0
        cut = Signal()  # the frame has met an error; the rest of it is thrown away
        ended = self.done
        tail = order.p.size[:3]
        m.d.comb += [
            descriptor.p.words.eq(beat.p.data),
            descriptor.p.code.eq(bus_error(reader.code)),
            frame.p.data.eq(Mux(failed, ~beat.p.data, beat.p.data)),
            frame.p.last.eq(beat.p.last | failed),
            frame.p.bytes.eq(Mux(failed, 1, Mux(beat.p.last & (tail != 0), tail, WORD_BYTES))),
            self.trouble.index.eq(self.consumer),
            self.trouble.address.eq(order.p.address),
        ]
        with m.If(order.valid), m.Switch(order.p.kind):
            with m.Case(_Order.DESCRIPTORS):
                m.d.comb += [
                    descriptor.valid.eq(beat.valid),
                    beat.ready.eq(1),  # there is room for what was asked for
                    order.ready.eq(beat.valid & beat.p.last),
                ]
            with m.Case(_Order.FRAME):
                m.d.comb += [
                    frame.valid.eq(beat.valid & ~cut),
                    beat.ready.eq(frame.ready | cut),
                    ended.eq(beat.valid & beat.ready & beat.p.last),
                    order.ready.eq(ended),
                    self.failed.eq(beat.valid & beat.ready & failed & ~cut),
                    self.lost.eq(self.failed),
                    self.trouble.code.eq(bus_error(reader.code)),
                    self.place.eq(SwitchPlace.FRAMES),
                ]
                with m.If(beat.valid & beat.ready):
                    m.d.sync += cut.eq(~beat.p.last & (cut | failed))
            with m.Default():
                m.d.comb += [
                    order.ready.eq(1),
                    ended.eq(1),
                    self.failed.eq(1),
                    self.lost.eq(order.p.code <= SwitchCode.BUS_DECODE),
                    self.trouble.code.eq(order.p.code),
                    self.place.eq(SwitchPlace.DESCRIPTORS),
                ]
        with m.If(self.start):
            m.d.sync += self.consumer.eq(0)
        with m.Elif(ended):
            m.d.sync += self.consumer.eq(self.consumer + 1)

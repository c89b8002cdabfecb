"""The switch's ingress: frames in, good packets out. Invalid frames are dropped without a trace."""

import enum

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.switch.config import WORD_BYTES, SwitchConfig
from eyas.interfaces.switch.packet import HEADER_BYTES, MAX_PAYLOAD_BYTES, PACKET, PacketFault
from hdl.parts.crc32 import Crc32, after_zeros
from hdl.parts.stream import StreamFifo
from hdl.switch.ingress.packet_check import PacketCheck
from hdl.switch.layouts import frame_layout, header_layout, packet_layout

__all__ = ["FAULT_JOB", "IngressParser"]

FAULT_JOB = len(PacketFault)
"""Fault code of a packet whose job was not built; the others are the places of their PacketFault
in its order of definition."""

_HEADER_BEATS = HEADER_BYTES // WORD_BYTES
_CHECKSUM = PACKET.offsets["checksum"]
assert _CHECKSUM == 8 * (HEADER_BYTES - 4)  # masked below


class _Place(enum.IntEnum):
    """Where in a frame the next beat is."""

    HEADER = 0
    PAYLOAD = 1
    REST = 2
    """Behind the packet, or behind the fault of an invalid frame."""


class IngressParser(wiring.Component):
    """Stores payloads, and passes a header on once its whole packet has been found good.

    A packet is good when :meth:`eyas.interfaces.switch.packet.Packet.from_bytes` accepts it.  The
    payload of an invalid frame is taken out of the buffer again; bytes of a frame behind its packet
    are dropped.

    Latency: 6 cycles from a packet's last beat to ``o``.  Throughput: a beat a cycle, while there
    is room for payloads and for headers.

    Parameters
    ----------
    config : SwitchConfig
        Depth of the packet buffer, longest payload, jobs.

    Members
    -------
    i : In(stream of frame_layout)
        Frames; ``ready`` depends on registers alone.
    o : Out(stream of packet_layout)
        Good packets in order; the payload stands in the packet buffer from ``start`` on, in as
        many beats as ``length`` fills, zero behind the last byte, until it is released.
    read_address : In
        Beat of the packet buffer.
    read_data : Out(64)
        The beat at the ``read_address`` of a cycle ago.
    release : In(1)
        ``release_beats`` of the oldest payloads are done with.
    release_beats : In
        0 to ``config.payload_beats``.
    fault : Out(1)
        High for one cycle for each invalid frame.
    fault_code : Out(range(8))
        Which fault: the place in PacketFault, or FAULT_JOB.
    idle : Out(1)
        No part of a frame and no packet is in here; payloads may be.
    """

    headers = 16
    """Good packets that wait."""

    def __init__(self, config: SwitchConfig):
        if not isinstance(config, SwitchConfig):
            raise TypeError(f"Config must be a SwitchConfig, not {config!r}")
        self.config = config
        self.queue = StreamFifo(packet_layout(config), self.headers)
        super().__init__(
            {
                "i": In(stream.Signature(frame_layout)),
                "o": Out(stream.Signature(packet_layout(config))),
                "read_address": In(ceil_log2(config.ingress_beats)),
                "read_data": Out(64),
                "release": In(1),
                "release_beats": In(range(config.payload_beats + 1)),
                "fault": Out(1),
                "fault_code": Out(range(FAULT_JOB + 1)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config

        m.submodules.queue = queue = self.queue
        m.submodules.check = check = PacketCheck(config)
        m.submodules.crc = crc = Crc32()
        wiring.connect(m, queue.o, wiring.flipped(self.o))

        # Cycle 0: where in the packet the beat is, and whether the packet can be judged with it.
        i, takes = self.i.p, Signal()
        place = Signal(_Place)
        number = Signal(range(_HEADER_BEATS))
        header = Signal(header_layout, reset_less=True)  # words as they come
        beat_of_header = Signal(header_layout)
        left = Signal(range(MAX_PAYLOAD_BYTES // WORD_BYTES))  # beats behind this one
        tail = Signal(range(WORD_BYTES + 1))  # bytes of the packet's last beat
        is_last = Signal()
        bare = Signal()  # no payload is to come
        ends, short_header, short_payload = Signal(), Signal(), Signal()
        length = beat_of_header.length
        m.d.comb += [
            takes.eq(self.i.valid & self.i.ready),
            beat_of_header.eq(Cat(Const(0, 8 * (HEADER_BYTES - WORD_BYTES)), i.data)),
            bare.eq((length == 0) | (length > MAX_PAYLOAD_BYTES)),
            is_last.eq(left == 0),
        ]
        with m.Switch(place):
            with m.Case(_Place.HEADER):
                complete = (number == _HEADER_BEATS - 1) & (i.bytes == WORD_BYTES)
                m.d.comb += [
                    ends.eq(i.last | ((number == _HEADER_BEATS - 1) & bare)),
                    short_header.eq(~complete),
                    short_payload.eq(~bare),
                ]
                with m.If(takes):
                    words = header.as_value()
                    m.d.sync += [
                        words.word_select(number, 64).eq(i.data),
                        number.eq(Mux(i.last, 0, number + 1)),
                        left.eq((length - 1)[3:10]),
                        tail.eq(Cat(length[:3], length[:3] == 0)),
                    ]
                    with m.If(~i.last & (number == _HEADER_BEATS - 1)):
                        m.d.sync += place.eq(Mux(bare, _Place.REST, _Place.PAYLOAD))
            with m.Case(_Place.PAYLOAD):
                m.d.comb += [
                    ends.eq(i.last | is_last),
                    short_payload.eq(~is_last | (i.last & (i.bytes < tail))),
                ]
                with m.If(takes):
                    m.d.sync += left.eq(left - 1)
                    with m.If(i.last):
                        m.d.sync += place.eq(_Place.HEADER)
                    with m.Elif(is_last):
                        m.d.sync += place.eq(_Place.REST)
            with m.Default(), m.If(takes & i.last):
                m.d.sync += place.eq(_Place.HEADER)

        # Cycle 1: the beat without its checksum and without what lies behind the packet.
        keep = Signal(WORD_BYTES)
        with m.If((place == _Place.HEADER) & (number == _HEADER_BEATS - 1)):
            m.d.comb += keep.eq(0x0F)
        with m.Elif((place == _Place.PAYLOAD) & is_last):
            m.d.comb += keep.eq(Cat(tail > byte for byte in range(WORD_BYTES)))
        with m.Else():
            m.d.comb += keep.eq(0xFF)
        word = Signal(64, reset_less=True)
        m.d.sync += [
            word.eq(i.data & Cat(byte.replicate(8) for byte in keep)),
            crc.valid.eq(takes & (place != _Place.REST)),
            crc.first.eq((place == _Place.HEADER) & (number == 0)),
        ]
        m.d.comb += [crc.data.eq(word), check.header.eq(header)]
        judged = Signal()
        cut_header, cut_payload = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [
            judged.eq(takes & ends),
            cut_header.eq(short_header),
            cut_payload.eq(short_payload),
        ]
        writes = self._count_beats(m, takes & (place == _Place.PAYLOAD), takes & i.last)

        # Cycle 2: the header is kept from the next one's words; whole ones are 4 beats apart.
        kept = Signal(header_layout, reset_less=True)
        with m.If(judged & ~cut_header):
            m.d.sync += kept.eq(header)

        # Cycles 3 and 4: its checksum, with the zeros that fill the last beat put to it.  With no
        # payload there are none; with one, the header stood a cycle earlier.
        expected = self._expected_checksum(m, header, kept)
        mismatch = Signal(reset_less=True)
        m.d.sync += mismatch.eq(crc.state != expected)
        for _ in range(3):
            judged, cut_header, cut_payload = (
                self._delayed(m, signal) for signal in (judged, cut_header, cut_payload)
            )

        # Cycle 5: the verdict.  The next packet writes its first beat in cycle 6 or later.
        verdict, good, code = Signal(), Signal(reset_less=True), Signal.like(self.fault_code)
        found = check.o
        order = list(PacketFault)
        m.d.sync += [verdict.eq(judged), good.eq(0)]
        for number_found, (condition, fault) in enumerate(
            (
                (cut_header, PacketFault.TRUNCATED),
                (found.foreign, PacketFault.FOREIGN),
                (found.version, PacketFault.VERSION),
                (found.kind, PacketFault.KIND),
                (found.big, PacketFault.LENGTH),
                (cut_payload, PacketFault.TRUNCATED),
                (mismatch, PacketFault.CHECKSUM),
                (found.length, PacketFault.LENGTH),
                (found.bitmap, PacketFault.BITMAP),
                (found.slot, PacketFault.LENGTH),
                (found.job, None),
            )
        ):
            with m.If(condition) if not number_found else m.Elif(condition):
                m.d.sync += code.eq(FAULT_JOB if fault is None else order.index(fault))
        with m.Else():
            m.d.sync += good.eq(1)

        start, room = self._store(m, word, writes, verdict, good)
        m.d.comb += [
            queue.i.valid.eq(verdict & good),
            queue.i.p.header.eq(kept),
            queue.i.p.start.eq(start),
            self.fault.eq(verdict & ~good),
            self.fault_code.eq(code),
        ]

        # Two packets can be under way to the queue.
        queue_full, waits = Signal(), Signal(range(8))
        m.d.sync += queue_full.eq(queue.level >= self.headers - 4)
        with m.If(takes):
            m.d.sync += waits.eq(7)
        with m.Elif(waits != 0):
            m.d.sync += waits.eq(waits - 1)
        m.d.comb += [
            self.i.ready.eq(room & ~queue_full),
            self.idle.eq((waits == 0) & (place == _Place.HEADER) & (number == 0) & ~queue.o.valid),
        ]

        return m

    @staticmethod
    def _delayed(m, signal):
        later = Signal.like(signal, name_suffix="_later")
        m.d.sync += later.eq(signal)
        return later

    def _count_beats(self, m, takes, last):
        """Return whether the beat of the cycle before is to be stored.

        No more beats are stored than the longest payload has, whatever a header says.
        """
        beats = Signal(range(self.config.payload_beats + 1))
        room = ~beats[-1]
        writes = Signal()
        m.d.sync += writes.eq(takes & room)
        with m.If(last):
            m.d.sync += beats.eq(0)
        with m.Elif(takes & room):
            m.d.sync += beats.eq(beats + 1)
        return writes

    @staticmethod
    def _expected_checksum(m, header, kept):
        """The CRC's state behind the last beat, 2 cycles after the packet's last word."""
        zeros = Signal(3)
        m.d.comb += zeros.eq(-header.length)
        four, two, one = (Signal(32, reset_less=True, name=f"expect_{n}") for n in (4, 2, 1))
        after_four, after_two = Signal(2, reset_less=True), Signal(1, reset_less=True)
        state = ~header.checksum
        m.d.sync += [
            four.eq(Mux(zeros[2], after_zeros(state, 4), state)),
            after_four.eq(zeros),
            two.eq(Mux(after_four[1], after_zeros(four, 2), four)),
            after_two.eq(after_four),
        ]
        bare = Signal(reset_less=True)
        m.d.sync += [
            bare.eq(header.length == 0),
            one.eq(Mux(after_two, after_zeros(two, 1), two)),
        ]
        with m.If(bare):
            m.d.sync += one.eq(~kept.checksum)
        return one

    def _store(self, m, word, writes, verdict, good):
        """The packet buffer: payloads that wait, then the one under way."""
        config = self.config
        m.submodules.storage = storage = memory.Memory(
            shape=64, depth=config.ingress_beats, init=[], attrs={"ram_style": "block"}
        )
        write_port, read_port = storage.write_port(), storage.read_port(domain="sync")
        index = range(2 * config.ingress_beats)
        write, committed, released = (
            Signal(index, name=name) for name in ("write", "committed", "released")
        )
        m.d.comb += [
            write_port.en.eq(writes),
            write_port.addr.eq(write),
            write_port.data.eq(word),
            read_port.addr.eq(self.read_address),
            read_port.en.eq(1),
            self.read_data.eq(read_port.data),
        ]
        with m.If(verdict & ~good):
            m.d.sync += write.eq(committed)
        with m.Elif(writes):
            m.d.sync += write.eq(write + 1)
        with m.If(verdict & good):
            m.d.sync += committed.eq(write)
        with m.If(self.release):
            m.d.sync += released.eq(released + self.release_beats)

        # Three beats may be taken before a beat's place is seen to be gone.
        used, full = Signal.like(write), Signal()
        m.d.sync += [used.eq(write - released), full.eq(used >= config.ingress_beats - 3)]
        return committed[: len(self.read_address)], ~full

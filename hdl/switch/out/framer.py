"""Cuts the rows of a packet into 64-bit words, and computes its checksum."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.switch.config import ROW_BYTES, WORD_BYTES, SwitchConfig
from eyas.interfaces.switch.packet import HEADER_BYTES
from hdl.parts.crc32 import Crc32, ZeroBytes
from hdl.parts.stream import StreamFifo
from hdl.switch.layouts import ROW_BITS, egress_layout, header_layout

__all__ = ["Framer", "packet_words", "word_layout"]

word_layout = data.StructLayout({"data": 8 * WORD_BYTES, "last": 1})
"""A word of a packet; ``last`` ends it."""

_ROW_WORDS = ROW_BYTES // WORD_BYTES
_HEADER_WORDS = HEADER_BYTES // WORD_BYTES
assert _HEADER_WORDS == _ROW_WORDS


def packet_words(config: SwitchConfig) -> range:
    """Shape of a number of words of a packet."""
    return range(_HEADER_WORDS + config.payload_beats + 1)


class Framer(wiring.Component):
    """Turns rows into the packet that stands in memory, whole and with its checksum.

    Words wait until the checksum is known, which stands in the header: a packet leaves when all of
    it is here.  Packets keep their order.

    Throughput: a word a cycle, headers included.

    Parameters
    ----------
    config : SwitchConfig
        Longest payload.

    Members
    -------
    i : In(stream of egress_layout)
        Rows; the header's checksum is 0.
    sizes : Out(stream)
        Words of each packet, known before ``o`` has them, not after; as a memory wants to be asked.
    o : Out(stream of word_layout)
        Words; beyond the packet's last byte they are zero.
    idle : Out(1)
        Nothing is in here; of ``sizes`` something may be.
    """

    packets = 4
    """Packets whose header waits here."""

    def __init__(self, config: SwitchConfig):
        self.config = config
        self.size_queue = StreamFifo(packet_words(config), self.packets)
        self.headers = StreamFifo(header_layout, self.packets)
        self.sums = StreamFifo(32, self.packets)
        self.words = StreamFifo(word_layout, 2 * config.payload_beats)
        super().__init__(
            {
                "i": In(stream.Signature(egress_layout)),
                "sizes": Out(stream.Signature(packet_words(config))),
                "o": Out(stream.Signature(word_layout)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.size_queue = sizes = self.size_queue
        m.submodules.headers = headers = self.headers
        m.submodules.sums = sums = self.sums
        m.submodules.words = words = self.words
        m.submodules.crc = crc = Crc32()
        m.submodules.zeros = zeros = ZeroBytes()
        wiring.connect(m, sizes.o, wiring.flipped(self.sizes))

        # A row, and what is left of it and of its packet.
        row = Signal(ROW_BITS, reset_less=True)
        is_header = Signal(reset_less=True)
        is_last = Signal(reset_less=True)
        place = Signal(range(_ROW_WORDS))
        held = Signal()
        header = Signal(header_layout, reset_less=True)
        row_words = Signal(range(_ROW_WORDS + 1), reset_less=True)
        ends_row, ends, moves = Signal(), Signal(), Signal()
        room = Signal()
        m.d.sync += room.eq(words.level <= 2 * self.config.payload_beats - 3)
        m.d.comb += [
            ends_row.eq(place == row_words - 1),
            ends.eq(ends_row & is_last),
            # A packet's end waits for room to tell of it; queues by its side have as much.
            moves.eq(held & (is_header | room) & (~ends | headers.i.ready)),
            self.i.ready.eq(~held | (moves & ends_row)),
        ]
        with m.If(moves):
            m.d.sync += [row.eq(row >> 64), place.eq(place + 1)]
        with m.If(self.i.ready):
            m.d.sync += [
                held.eq(self.i.valid),
                row.eq(self.i.p.data),
                is_header.eq(self.i.p.first),
                is_last.eq(self.i.p.last),
                place.eq(0),
                row_words.eq(_ROW_WORDS),
            ]
            with m.If(self.i.valid & self.i.p.first):
                m.d.sync += header.as_value().eq(self.i.p.data)
            # The last row of payload may be shorter.
            with m.If(self.i.p.last & ~self.i.p.first):
                m.d.sync += row_words.eq((header.length[:5] + (WORD_BYTES - 1))[3:])
                with m.If(header.length[:5] == 0):
                    m.d.sync += row_words.eq(_ROW_WORDS)

        tail = header.length[:3]
        ragged = Signal()  # the word is the last, and not whole
        m.d.comb += ragged.eq(ends & ~is_header & (tail != 0))
        keep = Cat(
            *((~ragged | (tail > byte)).replicate(8) for byte in range(WORD_BYTES - 1)),
            (~ragged).replicate(8),
        )
        word = Signal(64)
        # Behind each other: a header takes four cycles.
        payload_words, size = Signal(10, reset_less=True), Signal(packet_words(self.config))
        m.d.sync += [
            payload_words.eq((header.length + (WORD_BYTES - 1))[3:]),
            size.eq(payload_words + _HEADER_WORDS),
            crc.data.eq(word),
            crc.valid.eq(moves),
            crc.first.eq(is_header & (place == 0)),
        ]
        m.d.comb += [
            word.eq(row[:64] & keep),
            words.i.valid.eq(moves & ~is_header),
            words.i.p.data.eq(word),
            words.i.p.last.eq(ends),
            headers.i.valid.eq(moves & ends),
            headers.i.payload.eq(header),
            sizes.i.valid.eq(moves & ends),
            sizes.i.payload.eq(size),
        ]

        # The checksum, when the packet's last word has gone through all of it.
        delays = 1 + Crc32.latency + ZeroBytes.latency
        ended, fill = moves & ends, -tail
        for stage in range(delays):
            later = Signal(name=f"ended_{stage}")
            m.d.sync += later.eq(ended)
            ended = later
            if stage <= Crc32.latency:
                fill_later = Signal(3, name=f"fill_{stage}", reset_less=True)
                m.d.sync += fill_later.eq(fill)
                fill = fill_later
        m.d.comb += [
            zeros.state.eq(crc.state),
            zeros.count.eq(fill),
            sums.i.valid.eq(ended),
            sums.i.payload.eq(~zeros.o),
        ]

        # Out: header with its checksum, then the words that waited.
        number = Signal(range(_HEADER_WORDS))
        in_payload = Signal()
        first = headers.o.p
        bare = first.length == 0
        head = Signal(64)
        leaves = Signal()
        m.d.comb += [
            head.eq(first.as_value().word_select(number, 64)),
            leaves.eq(self.o.valid & self.o.ready),
            self.idle.eq(~held & ~headers.o.valid),
        ]
        with m.If(in_payload):
            m.d.comb += [
                self.o.valid.eq(words.o.valid),
                self.o.payload.eq(words.o.payload),
                words.o.ready.eq(self.o.ready),
            ]
        with m.Else():
            at_end = number == _HEADER_WORDS - 1
            m.d.comb += [
                self.o.valid.eq(headers.o.valid & sums.o.valid),
                self.o.p.data.eq(Cat(head[:32], Mux(at_end, sums.o.payload, head[32:]))),
                self.o.p.last.eq(at_end & bare),
            ]
            with m.If(leaves):
                m.d.sync += [number.eq(number + 1), in_payload.eq(at_end & ~bare)]
        with m.If(leaves & self.o.p.last):
            m.d.comb += [headers.o.ready.eq(1), sums.o.ready.eq(1)]
            m.d.sync += in_payload.eq(0)

        return m

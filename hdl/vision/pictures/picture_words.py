"""Cuts a dense picture into words of the activation memory."""

from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.vision.config import VisionConfig
from hdl.parts.burst_reader import beat_layout
from hdl.parts.stream import StreamBuffer
from hdl.vision.interfaces import activation_write_layout
from hdl.vision.job_layouts import input_map_layout

__all__ = ["PictureWords"]

BEAT = 8
"""Bytes of a beat."""


class PictureWords(wiring.Component):
    """A byte gearbox: 64-bit beats of dense NHWC int8 in, words with their places out.

    Each pixel gives words of ``input_channels`` channels, block after block; the last one may
    have fewer, and its unused channels are 0.  Pixels stand in linear order from the map's base,
    ``skip`` apart at row ends, blocks ``plane`` apart.

    Works in pieces of at most 8 channels: a word is one piece, or two.

    Latency: 4 cycles from a beat to its first word. Throughput: 1 piece or 1 beat a cycle,
    whichever takes longer.

    Members
    -------
    start : In(stream of input_map_layout)
        Map of the picture that comes.
    i : In(stream of beat_layout)
        The picture; ``last`` with its last beat.
    discard : In(1)
        While high no word is made; beats are taken to their end.
    o : Out(stream of activation_write_layout)
        Words.
    idle : Out(1)
        No picture is under way, and no word waits in ``o``.
    wrong_size : Out(1)
        When idle: the last picture had more or fewer beats than its map needs.
    """

    def __init__(self, config: VisionConfig):
        self.config = config
        self.piece_bytes = min(config.input_channels, BEAT)
        self.piece_shift = ceil_log2(self.piece_bytes)
        super().__init__(
            {
                "start": In(stream.Signature(input_map_layout(config))),
                "i": In(stream.Signature(beat_layout)),
                "discard": In(1),
                "o": Out(stream.Signature(activation_write_layout(config))),
                "idle": Out(1),
                "wrong_size": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        map_ = Signal(input_map_layout(self.config), reset_less=True)
        running = Signal()
        step = Signal()  # a piece leaves the window
        window = self._fill_window(m, running, step)
        place = self._count_pieces(m, map_, window, step)
        piece_waits, word_waits = self._cut_pieces(m, running, step, window, place)

        with m.FSM() as fsm:
            m.d.comb += self.idle.eq(fsm.ongoing("IDLE") & ~piece_waits & ~word_waits)
            with m.State("IDLE"):
                m.d.comb += self.start.ready.eq(1)
                m.d.sync += [
                    map_.eq(self.start.p),
                    place.last_channel.eq(self.start.p.channels - 1),
                    window.ended.eq(0),
                    window.low_valid.eq(0),
                    window.high_valid.eq(0),
                    place.half.eq(0),
                    window.offset.eq(0),
                ]
                with m.If(self.start.valid):
                    m.d.sync += self.wrong_size.eq(0)
                    m.next = "SET UP"
            with m.State("SET UP"):
                tail = place.last_channel[: self.piece_shift] + 1
                m.d.sync += [
                    place.tail.eq(tail),
                    place.pieces.eq(place.last_channel[self.piece_shift :]),
                    place.last_piece.eq(place.only_piece),
                    window.size.eq(Mux(place.only_piece, tail, self.piece_bytes)),
                    place.columns.eq(map_.width - 1),
                    place.rows.eq(map_.height - 1),
                    place.bank.eq(0),
                    place.address.eq(map_.base),
                    place.pixel.eq(map_.base),
                ]
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += [
                    running.eq(~self.discard),
                    self.i.ready.eq(running & ~window.ended & (~window.high_valid | window.pop)),
                ]
                with m.If(
                    self.discard | (step & place.last_piece & place.row_ends & (place.rows == 0))
                ):
                    m.next = "DRAIN"
                with m.Elif(window.ended & ~window.available):
                    m.d.sync += self.wrong_size.eq(1)
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                # Beats that nothing was made of are too many.
                m.d.comb += self.i.ready.eq(~window.ended)
                with m.If(
                    window.take | window.high_valid | (window.low_valid & (window.offset == 0))
                ):
                    m.d.sync += self.wrong_size.eq(1)
                with m.If(window.ended):
                    m.next = "IDLE"

        return m

    def _fill_window(self, m, running, step):
        """Keep the beat that the next piece begins in, at byte ``offset``, and the one after."""
        window = SimpleNamespace()
        window.low = Signal(64, reset_less=True)
        window.high = Signal(64, reset_less=True)
        window.low_valid = Signal()
        window.high_valid = Signal()
        window.ended = Signal()
        window.offset = Signal(range(BEAT))
        window.size = Signal(range(BEAT + 1), reset_less=True)
        window.end = Signal(range(2 * BEAT))
        window.available = Signal()
        window.pop = Signal()
        window.take = Signal()
        m.d.comb += [
            window.end.eq(window.offset + window.size),
            window.available.eq(window.low_valid & ((window.end <= BEAT) | window.high_valid)),
            window.pop.eq(step & (window.end >= BEAT)),
            window.take.eq(self.i.valid & self.i.ready),
        ]
        with m.If(window.take & self.i.p.last):
            m.d.sync += window.ended.eq(1)
        with m.If(running & (window.pop | ~window.low_valid)):
            m.d.sync += [
                window.low.eq(Mux(window.high_valid, window.high, self.i.p.data)),
                window.high.eq(self.i.p.data),
                window.low_valid.eq(window.high_valid | window.take),
                window.high_valid.eq(window.high_valid & window.take),
            ]
        with m.Elif(running & window.take):
            m.d.sync += [window.high.eq(self.i.p.data), window.high_valid.eq(1)]
        return window

    def _count_pieces(self, m, map_, window, step):
        """Find where in the pixel, the row and the picture the next piece stands.

        All numbers of pieces, columns and rows count down.
        """
        config, piece_bytes, piece_shift = self.config, self.piece_bytes, self.piece_shift
        place = SimpleNamespace()
        place.last_channel = Signal.like(map_.channels, reset_less=True)
        # Channels of a pixel's last piece.
        place.tail = Signal(range(piece_bytes + 1), reset_less=True)
        place.pieces = Signal(len(place.last_channel) - piece_shift, reset_less=True)
        place.columns = Signal.like(map_.width, reset_less=True)
        place.rows = Signal.like(map_.height, reset_less=True)
        place.last_piece = Signal(reset_less=True)
        place.half = Signal()  # the piece is the second of its word
        place.word_ends = place.last_piece | place.half if config.beats_per_word == 2 else Const(1)
        place.row_ends = place.columns == 0
        next_is_last = Signal()
        place.only_piece = place.last_channel[piece_shift:] == 0
        m.d.comb += next_is_last.eq(Mux(place.last_piece, place.only_piece, place.pieces == 1))

        # Place of the word, and of its pixel's first word.
        place.bank = Signal(range(max(2, config.pixels)), reset_less=True)
        place.address = Signal.like(map_.base, reset_less=True)
        place.pixel = Signal.like(map_.base, reset_less=True)
        bank_sum = Signal(range(2 * config.pixels + 2))
        carry = Signal()
        address_sum = Signal.like(place.address)
        m.d.comb += [
            bank_sum.eq(place.bank + Mux(place.row_ends, map_.skip_r, 1)),
            carry.eq(bank_sum >= config.pixels),
            address_sum.eq(
                Mux(place.last_piece, place.pixel, place.address)
                + Mux(place.last_piece, Mux(place.row_ends, map_.skip_q, 0), map_.plane)
                + (place.last_piece & carry)
            ),
        ]
        with m.If(step):
            m.d.sync += [
                window.offset.eq(window.end),
                place.pieces.eq(
                    Mux(place.last_piece, place.last_channel[piece_shift:], place.pieces - 1)
                ),
                place.last_piece.eq(next_is_last),
                window.size.eq(Mux(next_is_last, place.tail, piece_bytes)),
                place.half.eq(~place.word_ends),
            ]
            with m.If(place.word_ends):
                m.d.sync += place.address.eq(address_sum)
            with m.If(place.last_piece):
                m.d.sync += [
                    place.pixel.eq(address_sum),
                    place.bank.eq(Mux(carry, bank_sum - config.pixels, bank_sum)),
                    place.columns.eq(Mux(place.row_ends, map_.width - 1, place.columns - 1)),
                ]
                with m.If(place.row_ends):
                    m.d.sync += place.rows.eq(place.rows - 1)
        return place

    def _cut_pieces(self, m, running, step, window, place):
        """Cut pieces out of the window, clear them behind their last channel, and join them.

        Returns whether a piece waits, and whether a word does.
        """
        config, piece_bytes = self.config, self.piece_bytes
        piece = Signal(8 * piece_bytes, reset_less=True)
        piece_valid = Signal()
        piece_is_tail = Signal(reset_less=True)
        piece_ends_word = Signal(reset_less=True)
        piece_bank = Signal.like(place.bank, reset_less=True)
        piece_address = Signal.like(place.address, reset_less=True)
        cleared = Signal(8 * piece_bytes)
        m.submodules.buffer = buffer = StreamBuffer(activation_write_layout(config))
        wiring.connect(m, buffer.o, wiring.flipped(self.o))
        advance = Signal()
        m.d.comb += [
            advance.eq(~piece_valid | ~piece_ends_word | buffer.i.ready),
            step.eq(running & window.available & advance),
            buffer.i.valid.eq(piece_valid & piece_ends_word),
            buffer.i.p.bank.eq(piece_bank),
            buffer.i.p.address.eq(piece_address),
        ]
        for i in range(piece_bytes):
            kept = ~piece_is_tail | (i < place.tail)
            m.d.comb += cleared[8 * i : 8 * (i + 1)].eq(
                piece[8 * i : 8 * (i + 1)] & kept.replicate(8)
            )
        if config.beats_per_word == 1:
            m.d.comb += buffer.i.p.data.eq(cleared)
        else:
            first = Signal(8 * piece_bytes, reset_less=True)
            is_second = Signal(reset_less=True)
            m.d.comb += buffer.i.p.data.eq(Mux(is_second, Cat(first, cleared), cleared))
            with m.If(advance):
                m.d.sync += is_second.eq(place.half)
            with m.If(piece_valid & ~piece_ends_word):
                m.d.sync += first.eq(cleared)
        with m.If(advance):
            m.d.sync += [
                piece.eq(
                    Cat(window.low, window.high).bit_select(window.offset << 3, 8 * piece_bytes)
                ),
                piece_valid.eq(step),
                piece_is_tail.eq(place.last_piece),
                piece_ends_word.eq(place.word_ends),
                piece_bank.eq(place.bank),
                piece_address.eq(place.address),
            ]
        with m.If(self.discard):
            m.d.sync += piece_valid.eq(0)
        return piece_valid, buffer.o.valid

"""Cuts a dense picture into words of the activation memory."""

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
        config = self.config
        piece_bytes = min(config.input_channels, BEAT)
        piece_shift = ceil_log2(piece_bytes)

        map_ = Signal(input_map_layout(config), reset_less=True)
        running = Signal()
        step = Signal()  # a piece leaves the window

        # Window: the beat that the next piece begins in, at byte ``offset``, and the one after.
        low = Signal(64, reset_less=True)
        high = Signal(64, reset_less=True)
        low_valid = Signal()
        high_valid = Signal()
        ended = Signal()
        offset = Signal(range(BEAT))
        size = Signal(range(BEAT + 1), reset_less=True)
        end = Signal(range(2 * BEAT))
        available = Signal()
        pop = Signal()
        take = Signal()
        m.d.comb += [
            end.eq(offset + size),
            available.eq(low_valid & ((end <= BEAT) | high_valid)),
            pop.eq(step & (end >= BEAT)),
            take.eq(self.i.valid & self.i.ready),
        ]
        with m.If(take & self.i.p.last):
            m.d.sync += ended.eq(1)
        with m.If(running & (pop | ~low_valid)):
            m.d.sync += [
                low.eq(Mux(high_valid, high, self.i.p.data)),
                high.eq(self.i.p.data),
                low_valid.eq(high_valid | take),
                high_valid.eq(high_valid & take),
            ]
        with m.Elif(running & take):
            m.d.sync += [high.eq(self.i.p.data), high_valid.eq(1)]

        # Where in the pixel, the row, the picture the next piece stands; all count down.
        last_channel = Signal.like(map_.channels, reset_less=True)
        tail = Signal(range(piece_bytes + 1), reset_less=True)  # channels of a pixel's last piece
        pieces = Signal(len(last_channel) - piece_shift, reset_less=True)
        columns = Signal.like(map_.width, reset_less=True)
        rows = Signal.like(map_.height, reset_less=True)
        last_piece = Signal(reset_less=True)
        half = Signal()  # the piece is the second of its word
        word_ends = last_piece | half if config.beats_per_word == 2 else Const(1)
        row_ends = columns == 0
        next_is_last = Signal()
        only_piece = last_channel[piece_shift:] == 0
        m.d.comb += next_is_last.eq(Mux(last_piece, only_piece, pieces == 1))

        # Place of the word, and of its pixel's first word.
        bank = Signal(range(max(2, config.pixels)), reset_less=True)
        address = Signal.like(map_.base, reset_less=True)
        pixel = Signal.like(map_.base, reset_less=True)
        bank_sum = Signal(range(2 * config.pixels + 2))
        carry = Signal()
        address_sum = Signal.like(address)
        m.d.comb += [
            bank_sum.eq(bank + Mux(row_ends, map_.skip_r, 1)),
            carry.eq(bank_sum >= config.pixels),
            address_sum.eq(
                Mux(last_piece, pixel, address)
                + Mux(last_piece, Mux(row_ends, map_.skip_q, 0), map_.plane)
                + (last_piece & carry)
            ),
        ]
        with m.If(step):
            m.d.sync += [
                offset.eq(end),
                pieces.eq(Mux(last_piece, last_channel[piece_shift:], pieces - 1)),
                last_piece.eq(next_is_last),
                size.eq(Mux(next_is_last, tail, piece_bytes)),
                half.eq(~word_ends),
            ]
            with m.If(word_ends):
                m.d.sync += address.eq(address_sum)
            with m.If(last_piece):
                m.d.sync += [
                    pixel.eq(address_sum),
                    bank.eq(Mux(carry, bank_sum - config.pixels, bank_sum)),
                    columns.eq(Mux(row_ends, map_.width - 1, columns - 1)),
                ]
                with m.If(row_ends):
                    m.d.sync += rows.eq(rows - 1)

        # Piece: cut out of the window, then cleared behind its last channel.
        piece = Signal(8 * piece_bytes, reset_less=True)
        piece_valid = Signal()
        piece_is_tail = Signal(reset_less=True)
        piece_ends_word = Signal(reset_less=True)
        piece_bank = Signal.like(bank, reset_less=True)
        piece_address = Signal.like(address, reset_less=True)
        cleared = Signal(8 * piece_bytes)
        m.submodules.buffer = buffer = StreamBuffer(activation_write_layout(config))
        wiring.connect(m, buffer.o, wiring.flipped(self.o))
        advance = Signal()
        m.d.comb += [
            advance.eq(~piece_valid | ~piece_ends_word | buffer.i.ready),
            step.eq(running & available & advance),
            buffer.i.valid.eq(piece_valid & piece_ends_word),
            buffer.i.p.bank.eq(piece_bank),
            buffer.i.p.address.eq(piece_address),
        ]
        for i in range(piece_bytes):
            kept = ~piece_is_tail | (i < tail)
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
                m.d.sync += is_second.eq(half)
            with m.If(piece_valid & ~piece_ends_word):
                m.d.sync += first.eq(cleared)
        with m.If(advance):
            m.d.sync += [
                piece.eq(Cat(low, high).bit_select(offset << 3, 8 * piece_bytes)),
                piece_valid.eq(step),
                piece_is_tail.eq(last_piece),
                piece_ends_word.eq(word_ends),
                piece_bank.eq(bank),
                piece_address.eq(address),
            ]
        with m.If(self.discard):
            m.d.sync += piece_valid.eq(0)

        with m.FSM() as fsm:
            m.d.comb += self.idle.eq(fsm.ongoing("IDLE") & ~piece_valid & ~buffer.o.valid)
            with m.State("IDLE"):
                m.d.comb += self.start.ready.eq(1)
                m.d.sync += [
                    map_.eq(self.start.p),
                    last_channel.eq(self.start.p.channels - 1),
                    ended.eq(0),
                    low_valid.eq(0),
                    high_valid.eq(0),
                    half.eq(0),
                    offset.eq(0),
                ]
                with m.If(self.start.valid):
                    m.d.sync += self.wrong_size.eq(0)
                    m.next = "SET UP"
            with m.State("SET UP"):
                m.d.sync += [
                    tail.eq(last_channel[:piece_shift] + 1),
                    pieces.eq(last_channel[piece_shift:]),
                    last_piece.eq(only_piece),
                    size.eq(Mux(only_piece, last_channel[:piece_shift] + 1, piece_bytes)),
                    columns.eq(map_.width - 1),
                    rows.eq(map_.height - 1),
                    bank.eq(0),
                    address.eq(map_.base),
                    pixel.eq(map_.base),
                ]
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += [
                    running.eq(~self.discard),
                    self.i.ready.eq(running & ~ended & (~high_valid | pop)),
                ]
                with m.If(self.discard | (step & last_piece & row_ends & (rows == 0))):
                    m.next = "DRAIN"
                with m.Elif(ended & ~available):
                    m.d.sync += self.wrong_size.eq(1)
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                # Beats that nothing was made of are too many.
                m.d.comb += self.i.ready.eq(~ended)
                with m.If(take | high_valid | (low_valid & (offset == 0))):
                    m.d.sync += self.wrong_size.eq(1)
                with m.If(ended):
                    m.next = "IDLE"

        return m

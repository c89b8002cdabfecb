"""From requantised values to the activation memory."""

from typing import NamedTuple

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import INSTRUCTION
from hdl.parts.layout import record_layout
from hdl.vision.interfaces import activation_write_layout
from hdl.vision.linear import address_bits, bank_bits
from hdl.vision.loops.walker import POSITION_BITS, PixelWalker

__all__ = ["WriteBack"]


class _PlacedWord(NamedTuple):
    """A lane's word, and where it goes: in which bank, if it is to be written at all, and a cycle
    late if a lower lane writes to the same bank."""

    word: Signal
    address: Signal
    bank: Signal
    write: Signal
    late: Signal


class WriteBack(wiring.Component):
    """Collects channels to words, finds where each pixel's word belongs, and writes it.

    The words of one group go to different banks but where the group runs on across a row's end:
    there two can meet in one bank.  One of them then goes a cycle later, which is free: a word
    takes ``drains_per_word`` >= 2 cycles to fill.  So nothing ever waits, and ``values`` has no
    back-pressure.  Pixels beyond the map or the group and planes beyond ``out_blocks`` are not
    written.

    Banks without a result to write take words of the next picture from ``load``.

    Latency: 4 cycles from a word's last channels to the memory (5 for the word that waits).

    Members
    -------
    instruction : In
        The layer, constant from ``start`` to ``done``.
    start : In(1)
        A layer begins.
    values : In(ArrayLayout[pixels][requantize_channels] of signed 8), strobe : In(1)
        Requantised values, in the order of :class:`~hdl.vision.datapath.drain.Drain`.
    load : In(stream of activation_write_layout)
        Words of the next picture.
    write_enable, write_address, write_data
        The activation memory's write side.
    done : Out(1)
        One cycle: at most two more writes of the layer are under way; whoever presents an
        address to the memory three cycles later, or after that, reads the new words.
    """

    def __init__(self, config: VisionConfig):
        self.config = config
        lanes = data.ArrayLayout(
            data.ArrayLayout(signed(8), config.requantize_channels), config.pixels
        )
        super().__init__(
            {
                "instruction": In(record_layout(INSTRUCTION)),
                "start": In(1),
                "values": In(lanes),
                "strobe": In(1),
                "load": In(stream.Signature(activation_write_layout(config))),
                "write_enable": Out(config.pixels),
                "write_address": Out(data.ArrayLayout(address_bits(config), config.pixels)),
                "write_data": Out(data.ArrayLayout(config.word_bits, config.pixels)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        filled, collected = self._collect(m)
        (group_end, tile_end, layer_end), plane, blocks_left = self._count_words(m, filled)
        walker = self._walk(m, group_end, tile_end, layer_end)
        s1_filled = Signal()
        s1_done = Signal()
        m.d.sync += [s1_filled.eq(filled), s1_done.eq(layer_end)]
        inside = self._look_inside(m, walker)
        words = self._place(m, filled, collected, plane, blocks_left, walker, inside)
        m.d.comb += self.done.eq(s1_done)
        self._write(m, s1_filled, words)
        return m

    def _collect(self, m):
        """Collect the channels of every pixel's word, lowest first.

        Returns whether the words are complete, the cycle after their last channels; and the words.
        """
        config = self.config
        parts = config.drains_per_word
        parts_left = Signal(range(parts), init=parts - 1)
        filled = Signal()
        collected = [
            Signal(config.word_bits, name=f"collected{number}", reset_less=True)
            for number in range(config.pixels)
        ]
        m.d.sync += filled.eq(self.strobe & (parts_left == 0))
        with m.If(self.strobe):
            m.d.sync += parts_left.eq(Mux(parts_left == 0, parts - 1, parts_left - 1))
            for number, word in enumerate(collected):
                new = self.values[number].as_value()
                m.d.sync += word.eq(Cat(word[len(new) :], new))
        return filled, collected

    def _count_words(self, m, filled):
        """Find which words of which group of which tile have been filled.

        Returns whether they are the last ones of their group, tile and layer; where their plane
        begins; and how many planes of the map are left, 0 or less beyond its last one.
        """
        config = self.config
        layer = self.instruction
        words_per_group = Signal.like(layer.drain, reset_less=True)
        words_left = Signal.like(layer.drain, reset_less=True)
        groups_left = Signal.like(layer.groups, reset_less=True)
        tiles_left = Signal.like(layer.tiles, reset_less=True)
        group_end = Signal()
        tile_end = Signal()
        layer_end = Signal()
        plane = Signal(address_bits(config), reset_less=True)
        tile_plane = Signal.like(plane, reset_less=True)
        next_tile_plane = Signal.like(plane, reset_less=True)
        # Below 0 in a tile that ends beyond the map's last plane: by no more than a tile's words.
        blocks_left = Signal(
            signed(max(len(layer.out_blocks), len(layer.drain)) + 2), reset_less=True
        )
        tile_blocks_left = Signal.like(blocks_left, reset_less=True)
        next_tile_blocks_left = Signal.like(blocks_left, reset_less=True)
        shift = config.drains_per_word.bit_length() - 1
        m.d.comb += [
            group_end.eq(filled & (words_left == 0)),
            tile_end.eq(group_end & (groups_left == 0)),
            layer_end.eq(tile_end & (tiles_left == 0)),
        ]
        m.d.sync += [
            words_per_group.eq((layer.drain >> shift) - 1),
            next_tile_plane.eq(tile_plane + layer.out_tile_step),
            next_tile_blocks_left.eq(tile_blocks_left - words_per_group - 1),
        ]
        with m.If(self.start):
            m.d.sync += [
                words_left.eq((layer.drain >> shift) - 1),
                groups_left.eq(layer.groups - 1),
                tiles_left.eq(layer.tiles - 1),
                plane.eq(layer.out_base),
                tile_plane.eq(layer.out_base),
                blocks_left.eq(layer.out_blocks),
                tile_blocks_left.eq(layer.out_blocks),
            ]
        with m.Elif(tile_end):
            m.d.sync += [
                words_left.eq(words_per_group),
                groups_left.eq(layer.groups - 1),
                tiles_left.eq(tiles_left - 1),
                plane.eq(next_tile_plane),
                tile_plane.eq(next_tile_plane),
                blocks_left.eq(next_tile_blocks_left),
                tile_blocks_left.eq(next_tile_blocks_left),
            ]
        with m.Elif(group_end):
            m.d.sync += [
                words_left.eq(words_per_group),
                groups_left.eq(groups_left - 1),
                plane.eq(tile_plane),
                blocks_left.eq(tile_blocks_left),
            ]
        with m.Elif(filled):
            m.d.sync += [
                words_left.eq(words_left - 1),
                plane.eq(plane + layer.out_plane),
                blocks_left.eq(blocks_left - 1),
            ]
        return (group_end, tile_end, layer_end), plane, blocks_left

    def _walk(self, m, group_end, tile_end, layer_end):
        """Return the walker that finds where each lane's pixel stands in the output map."""
        config = self.config
        layer = self.instruction
        m.submodules.walker = walker = PixelWalker(config)
        m.d.comb += [
            walker.restart.eq(self.start | (tile_end & ~layer_end)),
            walker.step.eq(group_end & ~tile_end),
            walker.walk.start_q.eq(0),
            walker.walk.start_r.eq(0),
            walker.walk.lane_q.eq(1 // config.pixels),
            walker.walk.lane_r.eq(1 % config.pixels),
            walker.walk.step_q.eq(layer.out_step_q),
            walker.walk.step_r.eq(layer.out_step_r),
            walker.walk.wrap_q.eq(layer.out_wrap_q),
            walker.walk.wrap_r.eq(layer.out_wrap_r),
            walker.walk.group_pixels.eq(layer.group_pixels),
            walker.walk.row_width.eq(layer.out_width),
            walker.walk.wrap_x.eq(layer.out_wrap_x),
            walker.walk.row_mode.eq(layer.row_mode),
        ]
        return walker

    def _look_inside(self, m, walker):
        """Return for each lane whether its pixel is one of the map's and of the group's."""
        layer = self.instruction
        moved = Signal()
        m.d.sync += moved.eq(walker.restart | walker.step)
        inside = []
        for number, lane in enumerate(walker.lanes):
            y = Signal(POSITION_BITS, name=f"y{number}", reset_less=True)
            with m.If(walker.restart):
                m.d.sync += y.eq(0)
            with m.Elif(walker.step & lane.wraps):
                m.d.sync += y.eq(y + 1)
            inside_y = Signal(name=f"inside_y{number}", reset_less=True)
            inside_x = Signal(name=f"inside_x{number}", reset_less=True)
            with m.If(moved):
                m.d.sync += [
                    inside_y.eq(y < layer.out_height),
                    inside_x.eq((lane.x < layer.out_width) & (number < layer.group_pixels)),
                ]
            inside.append(inside_y & inside_x)
        return inside

    def _place(self, m, filled, collected, plane, blocks_left, walker, inside):
        """Stage 1: each lane's word and its place; does it meet a lower lane in its bank?"""
        config = self.config
        words = []
        for number, lane in enumerate(walker.lanes):
            word = Signal(config.word_bits, name=f"s1_word{number}", reset_less=True)
            address = Signal(address_bits(config), name=f"s1_address{number}", reset_less=True)
            bank = Signal(bank_bits(config), name=f"s1_bank{number}", reset_less=True)
            write = Signal(name=f"s1_write{number}", reset_less=True)
            late = Signal(name=f"s1_late{number}", reset_less=True)
            meets = 0
            for lower in range(number):
                meets |= inside[lower] & (walker.lanes[lower].r == lane.r)
            with m.If(filled):
                m.d.sync += [
                    word.eq(collected[number]),
                    address.eq(lane.q + plane),
                    bank.eq(lane.r),
                    write.eq(inside[number] & (blocks_left > 0)),
                    late.eq(meets),
                ]
            words.append(_PlacedWord(word, address, bank, write, late))
        return words

    def _write(self, m, filled, words):
        """Stage 2: first the words that meet no other, in the next cycle the rest."""
        config = self.config
        late_turn = Signal()
        m.d.sync += late_turn.eq(filled)
        bank_free = Signal(config.pixels)
        load_here = Signal(config.pixels)
        m.d.comb += self.load.ready.eq(bank_free.bit_select(self.load.payload.bank, 1))
        for bank in range(config.pixels):
            takes = [
                word.write & (word.bank == bank) & Mux(word.late, late_turn, filled)
                for word in words
            ]
            m.d.comb += [
                bank_free[bank].eq(~Cat(takes).any()),
                load_here[bank].eq(self.load.valid & (self.load.payload.bank == bank)),
            ]
            address = self.load.payload.address
            data_in = self.load.payload.data
            for taken, word in zip(reversed(takes), reversed(words), strict=True):
                address = Mux(taken, word.address, address)
                data_in = Mux(taken, word.word, data_in)
            enable = Signal(name=f"enable{bank}")
            write_address = Signal(
                address_bits(config), name=f"write_address{bank}", reset_less=True
            )
            write_word = Signal(config.word_bits, name=f"write_word{bank}", reset_less=True)
            m.d.sync += [
                enable.eq(Cat(takes).any() | load_here[bank]),
                write_address.eq(address),
                write_word.eq(data_in),
            ]
            m.d.comb += [
                self.write_enable[bank].eq(enable),
                self.write_address[bank].eq(write_address),
                self.write_data[bank].eq(write_word),
            ]

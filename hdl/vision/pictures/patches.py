"""Turns a picture into patches on its way to the activation memory."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.vision.records import HEADER, PATCH_LINE_BYTES
from hdl.parts.block_memory import BlockMemory
from hdl.parts.burst_reader import beat_layout
from hdl.parts.layout import field_shape
from hdl.parts.stream import StreamFifo
from hdl.vision.job_layouts import patch_layout
from hdl.vision.pictures.patch_packer import PatchPacker
from hdl.vision.pictures.patch_walker import CHUNK, PatchWalker, chunk_layout

__all__ = ["Patches", "patches_start_layout"]

patches_start_layout = data.StructLayout(
    {
        "patches": patch_layout,
        "height": field_shape(HEADER, "input_height"),
        "width": field_shape(HEADER, "input_width"),
    }
)
"""Payload of :attr:`Patches.start`: how the patches lie; rows and columns of them."""

OUTPUT_DEPTH = 32
UNDER_WAY = 8
"""Words that may still come when room is seen to run out."""
SETTLED = 7
"""Cycles of standing still after which nothing can move any more."""


class Patches(wiring.Component):
    """Dense beats of a picture in, beats of its patches out (``patch_…`` in the program header).

    The picture goes into a ring of lines; patches are cut out of it behind the writer, in chunks of
    up to nine bytes of one row.

    A picture whose lines do not fit in the ring, or of another size than the header says, or whose
    patches begin behind it, ends all the same: with ``wrong_size``, its beats taken, and a last
    beat given.

    Latency: 11 cycles from the beat after a chunk's last to the word that it completes.
    Throughput: 1 chunk a cycle, but never more than 1 output beat: a patch of 3 × 3 pixels takes 3
    cycles with one channel, 4 with three.

    Parameters
    ----------
    line_bytes : int
        Size of the ring, a power of two from 256.  The kernel's rows have to fit, with
        :data:`eyas.interfaces.vision.records.PATCH_MARGIN` to spare.

    Members
    -------
    start : In(stream of patches_start_layout)
        What comes.
    i : In(stream of beat_layout)
        The picture; ``last`` with its last beat.
    discard : In(1)
        While high no patch is made; beats are taken to their end, then a last beat is given.
    o : Out(stream of beat_layout)
        Patches one after the other, each filled up to whole beats.
    idle : Out(1)
        No picture is under way, and no beat waits in ``o``.
    wrong_size : Out(1)
        When idle: the last picture was not what its header said.
    """

    def __init__(self, line_bytes: int = PATCH_LINE_BYTES):
        if not isinstance(line_bytes, int):
            raise TypeError(f"line_bytes must be an integer, not {line_bytes!r}")
        if line_bytes < 256 or line_bytes & (line_bytes - 1):
            raise ValueError(f"line_bytes must be a power of two from 256, not {line_bytes}")
        self.line_bytes = line_bytes
        super().__init__(
            {
                "start": In(stream.Signature(patches_start_layout)),
                "i": In(stream.Signature(beat_layout)),
                "discard": In(1),
                "o": Out(stream.Signature(beat_layout)),
                "idle": Out(1),
                "wrong_size": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        words = self.line_bytes // 8
        address_bits = ceil_log2(words)

        picture = Signal(patches_start_layout, reset_less=True)
        m.submodules.walker = walker = PatchWalker()
        m.submodules.packer = packer = PatchPacker()
        m.submodules.queue = queue = StreamFifo(beat_layout, OUTPUT_DEPTH)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        m.d.comb += [
            walker.patches.eq(picture.patches),
            walker.height.eq(picture.height),
            walker.width.eq(picture.width),
            packer.filling.eq(picture.patches.zero_point),
            queue.i.valid.eq(packer.o_valid),
            queue.i.p.data.eq(packer.o_data),
            queue.i.p.last.eq(packer.o_last),
        ]

        # The ring: even and odd words apart, so that any two neighbours are one read.
        taken = Signal(signed(23))  # words of the picture
        ended = Signal()
        low = Signal(chunk_layout["address"].shape, reset_less=True)  # bytes before are done with
        limit = Signal(signed(23), reset_less=True)
        has_room = Signal()  # some cycles old: a few words are left for that
        take = Signal()
        even = BlockMemory(64, words // 2)
        odd = BlockMemory(64, words // 2)
        m.submodules.even, m.submodules.odd = even, odd
        m.d.comb += take.eq(self.i.valid & self.i.ready)
        m.d.sync += [limit.eq((low >> 3) + words - 4), has_room.eq(taken < limit)]
        with m.If(take):
            m.d.sync += [taken.eq(taken + 1), ended.eq(self.i.p.last)]
        for number, memory in enumerate((even, odd)):
            m.d.comb += [
                memory.write_enable.eq(take & (taken[0] == number)),
                memory.write_address.eq(taken[1:address_bits]),
                memory.write_data.eq(self.i.p.data),
            ]

        # A chunk waits here until its bytes have come. ``available`` is looked up with the chunk.
        chunk = Signal(chunk_layout, reset_less=True)
        chunk_valid = Signal()
        available = Signal(reset_less=True)
        present = Signal(signed(23), reset_less=True)
        candidate = Signal(chunk_layout)
        issue = Signal()
        m.d.comb += [
            walker.o.ready.eq(issue | ~chunk_valid),
            candidate.eq(Mux(walker.o.ready, walker.o.p, chunk)),
        ]
        m.d.sync += [
            present.eq(taken - 1),
            # The window's two words stand in the ring, or all do, or none is wanted.
            available.eq(ended | (candidate.end == 0) | ((candidate.address >> 3) < present)),
        ]
        with m.If(walker.o.ready):
            m.d.sync += [chunk.eq(walker.o.p), chunk_valid.eq(walker.o.valid)]

        # Its bytes go to the packer. Where they complete two words, or a word and a patch's rest,
        # the second one leaves with the next chunk; by itself if that has no place behind it.
        kept = Signal(range(9))
        total = Signal(range(18))
        finished = Signal(reset_less=True)
        in_the_way = Signal()
        can_emit = Signal()
        flush = Signal()
        close = Signal()
        m.d.comb += [
            total.eq(kept + chunk.length),
            in_the_way.eq(kept[3] & (finished | (chunk.length == CHUNK))),
            packer.valid.eq(issue | flush | close),
            packer.item.offset.eq(chunk.address),
            packer.item.kept.eq(kept),
            packer.item.first.eq(chunk.first),
            packer.item.end.eq(chunk.end),
            packer.item.emit.eq(~issue | chunk.ends_patch | (total >= 8)),
            packer.item.last.eq(
                Mux(issue, chunk.ends_picture & (total <= 8), (flush & finished) | close)
            ),
            packer.window.eq(Cat(even.read_data, odd.read_data)),
            even.read_address.eq((chunk.address + 8)[4:]),
            odd.read_address.eq(chunk.address[4:]),
        ]
        m.d.sync += can_emit.eq(queue.level < OUTPUT_DEPTH - UNDER_WAY)
        with m.If(issue):
            m.d.sync += finished.eq(chunk.ends_picture)
            with m.If(chunk.ends_patch):
                m.d.sync += kept.eq(Mux(total > 8, 8, 0))
            with m.Else():
                m.d.sync += kept.eq(Mux(total == 16, 8, total[:3]))
            with m.If(chunk.ends_row):
                m.d.sync += low.eq(low + picture.patches.row_step)
        with m.Elif(flush):
            m.d.sync += kept.eq(0)

        # Nothing moves any more: the ring is full, and what is read next has not come.
        still = Signal(range(SETTLED + 1))
        stuck = Signal()
        m.d.comb += stuck.eq(still == SETTLED)
        with m.If(chunk_valid & ~available & ~has_room):
            m.d.sync += still.eq(still + 1)
        with m.Else():
            m.d.sync += still.eq(0)

        picture_words = Signal.like(taken, reset_less=True)
        with m.FSM() as fsm:
            m.d.comb += self.idle.eq(fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.comb += self.start.ready.eq(1)
                m.d.sync += [picture.eq(self.start.p), taken.eq(0), ended.eq(0)]
                with m.If(self.start.valid):
                    m.next = "SET UP"
            with m.State("SET UP"):
                m.d.comb += walker.start.eq(1)
                m.d.sync += [
                    chunk_valid.eq(0),
                    kept.eq(0),
                    finished.eq(0),
                    still.eq(0),
                    low.eq(picture.patches.start),
                    picture_words.eq((picture.patches.picture_bytes + 7) >> 3),
                    self.wrong_size.eq(0),
                ]
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += [
                    self.i.ready.eq(has_room & ~ended),
                    issue.eq(chunk_valid & available & can_emit & ~in_the_way),
                    flush.eq(can_emit & in_the_way),
                ]
                with m.If(packer.valid & packer.item.last):
                    m.next = "END"
                with m.Elif(self.discard | stuck | (chunk_valid & chunk.astray)):
                    m.d.sync += self.wrong_size.eq(1)
                    m.next = "GIVE UP"
            with m.State("GIVE UP"):
                # What follows the patches behind this stage waits for a last beat.
                m.d.comb += [self.i.ready.eq(~ended), close.eq(ended & can_emit)]
                with m.If(close):
                    m.next = "END"
            with m.State("END"):
                m.d.comb += self.i.ready.eq(~ended)
                with m.If(ended & ~packer.busy & ~queue.o.valid):
                    m.next = "IDLE"
                    with m.If(taken != picture_words):
                        m.d.sync += self.wrong_size.eq(1)

        return m

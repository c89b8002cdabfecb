"""Walks over the windows of a picture, a run of bytes at a time."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.vision.records import HEADER
from hdl.parts.layout import field_shape
from hdl.vision.job_layouts import patch_layout

__all__ = ["CHUNK", "PatchWalker", "chunk_layout"]

CHUNK = 9
"""Bytes of a picture that are taken at once: a row of a 3 × 3 kernel over three channels."""

chunk_layout = data.StructLayout(
    {
        "address": signed(25),
        "length": range(CHUNK + 1),
        "first": range(CHUNK + 1),
        "end": range(CHUNK + 1),
        "astray": 1,
        "ends_patch": 1,
        "ends_row": 1,
        "ends_picture": 1,
    }
)
"""Up to CHUNK bytes of a patch, from byte ``address`` of the picture: of its ``length`` bytes those
from ``first`` up to ``end`` are the picture's, the others stand outside of it (all, if ``end`` is
0).  Then a patch ends, a row of patches, all of them.  ``astray``: a patch begins behind the
picture's last row or column, as none does."""


class PatchWalker(wiring.Component):
    """For each patch, for each row of the kernel: the row's bytes, in chunks.

    Latency: 3 cycles from ``start`` to the first chunk.  Throughput: 1 chunk a cycle.

    Members
    -------
    start : In(1)
        Begin with the first patch, and forget what was under way.
    patches : In(patch_layout)
        How the patches lie; constant until ``start`` comes again, as are the sizes.
    height, width : In
        Rows and columns of patches.
    o : Out(stream of chunk_layout)
        Chunks; none after the one that ends the picture.
    """

    def __init__(self):
        super().__init__(
            {
                "start": In(1),
                "patches": In(patch_layout),
                "height": In(field_shape(HEADER, "input_height")),
                "width": In(field_shape(HEADER, "input_width")),
                "o": Out(stream.Signature(chunk_layout)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        patches = self.patches
        address = chunk_layout["address"].shape
        column = signed(18)

        advance = Signal()
        active = Signal()
        step = Signal()
        m.d.comb += [advance.eq(self.o.ready | ~self.o.valid), step.eq(active & advance)]

        def countdown(name, count, steps):
            """High with the last of ``count`` items, of which one passes when ``steps``."""
            left = Signal.like(count, name=f"{name}_left", reset_less=True)
            last = Signal(name=f"last_{name}", reset_less=True)
            with m.If(self.start | (steps & last)):
                m.d.sync += [left.eq(count - 1), last.eq(count == 1)]
            with m.Elif(steps):
                m.d.sync += [left.eq(left - 1), last.eq(left == 1)]
            return last

        # Stage 1: the chunk's place, in bytes from the picture's start and from its row's.
        left = Signal.like(patches.run_bytes, reset_less=True)  # of the run, this chunk's included
        last_chunk = Signal(reset_less=True)
        begins_patch = Signal(reset_less=True)
        s1_row = Signal(address, reset_less=True)
        s1_byte = Signal(column, reset_less=True)
        top = Signal(address, reset_less=True)  # the patch's first row
        side = Signal(column, reset_less=True)  # the patch's first byte in each row
        ends_run = step & last_chunk
        last_run = countdown("run", patches.kernel_rows, ends_run)
        ends_patch = ends_run & last_run
        last_column = countdown("column", self.width, ends_patch)
        ends_row = ends_patch & last_column
        last_row = countdown("row", self.height, ends_row)
        with m.If(self.start | ends_run):
            m.d.sync += [left.eq(patches.run_bytes), last_chunk.eq(patches.run_bytes <= CHUNK)]
        with m.Elif(step):
            m.d.sync += [left.eq(left - CHUNK), last_chunk.eq(left <= 2 * CHUNK)]

        with m.If(self.start | step):
            m.d.sync += begins_patch.eq(self.start | ends_patch)

        with m.If(self.start | ends_row):
            m.d.sync += [side.eq(patches.start_byte), s1_byte.eq(patches.start_byte)]
        with m.Elif(ends_patch):
            m.d.sync += [side.eq(side + patches.pixel_step), s1_byte.eq(side + patches.pixel_step)]
        with m.Elif(ends_run):
            m.d.sync += s1_byte.eq(side)
        with m.Elif(step):
            m.d.sync += s1_byte.eq(s1_byte + CHUNK)

        with m.If(self.start):
            m.d.sync += [top.eq(patches.start), s1_row.eq(patches.start)]
        with m.Elif(ends_row):
            m.d.sync += [top.eq(top + patches.row_step), s1_row.eq(top + patches.row_step)]
        with m.Elif(ends_patch):
            m.d.sync += s1_row.eq(top)
        with m.Elif(ends_run):
            m.d.sync += s1_row.eq(s1_row + patches.row_bytes)

        with m.If(self.start):
            m.d.sync += active.eq(1)
        with m.Elif(ends_row & last_row):
            m.d.sync += active.eq(0)

        # Stage 2: where that is in the picture.
        s2_valid = Signal()
        s2 = Signal(chunk_layout, reset_less=True)
        s2_byte = Signal(column, reset_less=True)
        s2_rest = Signal(column, reset_less=True)  # bytes up to the row's end
        s2_below = Signal(reset_less=True)
        s2_above = Signal(reset_less=True)
        with m.If(advance):
            m.d.sync += [
                s2_valid.eq(active),
                s2.address.eq(s1_row + s1_byte),
                s2.length.eq(Mux(last_chunk, left, CHUNK)),
                s2.astray.eq(begins_patch),
                s2.ends_patch.eq(last_chunk & last_run),
                s2.ends_row.eq(last_chunk & last_run & last_column),
                s2.ends_picture.eq(last_chunk & last_run & last_column & last_row),
                s2_byte.eq(s1_byte),
                s2_rest.eq(patches.row_bytes - s1_byte),
                s2_above.eq(s1_row < 0),
                s2_below.eq(s1_row >= patches.picture_bytes),
            ]

        # Stage 3: which of its bytes are the picture's.
        s3_valid = Signal()
        s3 = Signal(chunk_layout, reset_less=True)
        before = Signal(range(16))  # a small negative s2_byte's distance from 0
        m.d.comb += before.eq(-s2_byte[:4])
        with m.If(advance):
            m.d.sync += [
                s3_valid.eq(s2_valid),
                s3.eq(s2),
                s3.astray.eq(s2.astray & (s2_below | (s2_rest <= 0))),
            ]
            with m.If(s2_byte >= 0):
                m.d.sync += s3.first.eq(0)
            with m.Elif(s2_byte[4:].all() & (before != 0) & (before < CHUNK)):
                m.d.sync += s3.first.eq(before)
            with m.Else():
                m.d.sync += s3.first.eq(CHUNK)
            with m.If(s2_above | s2_below | (s2_rest < 0)):
                m.d.sync += s3.end.eq(0)
            with m.Elif(s2_rest[4:].any() | (s2_rest[:4] > s2.length)):
                m.d.sync += s3.end.eq(s2.length)
            with m.Else():
                m.d.sync += s3.end.eq(s2_rest[:4])
        with m.If(self.start):
            m.d.sync += [s2_valid.eq(0), s3_valid.eq(0)]
        m.d.comb += [self.o.valid.eq(s3_valid), self.o.payload.eq(s3)]

        return m

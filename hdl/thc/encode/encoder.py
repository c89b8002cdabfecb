"""Encodes gradients: signs, Hadamard transform, scaling, stochastic rounding, packing."""

from amaranth.hdl import C, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.thc.config import TABLE_ENTRY_BITS, ThcConfig
from eyas.interfaces.thc.formats import (
    BLOCK_LOG2,
    MANTISSA_BITS,
    MULTIPLIER_BITS,
    NO_WORKER,
)
from eyas.interfaces.thc.registers import DESCRIPTOR
from hdl.parts.arithmetic import DelayLine, valid_after
from hdl.parts.layout import field_shape
from hdl.parts.stream import StreamFifo
from hdl.thc.encode.quantizer import WHOLE_BITS, Quantizer
from hdl.thc.encode.threefry import Threefry
from hdl.thc.encode.walsh import LANES, Walsh

__all__ = ["NUMBER_BITS", "Encoder", "block_layout", "draw_layout"]

WORD_BITS = 64
NUMBER_BITS = 35 - BLOCK_LOG2
"""Bits of a block's number in its stream."""

block_layout = data.StructLayout({"multiplier": MULTIPLIER_BITS, "number": NUMBER_BITS, "last": 1})
"""A block to come: its multiplier, its number in its stream, whether no other follows at once."""

draw_layout = data.StructLayout(
    {name: field_shape(DESCRIPTOR, name) for name in ("seed", "step", "worker", "stream")}
)
"""What random bits depend on beside the coordinate; ``worker`` is the worker's number plus 1."""


class Encoder(wiring.Component):
    """Turns blocks of 1024 16-bit coordinates into packed indices.

    Bit-exact with :func:`models.thc.fixed_point.encode`.

    ::

        i ─ wait for signs ─ negate ─ Walsh ─ Quantizer ─ pack ─ queue ─ o
        └─ Threefry: signs ─────┘                 │
                   └ random bits ─ wait ──────────┘

    Nothing inside ever waits: a block is taken only when its words have room in the queue.  A
    block's last coordinates leave the transform while the next block comes in; after a block that
    is ``last``, a block of nothing pushes them out.

    Throughput: 4 coordinates a cycle, blocks back to back. Latency: 297 cycles from a block's
    first beat to its first word, without gaps.

    Parameters
    ----------
    config : ThcConfig
        Index bits.

    Members
    -------
    load, table, granularity, busy
        As of :class:`hdl.thc.encode.quantizer.Quantizer`; while ``busy`` no block is taken.
    draw : In(draw_layout)
        Key and counter of the random bits; stays as it is from 2 cycles before the first block
        until ``idle``.
    blocks : In(stream of block_layout)
        Taken with a block's first beat.
    i : In(stream of 64)
        Beats of four coordinates, int16, the first lowest; 256 a block.
    o : Out(stream of 64)
        Packed indices, the first lowest: 512 bytes a block, 256 with 2-bit indices.
    idle : Out(1)
        No block is in here.
    """

    queue_blocks = 4

    def __init__(self, config: ThcConfig):
        if not isinstance(config, ThcConfig):
            raise TypeError(f"Config must be a ThcConfig, not {config!r}")
        self.config = config
        self.block_words = (1 << BLOCK_LOG2) // config.indices_per_byte // 8
        self.quantizer = Quantizer(config.entries)
        self.queue = StreamFifo(WORD_BITS, self.queue_blocks * self.block_words)
        super().__init__(
            {
                "load": In(1),
                "table": In(config.entries * TABLE_ENTRY_BITS),
                "granularity": In(WHOLE_BITS),
                "busy": Out(1),
                "draw": In(draw_layout),
                "blocks": In(stream.Signature(block_layout)),
                "i": In(stream.Signature(WORD_BITS)),
                "o": Out(stream.Signature(WORD_BITS)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.threefry = threefry = Threefry()
        m.submodules.walsh = walsh = Walsh()
        m.submodules.quantizer = quantizer = self.quantizer
        m.submodules.queue = queue = self.queue
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        m.d.comb += [
            quantizer.load.eq(self.load),
            quantizer.table.eq(self.table),
            quantizer.granularity.eq(self.granularity),
            self.busy.eq(quantizer.busy),
        ]

        strobe, count, real, block = self._take(m)
        self._draw(m, threefry, strobe, count, block.number)

        # Times are cycles after a beat was taken.
        signed_at = Threefry.latency + 1
        summed_at = signed_at + Walsh.latency
        random_at = summed_at + Quantizer.random_latency
        index_at = summed_at + Quantizer.latency
        counts = DelayLine(m, count, "count")
        strobes = {time: valid_after(m, strobe, time) for time in (
            Threefry.latency, signed_at, summed_at, random_at - 1, index_at
        )}  # fmt: skip

        # The signs of 128 coordinates are drawn with the first of their beats.
        mantissas = DelayLine(m, self.i.payload, "mantissas")[Threefry.latency]
        place = counts[Threefry.latency][:5]
        kept_signs = Signal(128, reset_less=True)
        signs = Signal(128)
        m.d.comb += signs.eq(Mux(place == 0, threefry.words.as_value(), kept_signs))
        with m.If(strobes[Threefry.latency]):
            m.d.sync += kept_signs.eq(signs)
        for lane in range(LANES):
            mantissa = mantissas.word_select(lane, MANTISSA_BITS).as_signed()
            negative = signs.word_select(place, LANES)[lane]
            item = Signal(signed(MANTISSA_BITS + 1), name=f"signed{lane}", reset_less=True)
            m.d.sync += item.eq(Mux(negative, ~mantissa, mantissa) + negative)
            m.d.comb += walsh.x[lane].eq(item)
        m.d.comb += [walsh.strobe.eq(strobes[signed_at]), walsh.count.eq(counts[signed_at])]

        # A block begins to leave with the last strobe of its own beats.
        coming = DelayLine(m, Cat(real, block.multiplier), "coming")[summed_at]
        leaving_kept = Signal(1 + MULTIPLIER_BITS)
        leaving = Signal(1 + MULTIPLIER_BITS)
        m.d.comb += leaving.eq(Mux(counts[summed_at].all(), coming, leaving_kept))
        with m.If(strobes[summed_at]):
            m.d.sync += leaving_kept.eq(leaving)
        m.d.comb += [quantizer.sums.eq(walsh.sums), quantizer.multiplier.eq(leaving[1:])]

        # Random bits of 8 coordinates are drawn with an odd strobe, whose beat leaves with an even
        # number; the beat behind it takes the upper half.
        words = DelayLine(m, threefry.words, "random")[random_at - 1 - Threefry.latency]
        upper = Signal(64, reset_less=True)
        random = Signal(64, reset_less=True)
        m.d.sync += random.eq(Mux(counts[random_at - 1][0], words[:64], upper))
        m.d.comb += quantizer.random.eq(random)
        with m.If(strobes[random_at - 1] & counts[random_at - 1][0]):
            m.d.sync += upper.eq(words[64:])

        # Indices into words.
        is_real = valid_after(m, leaving[0], Quantizer.latency)
        packed = self._packed(quantizer.indices)
        beats = WORD_BITS // len(packed)
        word = Signal(WORD_BITS, reset_less=True)
        push = Signal()
        takes = strobes[index_at] & is_real
        number = (counts[index_at] + 1)[: beats.bit_length() - 1]
        m.d.sync += push.eq(takes & number.all())
        with m.If(takes):
            m.d.sync += word.eq(Cat(word, packed)[len(packed) :])
        m.d.comb += [queue.i.valid.eq(push), queue.i.payload.eq(word)]

        return m

    def _take(self, m):
        """Take beats, and blocks that have room; return strobe, count, real, block."""
        words = self.block_words
        count = Signal(BLOCK_LOG2 - 2)
        strobe = Signal()
        flush = Signal()  # the block that was begun last is to be pushed out
        kept_real = Signal()
        real = Signal()
        kept = Signal(block_layout, reset_less=True)
        block = Signal(block_layout)
        # Words that were promised room and have not left.
        promised = Signal(range(self.queue.depth + 1))
        has_room = Signal()
        starts = Signal()
        is_first = count == 0
        m.d.comb += [
            real.eq(Mux(is_first, ~flush, kept_real)),
            block.eq(Mux(is_first, self.blocks.p.as_value(), kept.as_value())),
            self.i.ready.eq(
                real & (~is_first | (self.blocks.valid & has_room & ~self.busy & ~self.load))
            ),
            strobe.eq(Mux(real, self.i.valid & self.i.ready, 1)),
            starts.eq(strobe & real & is_first),
            self.blocks.ready.eq(starts),
            self.idle.eq((promised == 0) & ~flush),
        ]
        m.d.sync += [
            has_room.eq(promised <= self.queue.depth - words),
            promised.eq(
                promised + Mux(starts, words, 0) - (self.queue.o.valid & self.queue.o.ready)
            ),
        ]
        with m.If(strobe):
            m.d.sync += [count.eq(count + 1), kept_real.eq(real), kept.eq(block)]
            with m.If(is_first):
                m.d.sync += flush.eq(real & block.last)
        return strobe, count, real, block

    def _draw(self, m, threefry, strobe, count, number):
        """Call for signs at every 32nd beat, an even one, and for rounding at odd ones."""
        draw = self.draw
        call = Signal(32, reset_less=True)
        following = Signal(32)
        is_rounding = count[0]
        m.d.comb += following.eq(Mux(count.all(), Cat(C(0, BLOCK_LOG2 - 3), number), call + 1))
        with m.If(strobe & is_rounding):
            m.d.sync += call.eq(following)
        m.d.comb += [
            threefry.seed.eq(draw.seed),
            threefry.counter[0].eq(Mux(is_rounding, following, Cat(count[5:], number))),
            threefry.counter[1].eq(draw.step),
            threefry.counter[2].eq(Mux(is_rounding, draw.worker, NO_WORKER)),
            threefry.counter[3].eq(draw.stream),
        ]

    def _packed(self, indices):
        """Indices as they travel: the first of a byte in its high bits."""
        count = self.config.indices_per_byte
        bits = 8 // count
        result = []
        for byte in range(0, LANES, count):
            result += [indices[byte + place][:bits] for place in reversed(range(count))]
        return Cat(result)

"""Parts for Amaranth streams that many components use."""

from amaranth.hdl import Module, Mux, Shape, Signal, Value
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StreamBuffer", "StreamFifo"]


class StreamBuffer(wiring.Component):
    """Cuts every combinational path of a stream: ``valid``, ``payload`` and ``ready`` come from
    registers. Holds up to two items.

    Latency: 1 cycle. Throughput: 1 item a cycle.

    Parameters
    ----------
    shape : ShapeLike
        Shape of the payload.

    Members
    -------
    i : In(stream)
        Input.
    o : Out(stream)
        Output, the same items in the same order.
    """

    def __init__(self, shape):
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()

        # An item that arrives while the output is held up waits here; only then is ready low.
        spare = Signal(self.shape, reset_less=True)
        spare_full = Signal()
        output = Signal(self.shape, reset_less=True)
        output_full = Signal()

        m.d.comb += [
            self.i.ready.eq(~spare_full),
            self.o.valid.eq(output_full),
            self.o.payload.eq(output),
        ]
        with m.If(~spare_full):
            m.d.sync += spare.eq(self.i.payload)
        with m.If(self.o.ready | ~output_full):
            m.d.sync += [
                Value.cast(output).eq(Mux(spare_full, spare, self.i.payload)),
                output_full.eq(spare_full | self.i.valid),
                spare_full.eq(0),
            ]
        with m.Elif(self.i.valid):
            m.d.sync += spare_full.eq(1)

        return m


class StreamFifo(wiring.Component):
    """First in, first out.

    Depths up to :attr:`shallow` lie in LUT RAM, with a latency of 1 cycle; deeper queues in block
    RAM, with a latency of 2 cycles. Throughput: 1 item a cycle.

    Parameters
    ----------
    shape : ShapeLike
        Shape of the payload.
    depth : int
        Items held, at least 2.

    Members
    -------
    i : In(stream)
        Input; ``ready`` depends on registers alone.
    o : Out(stream)
        Output; ``valid`` depends on registers alone.
    level : Out(range(depth + 1))
        Items held.
    """

    shallow = 32

    def __init__(self, shape, depth):
        if not isinstance(depth, int):
            raise TypeError(f"Depth of a StreamFifo must be an integer, not {depth!r}")
        if depth < 2:
            raise ValueError(f"Depth of a StreamFifo must be at least 2, not {depth}")
        self.shape = shape
        self.depth = depth
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "level": Out(range(depth + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        kind = fifo.SyncFIFO if self.depth <= self.shallow else fifo.SyncFIFOBuffered
        queue = kind(width=Shape.cast(self.shape).width, depth=self.depth)
        m.submodules.queue = queue
        m.d.comb += [
            queue.w_data.eq(self.i.payload),
            queue.w_en.eq(self.i.valid),
            self.i.ready.eq(queue.w_rdy),
            Value.cast(self.o.payload).eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
            self.level.eq(queue.level),
        ]

        return m

"""ENCODE: blocks from memory through the encoder, indices to memory."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.thc.config import TABLE_ENTRY_BITS, ThcConfig
from eyas.interfaces.thc.formats import MULTIPLIER_BITS
from eyas.interfaces.thc.registers import DESCRIPTOR, ENCODE_LIMIT, ENCODE_WORDS, RESULT
from hdl.parts.burst_reader import worse
from hdl.parts.layout import field_shape
from hdl.parts.memory_ports import ReadPort, WritePort, bus_error
from hdl.thc.encode.encoder import NUMBER_BITS, Encoder, draw_layout
from hdl.thc.encode.quantizer import WHOLE_BITS

__all__ = ["EncodeJob", "encoding_layout"]


def encoding_layout(config: ThcConfig) -> data.StructLayout:
    """What to encode, as in the descriptor; ``blocks`` 1 to ENCODE_LIMIT."""
    return data.StructLayout(
        {
            "source": field_shape(DESCRIPTOR, "source"),
            "output": field_shape(DESCRIPTOR, "output"),
            "blocks": range(ENCODE_LIMIT + 1),
            "first": NUMBER_BITS,
            "draw": draw_layout,
            "granularity": WHOLE_BITS,
            "table": config.entries * TABLE_ENTRY_BITS,
        }
    )


class EncodeJob(wiring.Component):
    """Encodes blocks back to back, in one read and one write request.

    Parameters
    ----------
    config : ThcConfig
        Index bits.

    Members
    -------
    start : In(stream of encoding_layout)
        What to encode; held until it is taken, at the end.
    done : Out
        With ``start.ready``: ThcCode, BUS_SLAVE or BUS_DECODE, the worst answer.
    read, write : Out(ReadPort), Out(WritePort)
        Memory.
    """

    def __init__(self, config: ThcConfig):
        self.config = config
        self.encoder = Encoder(config)
        super().__init__(
            {
                "start": In(stream.Signature(encoding_layout(config))),
                "done": Out(field_shape(RESULT, "code")),
                "read": Out(ReadPort()),
                "write": Out(WritePort()),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.encoder = encoder = self.encoder
        job = self.start.p
        read, write = self.read, self.write
        m.d.comb += [
            encoder.draw.eq(job.draw),
            encoder.table.eq(job.table),
            encoder.granularity.eq(job.granularity),
            read.request.p.address.eq(job.source),
            read.request.p.beats.eq((job.blocks << 8) + job.blocks),
            write.request.p.address.eq(job.output),
            write.request.p.beats.eq(job.blocks * encoder.block_words),
            write.beats.valid.eq(encoder.o.valid),
            write.beats.p.data.eq(encoder.o.payload),
            encoder.o.ready.eq(write.beats.ready),
        ]

        # Each block's first word goes ahead of it, and stands until the block is begun.
        place = Signal(range(ENCODE_WORDS))
        begun = Signal(16)
        multiplier = Signal(MULTIPLIER_BITS, reset_less=True)
        standing = Signal()
        is_head = place == 0
        moves = read.beats.valid & read.beats.ready
        m.d.comb += [
            encoder.blocks.valid.eq(standing),
            encoder.blocks.p.multiplier.eq(multiplier),
            encoder.blocks.p.number.eq(job.first + begun),
            encoder.blocks.p.last.eq(begun + 1 == job.blocks),
            encoder.i.valid.eq(read.beats.valid & ~is_head),
            encoder.i.payload.eq(read.beats.p.data),
            read.beats.ready.eq(Mux(is_head, ~standing, encoder.i.ready)),
        ]
        with m.If(encoder.blocks.valid & encoder.blocks.ready):
            m.d.sync += [standing.eq(0), begun.eq(begun + 1)]
        with m.If(moves):
            m.d.sync += place.eq(Mux(place == ENCODE_WORDS - 1, 0, place + 1))
            with m.If(is_head):
                m.d.sync += [standing.eq(1), multiplier.eq(read.beats.p.data)]

        # A read and a write, each answered in its own time.
        read_done = Signal()
        write_done = Signal()
        worst = Signal(2)
        m.d.comb += [
            read.response.ready.eq(~read_done),
            write.response.ready.eq(read_done & ~write_done),
            self.done.eq(bus_error(worst)),
        ]
        for port, ended in ((read, read_done), (write, write_done)):
            with m.If(port.response.valid & port.response.ready):
                m.d.sync += [ended.eq(1), worst.eq(worse(worst, port.response.p.code))]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += encoder.load.eq(self.start.valid)
                with m.If(self.start.valid):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += read.request.valid.eq(1)
                with m.If(read.request.ready):
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += write.request.valid.eq(1)
                with m.If(write.request.ready):
                    m.next = "RUN"
            with m.State("RUN"), m.If(read_done & write_done & encoder.idle):
                m.d.comb += self.start.ready.eq(1)
                m.d.sync += [read_done.eq(0), write_done.eq(0), worst.eq(0), begun.eq(0)]
                m.next = "IDLE"

        return m

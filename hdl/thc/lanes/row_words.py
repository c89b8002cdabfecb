"""Cuts rows of sums into 64-bit words."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.thc.config import ThcConfig
from hdl.thc.lanes.packets import row_layout

__all__ = ["WORD_BITS", "RowWords"]

WORD_BITS = 64


class RowWords(wiring.Component):
    """Gives the words of each row, the lowest first.

    Throughput: a word a cycle. Latency: 1 cycle. No combinational path from ``o`` to ``i`` but for
    ``ready`` at a row's last word.

    Parameters
    ----------
    config : ThcConfig
        Width of a row.

    Members
    -------
    i : In(stream of row_layout)
        Rows.
    o : Out(stream of 64)
        Words.
    """

    def __init__(self, config: ThcConfig):
        self.words = config.row_bits // WORD_BITS
        super().__init__(
            {
                "i": In(stream.Signature(row_layout(config))),
                "o": Out(stream.Signature(WORD_BITS)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        row = Signal(self.words * WORD_BITS, reset_less=True)
        left = Signal(range(self.words + 1))
        m.d.comb += [
            self.o.valid.eq(left != 0),
            self.o.payload.eq(row[:WORD_BITS]),
            self.i.ready.eq((left == 0) | ((left == 1) & self.o.ready)),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [row.eq(self.i.p.sums), left.eq(self.words)]
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += [row.eq(row >> WORD_BITS), left.eq(left - 1)]

        return m

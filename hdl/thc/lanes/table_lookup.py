"""Tables by job, and the values of a beat of indices."""

from amaranth.hdl import Array, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.thc.config import TABLE_ENTRY_BITS, ThcConfig

__all__ = ["TableLookup", "TableWritePort", "unpacked"]


class TableWritePort(wiring.Signature):
    """Writes the table of a job, seen from the writer: ``enable``, ``job``, ``table``.

    The writer sees to it that no packet of the job is under way.
    """

    def __init__(self, config: ThcConfig):
        super().__init__(
            {
                "enable": Out(1),
                "job": Out(ceil_log2(config.jobs)),
                "table": Out(config.table_bits),
            }
        )


def unpacked(config: ThcConfig, beat):
    """Return the indices of a beat of ``config.width`` bits, in the order of coordinates."""
    bits = 8 // config.indices_per_byte
    indices = []
    for byte in range(config.width // 8):
        for place in reversed(range(config.indices_per_byte)):
            start = 8 * byte + bits * place
            indices.append(beat[start : start + config.index_bits])
    return indices


class TableLookup(wiring.Component):
    """Holds a table a job; gives the entries that a beat's indices name.

    Has no back-pressure: what is offered is looked up. Latency: 2 cycles. Throughput: a beat a
    cycle, each of another packet if need be.

    Parameters
    ----------
    config : ThcConfig
        Widths and depths.

    Members
    -------
    write : In(TableWritePort)
        Sets a table.
    valid, first : In(1)
        A beat is here; it is the first of its packet.
    job : In
        Whose table serves the packet; counts with ``first``.
    silent : In(1)
        A cycle after the beat: give zeros in the place of its values.
    beat : In(width)
        Indices.
    values : Out(lanes × 8)
        The entries.
    """

    latency = 2

    def __init__(self, config: ThcConfig):
        self.config = config
        super().__init__(
            {
                "write": In(TableWritePort(config)),
                "valid": In(1),
                "first": In(1),
                "job": In(ceil_log2(config.jobs)),
                "silent": In(1),
                "beat": In(config.width),
                "values": Out(data.ArrayLayout(TABLE_ENTRY_BITS, config.lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config

        m.submodules.tables = tables = Memory(
            shape=unsigned(config.table_bits), depth=config.jobs, init=[]
        )
        write = tables.write_port()
        # The port's register is the latch: it holds the packet's table until the next header.
        table = tables.read_port()
        beat = Signal(config.width, reset_less=True)
        m.d.sync += beat.eq(self.beat)
        m.d.comb += [
            write.en.eq(self.write.enable),
            write.addr.eq(self.write.job),
            write.data.eq(self.write.table),
            table.en.eq(self.valid & self.first),
            table.addr.eq(self.job),
        ]

        entries = Array(
            table.data.word_select(entry, TABLE_ENTRY_BITS) for entry in range(config.entries)
        )
        for lane, index in enumerate(unpacked(config, beat)):
            value = Signal(TABLE_ENTRY_BITS, name=f"value{lane}", reset_less=True)
            m.d.sync += value.eq(Mux(self.silent, 0, entries[index]))
            m.d.comb += self.values[lane].eq(value)

        return m

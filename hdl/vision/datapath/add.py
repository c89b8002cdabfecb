"""Sums of two maps, each value looked up in its map's table."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.vision.config import VisionConfig
from hdl.parts.arithmetic import DelayLine, valid_after
from hdl.vision.datapath.mac_array import MacArray

__all__ = ["AddUnit"]


class AddUnit(wiring.Component):
    """Looks each value up and adds the two passes of a group: a residual add.

    Stands beside :class:`MacArray`, with the same passes, the same timing and no back-pressure: a
    pass a cycle.  A group is two passes: the first is looked up in the table of the first map, the
    last in that of the second.

    Both tables stand in one block RAM for two channels, a channel a port.  The same ports fill
    them, so that no pass may come while an entry is written or in the cycle before.

    Parameters
    ----------
    config : VisionConfig
        ``pixels`` and ``input_channels``; the tables take half their product of RAMB36E1.

    Attributes
    ----------
    latency : int
        Cycles from a pass to ``strobe`` and to its place in ``sums``: the array's.

    Members
    -------
    pixels : In(ArrayLayout[pixels][input_channels] of signed 8)
    first, last : In(1)
        Which of its group's passes this is.
    valid : In(1)
        A pass is present; while low the others mean nothing and the sums stay.
    write_enable : In(1)
        An entry of each table is written.
    write_address : In(8)
        Which: an int8 value as an unsigned byte.
    write_a, write_b : In(32)
        The entries in the tables of the first and of the second map.
    sums : Out(ArrayLayout[pixels][input_channels] of signed 32)
        With ``strobe`` the sums, wrapping at 32 bits; the next pass may change them in the cycle
        after.
    strobe : Out(1)
        High for one cycle, ``latency`` cycles after a pass with ``last``.
    """

    def __init__(self, config: VisionConfig):
        if not isinstance(config, VisionConfig):
            raise TypeError(f"config must be a VisionConfig, not {config!r}")
        self.config = config
        self.latency = MacArray.latency_for(config)
        super().__init__(
            {
                "pixels": In(
                    data.ArrayLayout(
                        data.ArrayLayout(signed(8), config.input_channels), config.pixels
                    )
                ),
                "first": In(1),
                "last": In(1),
                "valid": In(1),
                "write_enable": In(1),
                "write_address": In(8),
                "write_a": In(32),
                "write_b": In(32),
                "sums": Out(
                    data.ArrayLayout(
                        data.ArrayLayout(signed(32), config.input_channels), config.pixels
                    )
                ),
                "strobe": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config

        # Looking up takes an address register, the memory and its output register, adding another
        # one; what makes up the array's latency is the operands' delay, for they are narrowest.
        wait = self.latency - 1 - _TablePair.latency
        valid = valid_after(m, self.valid, self.latency - 1)
        first = DelayLine(m, self.first, "first")
        m.d.comb += self.strobe.eq(valid_after(m, self.valid & self.last, self.latency))

        for pixel in range(config.pixels):
            for channel in range(0, config.input_channels, 2):
                m.submodules[f"tables_{pixel}_{channel}"] = tables = _TablePair()
                m.d.comb += [
                    tables.second.eq(~first[wait]),
                    tables.write_enable.eq(self.write_enable),
                    tables.write_address.eq(self.write_address),
                    tables.write_data[0].eq(self.write_a),
                    tables.write_data[1].eq(self.write_b),
                ]
                for port in range(2):
                    name = f"{pixel}_{channel + port}"
                    value = DelayLine(m, self.pixels[pixel][channel + port], f"value_{name}")
                    entry = tables.entries[port]
                    before = Signal(signed(32), name=f"before_{name}", reset_less=True)
                    total = Signal(signed(32), name=f"sum_{name}", reset_less=True)
                    with m.If(valid):
                        m.d.sync += [before.eq(entry), total.eq(before + entry)]
                    m.d.comb += [
                        tables.values[port].eq(value[wait]),
                        self.sums[pixel][channel + port].eq(total),
                    ]
        return m


class _TablePair(wiring.Component):
    """Both tables for two channels: a channel looks up, or a table is written, by each port."""

    latency = 3

    values: In(data.ArrayLayout(8, 2))
    second: In(1)
    write_enable: In(1)
    write_address: In(8)
    write_data: In(data.ArrayLayout(32, 2))
    entries: Out(data.ArrayLayout(signed(32), 2))

    def elaborate(self, platform):
        m = Module()
        m.submodules.storage = storage = memory.Memory(
            shape=32, depth=512, init=[], attrs={"ram_style": "block"}
        )
        enable = Signal()
        m.d.sync += enable.eq(self.write_enable)
        for table in range(2):
            write, read = storage.write_port(), storage.read_port(domain="sync")
            address = Signal(9, name=f"address{table}", reset_less=True)
            written = Signal(32, name=f"written{table}", reset_less=True)
            entry = Signal(32, name=f"entry{table}", reset_less=True)
            m.d.sync += [
                address.eq(
                    Mux(
                        self.write_enable,
                        Cat(self.write_address, table),
                        Cat(self.values[table], self.second),
                    )
                ),
                written.eq(self.write_data[table]),
                entry.eq(read.data),
            ]
            m.d.comb += [
                write.addr.eq(address),
                write.data.eq(written),
                write.en.eq(enable),
                read.addr.eq(address),
                read.en.eq(1),
                self.entries[table].eq(entry),
            ]
        return m

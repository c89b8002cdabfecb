"""Block RAM with its output register."""

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["BlockMemory"]


class BlockMemory(wiring.Component):
    """One write port, one read port, block RAM with its output register outside it.

    ``read_data`` belongs to the ``read_address`` of two cycles before.  A word that is read in the
    cycle in which it is written is undefined; whoever uses the memory keeps the two apart.

    Parameters
    ----------
    width : int
        Bits of a word.
    depth : int
        Words.
    """

    latency = 2

    def __init__(self, width: int, depth: int):
        self.width = width
        self.depth = depth
        super().__init__(
            {
                "write_enable": In(1),
                "write_address": In(ceil_log2(depth)),
                "write_data": In(width),
                "read_address": In(ceil_log2(depth)),
                "read_data": Out(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.storage = storage = memory.Memory(
            shape=self.width, depth=self.depth, init=[], attrs={"ram_style": "block"}
        )
        write = storage.write_port()
        read = storage.read_port(domain="sync")
        # Without reset or logic in between, the tools move this register into the block RAM.
        output = Signal(self.width, reset_less=True)
        m.d.sync += output.eq(read.data)
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.addr.eq(self.read_address),
            read.en.eq(1),
            self.read_data.eq(output),
        ]
        return m

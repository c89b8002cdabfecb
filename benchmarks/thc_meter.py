"""The lookup lanes between a source that always has a beat and a sink that always takes one."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.fields import Access, Field, Register, RegisterBlock
from eyas.interfaces.thc.config import ThcConfig
from hdl.parts.axi import Axi4, AxiLite
from hdl.parts.register_file import RegisterFile
from hdl.thc.lanes.packet_adder import PacketAdder
from hdl.thc.lanes.packets import Emit
from hdl.thc.lanes.row_words import RowWords

__all__ = ["METER_REGISTERS", "ThcMeter"]


def _count(name: str, offset: int, doc: str) -> Register:
    return Register(name, offset, Access.R, doc, (Field("value", 32, doc),))


METER_REGISTERS = RegisterBlock(
    "thc_meter",
    64,
    "Traffic and counts of a measurement.",
    (
        Register(
            "setup",
            0,
            Access.RW,
            "What is sent, and where it goes.",
            (
                Field("workers", 8, "packets to a sum"),
                Field("beats", 8, "beats of a packet"),
                Field("wide", 1, "16-bit sums, else 8-bit"),
                Field("one_slot", 1, "every packet on one slot, else each sum on the next"),
                Field("wide_sink", 1, "a row a cycle, else 64 bits"),
            ),
        ),
        Register(
            "packets", 4, Access.RW, "How many.", (Field("value", 32, "packets, at least 3"),)
        ),
        Register("command", 8, Access.W, "Begins.", (Field("start", 1, "1: begin"),)),
        _count("offered", 12, "cycles with a beat offered, first and last packet left out"),
        _count("taken", 16, "beats taken, likewise"),
        _count("rows", 20, "rows that left"),
    ),
)


class ThcMeter(wiring.Component):
    """Sends packets back to back into a PacketAdder and counts; the interrupt tells the end.

    Has the ports of an overlay, so that the simulated board carries it; its AXI master is idle.
    """

    def __init__(self, config: ThcConfig):
        self.config = config
        super().__init__(
            {
                "s_axi": In(AxiLite(ceil_log2(METER_REGISTERS.size))),
                "m_axi": Out(Axi4()),
                "interrupt": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.registers = registers = RegisterFile(METER_REGISTERS)
        m.submodules.adder = adder = PacketAdder(self.config)
        m.submodules.row_words = row_words = RowWords(self.config)
        wiring.connect(m, wiring.flipped(self.s_axi), registers.bus)
        setup = registers.setup

        running = Signal()
        packet = Signal(32)
        beat = Signal(8)
        worker = Signal(8)
        slot = Signal(ceil_log2(self.config.slots))
        noise = Signal(self.config.width)
        i = adder.i
        is_last = beat == setup.beats - 1
        completes = worker == setup.workers - 1
        takes = i.valid & i.ready
        m.d.comb += [
            i.valid.eq(running),
            i.p.first.eq(beat == 0),
            i.p.last.eq(is_last),
            i.p.data.eq(noise),
            i.p.header.slot.eq(slot),
            i.p.header.wide.eq(setup.wide),
            i.p.header.store.eq(worker == 0),
            i.p.header.emit.eq(Mux(completes, Emit.SUM, Emit.NONE)),
        ]
        m.d.sync += noise.eq((noise << 5) + noise + 0x9E3779B9)
        with m.If(takes):
            m.d.sync += beat.eq(beat + 1)
            with m.If(is_last):
                m.d.sync += [beat.eq(0), worker.eq(worker + 1), packet.eq(packet + 1)]
                with m.If(completes):
                    m.d.sync += [worker.eq(0), slot.eq(slot + ~setup.one_slot)]
                with m.If(packet == registers.packets.value - 1):
                    m.d.sync += running.eq(0)

        # The sink: rows as they are, or cut into words.
        rows = adder.o
        with m.If(setup.wide_sink):
            m.d.comb += rows.ready.eq(1)
        with m.Else():
            wiring.connect(m, rows, row_words.i)
        m.d.comb += row_words.o.ready.eq(1)

        counted = (packet != 0) & (packet != registers.packets.value - 1)
        offered, taken, left = Signal(32), Signal(32), Signal(32)
        m.d.sync += [
            offered.eq(offered + (running & counted)),
            taken.eq(taken + (takes & counted)),
            left.eq(left + (rows.valid & rows.ready)),
            self.interrupt.eq(~running & (packet != 0) & adder.idle),
        ]
        with m.If(registers.command_strobe):
            m.d.sync += [
                running.eq(1),
                packet.eq(0),
                offered.eq(0),
                taken.eq(0),
                left.eq(0),
                self.interrupt.eq(0),
            ]
        m.d.comb += [
            registers.offered.value.eq(offered),
            registers.taken.value.eq(taken),
            registers.rows.value.eq(left),
        ]

        return m

"""A small overlay for testing boards: registers, and a master that copies memory by bursts.

Its AXI is written by hand, apart from :mod:`hdl.parts`, and it does as it is told: burst lengths
and addresses come from registers unchecked, and FAULT breaks a rule of the bus on request.
"""

import enum

from amaranth.back import verilog
from amaranth.hdl import ClockDomain, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

__all__ = ["IDENTITY", "CopyEngine", "Fault", "Offset", "copy_engine_verilog"]

IDENTITY = 0x0C0B1E5


class Offset(enum.IntEnum):
    """Byte offsets of the registers; 0x40 and above answer SLVERR."""

    IDENTITY = 0x00
    SOURCE = 0x04
    """First byte read."""
    TARGET = 0x08
    """First byte written."""
    BURSTS = 0x0C
    """Bursts to copy; writing it starts the copy."""
    BEATS = 0x10
    """Beats in each burst."""
    STATUS = 0x14
    """Bit 0: busy. Bits 9:8: worst read response. Bits 13:12: worst write response."""
    INTERRUPT = 0x18
    """Bit 0: the copy has ended; writing 1 clears it and lowers the line."""
    FAULT = 0x1C
    """A :class:`Fault`."""
    OPEN = 0x20
    """Read bursts asked for ahead of the one that arrives, 1 to 4."""


class Fault(enum.IntEnum):
    """Rules that the engine breaks when told to."""

    NONE = 0
    WITHDRAW_READ = 1
    CHANGE_READ_ADDRESS = 2
    CHANGE_WRITE_DATA = 3
    EARLY_LAST = 4
    NO_LAST = 5
    NARROW = 6
    FIXED = 7
    UNASKED_RESPONSE = 8
    NO_RESPONSE = 9
    CHANGE_WRITE_ADDRESS = 10
    VALID_IN_RESET = 11
    EARLY_RESPONSE = 12


LITE = {
    "awaddr": (In, 12), "awvalid": (In, 1), "awready": (Out, 1),
    "wdata": (In, 32), "wstrb": (In, 4), "wvalid": (In, 1), "wready": (Out, 1),
    "bresp": (Out, 2), "bvalid": (Out, 1), "bready": (In, 1),
    "araddr": (In, 12), "arvalid": (In, 1), "arready": (Out, 1),
    "rdata": (Out, 32), "rresp": (Out, 2), "rvalid": (Out, 1), "rready": (In, 1),
}  # fmt: skip
FULL = {
    "awid": (Out, 1), "awaddr": (Out, 32), "awlen": (Out, 8), "awsize": (Out, 3),
    "awburst": (Out, 2), "awvalid": (Out, 1), "awready": (In, 1),
    "wdata": (Out, 64), "wstrb": (Out, 8), "wlast": (Out, 1), "wvalid": (Out, 1),
    "wready": (In, 1), "bid": (In, 1), "bresp": (In, 2), "bvalid": (In, 1), "bready": (Out, 1),
    "arid": (Out, 1), "araddr": (Out, 32), "arlen": (Out, 8), "arsize": (Out, 3),
    "arburst": (Out, 2), "arvalid": (Out, 1), "arready": (In, 1),
    "rid": (In, 1), "rdata": (In, 64), "rresp": (In, 2), "rlast": (In, 1), "rvalid": (In, 1),
    "rready": (Out, 1),
}  # fmt: skip


class CopyEngine(wiring.Component):
    """The overlay with flat ports: ``aclk``, ``aresetn``, ``s_axi_*``, ``m_axi_*``, ``interrupt``.

    Copies BURSTS · BEATS beats at up to one beat a cycle.
    """

    def __init__(self):
        ports = {"aclk": In(1), "aresetn": In(1), "interrupt": Out(1)}
        ports |= {f"s_axi_{name}": flow(width) for name, (flow, width) in LITE.items()}
        ports |= {f"m_axi_{name}": flow(width) for name, (flow, width) in FULL.items()}
        super().__init__(ports)
        self.registers = {
            offset: Signal(32, name=f"{offset.name.lower()}_register") for offset in Offset
        }
        self.start = Signal()

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = sync = ClockDomain()
        m.d.comb += [sync.clk.eq(self.aclk), sync.rst.eq(~self.aresetn)]
        m.submodules.buffer = self.buffer = SyncFIFOBuffered(width=64, depth=128)
        self._registers(m)
        self._read(m)
        self._write(m)
        return m

    def _registers(self, m):
        registers = self.registers
        fault = registers[Offset.FAULT]
        write, answered, given = Signal(), Signal(), Signal()
        silent = (fault == Fault.NO_RESPONSE) | (fault == Fault.EARLY_RESPONSE)
        early = fault == Fault.EARLY_RESPONSE
        m.d.comb += [
            registers[Offset.IDENTITY].eq(IDENTITY),
            # Address and data are taken together.
            write.eq(self.s_axi_awvalid & self.s_axi_wvalid & ~answered & ~silent),
            self.s_axi_bvalid.eq(answered | (early & self.s_axi_awvalid)),
            self.s_axi_rvalid.eq(given | (early & self.s_axi_arvalid)),
            self.s_axi_awready.eq(write),
            self.s_axi_wready.eq(write),
            self.s_axi_arready.eq(~given & ~silent),
            self.start.eq(write & (self.s_axi_awaddr == Offset.BURSTS)),
            self.interrupt.eq(registers[Offset.INTERRUPT][0]),
        ]
        with m.If(self.s_axi_bready):
            m.d.sync += answered.eq(0)
        with m.If(write):
            m.d.sync += [answered.eq(1), self.s_axi_bresp.eq(2)]
            with m.Switch(self.s_axi_awaddr):
                for offset, register in registers.items():
                    with m.Case(offset):
                        m.d.sync += self.s_axi_bresp.eq(0)
                        if offset == Offset.INTERRUPT:
                            m.d.sync += register.eq(register & ~self.s_axi_wdata)
                        elif offset not in (Offset.IDENTITY, Offset.STATUS):
                            m.d.sync += register.eq(self.s_axi_wdata)
        with m.If((fault == Fault.UNASKED_RESPONSE) & ~self.s_axi_bready):
            m.d.sync += answered.eq(1)

        with m.If(self.s_axi_rready):
            m.d.sync += given.eq(0)
        with m.If(self.s_axi_arvalid & self.s_axi_arready):
            m.d.sync += [given.eq(1), self.s_axi_rresp.eq(2), self.s_axi_rdata.eq(0)]
            with m.Switch(self.s_axi_araddr):
                for offset, register in registers.items():
                    with m.Case(offset):
                        m.d.sync += [self.s_axi_rresp.eq(0), self.s_axi_rdata.eq(register)]

    def _read(self, m):
        registers, fault = self.registers, self.registers[Offset.FAULT]
        to_ask, ahead = Signal(32), Signal(3)
        asking, stuck = Signal(), Signal(reset_less=True)
        taken = self.m_axi_arvalid & self.m_axi_arready
        ended = Signal()
        # Nothing is reserved: a full buffer stalls the bursts that arrive.
        m.d.comb += [
            self.m_axi_arvalid.eq(asking | (stuck & ~self.aresetn)),
            self.m_axi_rready.eq(self.buffer.w_rdy),
            self.buffer.w_en.eq(self.m_axi_rvalid),
            self.buffer.w_data.eq(self.m_axi_rdata),
            ended.eq(self.m_axi_rvalid & self.m_axi_rready & self.m_axi_rlast),
            self.m_axi_arlen.eq(registers[Offset.BEATS] - 1),
            self.m_axi_arsize.eq(Mux(fault == Fault.NARROW, 2, 3)),
            self.m_axi_arburst.eq(Mux(fault == Fault.FIXED, 0, 1)),
        ]
        m.d.sync += ahead.eq(ahead + taken - ended)
        with m.If(fault == Fault.VALID_IN_RESET):
            m.d.sync += stuck.eq(1)
        worst = registers[Offset.STATUS][8:10]
        with m.If(self.m_axi_rvalid & self.m_axi_rready & (self.m_axi_rresp > worst)):
            m.d.sync += worst.eq(self.m_axi_rresp)
        with m.If(self.start):
            m.d.sync += [to_ask.eq(self.s_axi_wdata), worst.eq(0)]
            m.d.sync += self.m_axi_araddr.eq(registers[Offset.SOURCE])
        with m.If(taken):
            m.d.sync += [
                asking.eq(0),
                self.m_axi_araddr.eq(self.m_axi_araddr + (registers[Offset.BEATS] << 3)),
            ]
        room = ahead + taken < registers[Offset.OPEN]
        with m.If((to_ask != 0) & (~asking | taken) & room):
            m.d.sync += [asking.eq(1), to_ask.eq(to_ask - 1)]
        with m.If(self.m_axi_arvalid & ~self.m_axi_arready):
            with m.If(fault == Fault.WITHDRAW_READ):
                m.d.sync += asking.eq(0)
            with m.If(fault == Fault.CHANGE_READ_ADDRESS):
                m.d.sync += self.m_axi_araddr.eq(self.m_axi_araddr ^ 64)

    def _write(self, m):
        registers, fault = self.registers, self.registers[Offset.FAULT]
        to_ask, to_end, beat, beats = Signal(32), Signal(32), Signal(8), registers[Offset.BEATS]
        # Bursts whose address was taken and whose data is not complete.
        owed = Signal(32)
        asked = self.m_axi_awvalid & self.m_axi_awready
        moved = self.m_axi_wvalid & self.m_axi_wready
        last = beat == Mux(fault == Fault.EARLY_LAST, beats - 2, beats - 1)
        complete = moved & (beat == beats - 1)
        busy, worst = registers[Offset.STATUS][0], registers[Offset.STATUS][12:14]
        spoilt = Signal()
        m.d.comb += [
            self.m_axi_awlen.eq(beats - 1),
            self.m_axi_awsize.eq(3),
            self.m_axi_awburst.eq(1),
            self.m_axi_wvalid.eq(self.buffer.r_rdy & (to_end != 0)),
            self.m_axi_wdata.eq(self.buffer.r_data ^ spoilt),
            self.m_axi_wstrb.eq(0xFF),
            self.m_axi_wlast.eq(last & (fault != Fault.NO_LAST)),
            self.buffer.r_en.eq(moved),
            self.m_axi_bready.eq(1),
        ]
        with m.If(moved):
            m.d.sync += beat.eq(Mux(complete, 0, beat + 1))
        m.d.sync += owed.eq(owed + asked - complete)
        with m.If(self.start):
            m.d.sync += [to_ask.eq(self.s_axi_wdata), to_end.eq(self.s_axi_wdata), worst.eq(0)]
            m.d.sync += [self.m_axi_awaddr.eq(registers[Offset.TARGET]), busy.eq(1)]
        with m.If(asked):
            m.d.sync += [
                self.m_axi_awvalid.eq(0),
                self.m_axi_awaddr.eq(self.m_axi_awaddr + (beats << 3)),
            ]
        with m.If((to_ask != 0) & (~self.m_axi_awvalid | asked)):
            m.d.sync += [self.m_axi_awvalid.eq(1), to_ask.eq(to_ask - 1)]
        with m.If(self.m_axi_bvalid):
            m.d.sync += to_end.eq(to_end - 1)
            with m.If(self.m_axi_bresp > worst):
                m.d.sync += worst.eq(self.m_axi_bresp)
            with m.If(to_end == 1):
                m.d.sync += [busy.eq(0), registers[Offset.INTERRUPT].eq(1)]
        m.d.sync += spoilt.eq(
            self.m_axi_wvalid & ~self.m_axi_wready & (fault == Fault.CHANGE_WRITE_DATA)
        )
        with m.If(self.m_axi_awvalid & ~self.m_axi_awready & (fault == Fault.CHANGE_WRITE_ADDRESS)):
            m.d.sync += self.m_axi_awaddr.eq(self.m_axi_awaddr ^ 64)


def copy_engine_verilog():
    """Return the Verilog of :class:`CopyEngine` as module ``copy_engine``."""
    return verilog.convert(CopyEngine(), name="copy_engine", emit_src=False)

"""An overlay small enough to be written many times: registers alone."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.thc.registers import THC_REGISTERS
from hdl.parts.axi import Axi4, AxiLite
from hdl.parts.register_file import RegisterFile

__all__ = ["Tiny"]


class Tiny(wiring.Component):
    """The THC overlay's registers; its DRAM port and its interrupt are silent."""

    def __init__(self, config):
        super().__init__({"s_axi": In(AxiLite(12)), "m_axi": Out(Axi4()), "interrupt": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.registers = registers = RegisterFile(THC_REGISTERS)
        wiring.connect(m, wiring.flipped(self.s_axi), registers.bus)
        return m

# amaranth: UnusedElaboratable=no
# vision_ports() looks at an overlay that nobody elaborates.
"""The vision overlay: what a board or a simulator instantiates."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.vision.config import DEFAULT_VISION, VisionConfig
from eyas.interfaces.vision.registers import VISION_REGISTERS
from hdl.parts.axi import Axi4, AxiLite
from hdl.parts.flat import flat_ports, flat_verilog
from hdl.vision.engine import Engine
from hdl.vision.frontend import FrontEnd

__all__ = ["VisionOverlay", "vision_ports", "vision_verilog"]


class VisionOverlay(wiring.Component):
    """The engine, and the front end that connects it with registers and DRAM.

    Parameters
    ----------
    config : VisionConfig
        Shape and depths.

    Members
    -------
    s_axi : In(AxiLite)
        Registers (:mod:`eyas.interfaces.vision.registers`).
    m_axi : Out(Axi4)
        DRAM: 64-bit data, 32-bit addresses.
    interrupt : Out(1)
        Level, active high.
    """

    def __init__(self, config: VisionConfig = DEFAULT_VISION):
        if not isinstance(config, VisionConfig):
            raise TypeError(f"Config must be a VisionConfig, not {config!r}")
        self.config = config
        super().__init__(
            {
                "s_axi": In(AxiLite(ceil_log2(VISION_REGISTERS.size))),
                "m_axi": Out(Axi4()),
                "interrupt": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.front_end = front_end = FrontEnd(self.config)
        m.submodules.engine = engine = Engine(self.config)
        wiring.connect(m, front_end.engine, engine.port)
        wiring.connect(m, wiring.flipped(self.s_axi), front_end.s_axi)
        wiring.connect(m, front_end.m_axi, wiring.flipped(self.m_axi))
        m.d.comb += self.interrupt.eq(front_end.interrupt)

        return m


def vision_verilog(config: VisionConfig = DEFAULT_VISION) -> str:
    """Return the overlay as Verilog, module ``vision``.

    Ports: ``aclk``, ``aresetn``, ``s_axi_*``, ``m_axi_*`` (the standard's names), ``interrupt``.
    """
    return flat_verilog(VisionOverlay(config), "vision")


def vision_ports(config: VisionConfig = DEFAULT_VISION) -> dict[str, Any]:
    """Return what :func:`vision_verilog` gives, as data that JSON can hold.

    ``module``, ``parameters`` (of the configuration), and ``ports``: for each its ``name``,
    ``direction`` (``input`` or ``output``) and ``width``.
    """
    return {
        "module": "vision",
        "parameters": config.as_dict(),
        "ports": flat_ports(VisionOverlay(config)),
    }

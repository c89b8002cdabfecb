"""What the benches of the board run on."""

from bitstreams.pynq_z2.designs import DESIGNS
from bitstreams.pynq_z2.top import WrappedOverlay
from eyas.interfaces.overlays import REGISTER_BASE
from hdl.parts.axi3_bridge import Axi3LiteBridge
from hdl.parts.flat import flat_verilog

__all__ = ["BRIDGE_BASE", "BRIDGE_WIDTH", "bridge_verilog", "wrapped_verilog"]

BRIDGE_BASE = 0x43C0_0000
BRIDGE_WIDTH = 12


def bridge_verilog() -> str:
    """The bridge alone, module ``bridge``."""
    return flat_verilog(Axi3LiteBridge(BRIDGE_WIDTH, BRIDGE_BASE), "bridge")


def wrapped_verilog(overlay: str, config: str) -> str:
    """Everything inside the PS7 primitive, module ``board``."""
    return flat_verilog(WrappedOverlay(DESIGNS[overlay].create(config), REGISTER_BASE), "board")

# mypy: disallow_untyped_defs=False, disallow_subclassing_any=False, disallow_untyped_calls=False
# Amaranth has no types.
"""An overlay on the PYNQ-Z2: what stands between it and the processing system, and the whole."""

from amaranth.hdl import Cat, ClockDomain, Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from bitstreams.pynq_z2.platform import PynqZ2Platform
from eyas.interfaces.overlays import REGISTER_BASE
from hdl.parts.axi3 import Axi3
from hdl.parts.axi3_bridge import Axi3LiteBridge
from hdl.parts.axi3_port import Axi3MemoryPort

__all__ = ["BoardTop", "WrappedOverlay", "board_verilog"]

RESET_STAGES = 2
QUIET = (
    "EMIOENET0EXTINTIN",
    "EMIOSDIO0CDN",
    "EMIOSDIO0WP",
    "EMIOSRAMINTIN",
    "EMIOUSB0VBUSPWRFAULT",
    "EVENTEVENTI",
)
"""Inputs through which the board's Ethernet, SD card, USB and cores could take an idle pin for an
event, a write protection or a fault; low, as in Vivado's wrapper. No other unused input is heard:
those of pins belong to peripherals that use MIO or are off, those of buses have no clock."""
NO_CLOCKS = {
    **{f"DMA{number}ACLK": 1 for number in range(4)},
    "MAXIGP1ACLK": 1,
    "SAXIACPACLK": 1,
    **{f"SAXIGP{number}ACLK": 1 for number in range(2)},
    **{f"SAXIHP{number}ACLK": 1 for number in (1, 2, 3)},
    **{f"EMIOENET{number}GMII{way}CLK": 1 for number in range(2) for way in ("RX", "TX")},
    **{f"EMIOSDIO{number}CLKFB": 1 for number in range(2)},
    **{f"EMIOSPI{number}SCLKI": 1 for number in range(2)},
    **{f"EMIOTTC{number}CLKI": 3 for number in range(2)},
    "EMIOPJTAGTCK": 1,
    "EMIOTRACECLK": 1,
    "EMIOWDTCLKI": 1,
    "FTMDTRACEINCLOCK": 1,
}
"""Clock inputs of what is not used, and their widths; low, as in Vivado's wrapper: one that floats
may count as a pin without a clock."""


class WrappedOverlay(wiring.Component):
    """An overlay with the buses of the processing system: everything but the primitive.

    Parameters
    ----------
    overlay : wiring.Component
        ``s_axi : In(AxiLite)``, ``m_axi : Out(Axi4())``, ``interrupt : Out(1)``.
    base : int
        Physical address of its registers.

    Members
    -------
    gp0 : In(Axi3(32, 12))
        Registers, from the general-purpose port M_AXI_GP0.
    hp0 : Out(Axi3(64, 6))
        DRAM, through the high-performance port S_AXI_HP0.
    interrupt : Out(1)
        Level, active high.
    """

    def __init__(self, overlay, base=REGISTER_BASE):
        super().__init__({"gp0": In(Axi3(32, 12)), "hp0": Out(Axi3(64, 6)), "interrupt": Out(1)})
        self.overlay = overlay
        self.bridge = Axi3LiteBridge(overlay.s_axi.signature.flip().address_width, base)

    def elaborate(self, platform):
        m = Module()

        m.submodules.overlay = overlay = self.overlay
        m.submodules.bridge = bridge = self.bridge
        m.submodules.port = port = Axi3MemoryPort()
        wiring.connect(m, wiring.flipped(self.gp0), bridge.axi3)
        wiring.connect(m, bridge.lite, overlay.s_axi)
        wiring.connect(m, overlay.m_axi, port.axi4)
        wiring.connect(m, port.axi3, wiring.flipped(self.hp0))
        m.d.comb += self.interrupt.eq(overlay.interrupt)

        return m


class BoardTop(wiring.Component):
    """What Vivado builds: the processing system as the PS7 primitive, around an overlay.

    FCLK0 is the clock.  FCLK_RESET0_N, which the processing system changes at any time, is
    synchronised; the overlay is held in reset from configuration on until that is released.
    MIO, DRAM and PLLs are the boot loader's business, and so the primitive's pads stay
    unconnected here.  The interrupt goes to IRQF2P[0], interrupt 61 of the ARM cores.

    The top has no ports.

    Parameters
    ----------
    overlay
        As in :class:`WrappedOverlay`.
    """

    def __init__(self, overlay):
        self.wrapped = WrappedOverlay(overlay)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()

        fclk = Signal(4)
        reset_n = Signal(4)
        m.domains.sync = sync = ClockDomain()
        m.submodules.clock_buffer = Instance("BUFG", i_I=fclk[0], o_O=sync.clk)
        m.submodules.reset = FFSynchronizer(~reset_n[0], sync.rst, init=1, stages=RESET_STAGES)

        m.submodules.wrapped = wrapped = self.wrapped
        m.submodules.ps7 = Instance(
            "PS7",
            # A top without ports drives nothing that anybody sees: tools could sweep it all away.
            a_keep="TRUE",
            a_DONT_TOUCH="TRUE",
            o_FCLKCLK=fclk,
            o_FCLKRESETN=reset_n,
            # Free-running clocks; nothing here ever makes DRAM's arbiter hurry; always awake.
            i_FCLKCLKTRIGN=Const(0, 4),
            i_DDRARB=Const(0, 4),
            i_FPGAIDLEN=Const(1, 1),
            i_IRQF2P=Cat(wrapped.interrupt, Const(0, 19)),
            i_MAXIGP0ACLK=sync.clk,
            i_SAXIHP0ACLK=sync.clk,
            # The port's own limits of outstanding bursts stay as the boot loader set them.
            i_SAXIHP0RDISSUECAP1EN=Const(0, 1),
            i_SAXIHP0WRISSUECAP1EN=Const(0, 1),
            **{f"i_{name}": Const(0, 1) for name in QUIET},
            **{f"i_{name}": Const(0, width) for name, width in NO_CLOCKS.items()},
            **_connections("MAXIGP0", wrapped.gp0),
            **_connections("SAXIHP0", wrapped.hp0),
        )

        return m


def _connections(prefix, bus):
    """The primitive's ports for the signals of ``bus``: what it drives comes into the overlay."""
    return {
        f"{'o' if member.flow == In else 'i'}_{prefix}{name.upper()}": getattr(bus, name)
        for name, member in bus.signature.members.items()
    }


def board_verilog(overlay, name):
    """Return ``BoardTop(overlay)`` as Verilog, module ``name``, which depends on nothing else."""
    plan = PynqZ2Platform().prepare(BoardTop(overlay), name, emit_src=False)
    return plan.files[f"{name}.v"]

"""The vision compute engine: memories, array, requantisation and the sequencer that runs them."""

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from eyas.interfaces.vision.config import VisionConfig
from hdl.vision.engine_core import EngineCore
from hdl.vision.interfaces import EnginePort

__all__ = ["Engine"]


class Engine(wiring.Component):
    """Runs resident programs on maps in the activation memory.

    A pass flows through::

        passes → pixel_reader (5) ─┬→ mac_array ──┬→ drain (2) → requantizer → write_back (4)
                 weight memory ────┤→ pooling ────┤     ↑ parameter memory
                                   ├→ depthwise ──┤
                       add_tables ─┴→ add ────────┘

    None of these stages has back-pressure: the pass generator leaves each group as many cycles as
    requantisation takes.

    Parameters
    ----------
    config : VisionConfig
        Shape and depths.

    Members
    -------
    port : In(EnginePort)
        Program memories, pictures in, maps out, start and finish, counters.
    """

    def __init__(self, config: VisionConfig):
        self.config = config
        super().__init__({"port": In(EnginePort(config))})

    def elaborate(self, platform):
        m = Module()
        # An abort forgets everything that decides what happens next; data may stay.
        m.submodules.core = core = ResetInserter(self.port.abort)(EngineCore(self.config))
        wiring.connect(m, wiring.flipped(self.port), core.port)
        return m

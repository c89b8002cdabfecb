"""The vision overlay on a simulated board."""

from __future__ import annotations

from typing import Any

from drivers.simulated.board import SimulatedBoard
from drivers.simulated.build import Progress
from drivers.simulated.verilog import overlay_verilog
from eyas.interfaces.vision.config import DEFAULT_VISION, VisionConfig

__all__ = ["vision_board"]


def vision_board(
    config: VisionConfig = DEFAULT_VISION, *, progress: Progress | None = None, **options: Any
) -> SimulatedBoard:
    """Return a simulated board that carries the vision overlay of ``config``.

    ``options`` are those of :class:`drivers.simulated.board.SimulatedBoard`. The first board of a
    configuration takes a while: Amaranth writes Verilog, Verilator and the C++ compiler make a
    simulation of it. Both results are kept in the cache.
    """
    verilog = overlay_verilog("vision", config, progress or (lambda step, fraction: None))
    return SimulatedBoard(verilog, top="vision", progress=progress, **options)

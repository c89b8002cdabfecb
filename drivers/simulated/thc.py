"""The THC overlay on a simulated board."""

from __future__ import annotations

from typing import Any

from drivers.simulated.board import SimulatedBoard
from drivers.simulated.build import Progress
from drivers.simulated.verilog import overlay_verilog
from eyas.interfaces.thc.config import DEFAULT_THC, ThcConfig

__all__ = ["thc_board"]


def thc_board(
    config: ThcConfig = DEFAULT_THC, *, progress: Progress | None = None, **options: Any
) -> SimulatedBoard:
    """Return a simulated board that carries the THC overlay of ``config``.

    ``options`` are those of :class:`drivers.simulated.board.SimulatedBoard`. The first board of a
    configuration is built, which takes a minute or so; the cache keeps what was built.
    """
    verilog = overlay_verilog("thc", config, progress or (lambda step, fraction: None))
    return SimulatedBoard(verilog, top="thc", progress=progress, **options)

"""The switch overlay on a simulated board."""

from __future__ import annotations

from typing import Any

from drivers.simulated.board import SimulatedBoard
from drivers.simulated.build import Progress
from drivers.simulated.verilog import overlay_verilog
from eyas.interfaces.switch.config import DEFAULT_SWITCH, SwitchConfig

__all__ = ["switch_board"]


def switch_board(
    config: SwitchConfig = DEFAULT_SWITCH, *, progress: Progress | None = None, **options: Any
) -> SimulatedBoard:
    """Return a simulated board that carries the switch overlay of ``config``.

    ``options`` are those of :class:`drivers.simulated.board.SimulatedBoard`. The first board of a
    configuration is built, which takes a minute or so; the cache keeps what was built.
    """
    verilog = overlay_verilog("switch", config, progress or (lambda step, fraction: None))
    return SimulatedBoard(verilog, top="switch", progress=progress, **options)

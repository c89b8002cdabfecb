"""Share of input beats that the switch takes, by kind of traffic, and the core's latency.

``core``: the core with a 256-bit sink that always takes a row, 1,200 packets back to back.
``overlay``: frames and packets in DRAM, beside the bound of a 64-bit port out.  ``beats_taken`` is
cycles with valid and ready ÷ cycles with valid, headers included, first and last packets left out.
``latency_cycles``: a completing packet's last beat in to its RESULT's first row out of the core.
Cycles are those of the Verilated RTL; they are the same in every run.
"""

from __future__ import annotations

from typing import Any

from benchmarks.common import main
from benchmarks.switch_core_beats import core_beats, latency_cycles, meter_board
from benchmarks.switch_overlay_beats import overlay_beats

__all__ = ["measure"]


def measure(runs: int) -> dict[str, Any]:
    """All figures."""
    with meter_board() as board:
        core, latency = core_beats(board), latency_cycles(board)
    return {"core": core, "overlay": overlay_beats(), "latency_cycles": latency}


if __name__ == "__main__":
    main("switch_beats", __doc__ or "", measure, 1)

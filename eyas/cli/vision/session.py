"""A simulated board with a program on it, and the progress of getting there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import Progress

if TYPE_CHECKING:
    from drivers.vision import VisionEngine
    from eyas.interfaces.vision.program_file import Program

__all__ = ["opened"]


@contextmanager
def opened(program: Program, progress: Progress) -> Iterator[VisionEngine]:
    """A vision engine on a simulated board of the program's shape, with the program loaded.

    Building the simulator shows as a bar of its own, when it is not in the cache.
    """
    from drivers.simulated.toolchain import require_tools
    from drivers.simulated.vision import vision_board
    from drivers.vision import VisionEngine

    # Before Amaranth works for half a minute.
    require_tools("verilator", "compiler", "perl")
    task = progress.add_task("building the simulator", total=100)

    def built(step: str, fraction: float) -> None:
        progress.update(
            task, description=f"building the simulator: {step}", completed=100 * fraction
        )

    with vision_board(program.config, progress=built) as board:
        progress.update(task, description="building the simulator", completed=100)
        engine = VisionEngine(board)
        engine.load(program)
        yield engine

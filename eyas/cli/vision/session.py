"""Opens a simulated board with a program on it, and shows the progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import Progress

from eyas.cli.common.errors import CommandError

if TYPE_CHECKING:
    from drivers.vision import VisionEngine
    from eyas.interfaces.vision.program_file import Program

__all__ = ["check_trace", "opened"]

WAVEFORMS = (".fst", ".vcd")
"""Suffixes of files that a waveform can go to."""


def check_trace(path: Path | None) -> None:
    """Refuse a waveform of a kind that cannot be written, before the work begins."""
    if path is not None and path.suffix.lower() not in WAVEFORMS:
        raise CommandError(f"{path}: a waveform is a {' or '.join(WAVEFORMS)} file")


@contextmanager
def opened(
    program: Program, progress: Progress, trace: Path | None = None
) -> Iterator[VisionEngine]:
    """A vision engine on a simulated board of the program's shape, with the program loaded.

    Building the simulator shows as a bar of its own, when it is not in the cache. A waveform goes
    to ``trace``.
    """
    from drivers.simulated.toolchain import require_simulator
    from drivers.simulated.vision import vision_board
    from drivers.vision import VisionEngine

    # Before Amaranth works for half a minute.
    fst = trace is not None and trace.suffix.lower() == ".fst"
    require_simulator(*(["fst"] if fst else []))
    task = progress.add_task("building the simulator", total=100)

    def built(step: str, fraction: float) -> None:
        progress.update(
            task, description=f"building the simulator: {step}", completed=100 * fraction
        )

    with vision_board(program.config, progress=built, trace=trace) as board:
        progress.update(task, description="building the simulator", completed=100)
        engine = VisionEngine(board)
        engine.load(program)
        yield engine

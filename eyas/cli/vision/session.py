"""Opens a board in this process with a program on it, and shows the progress."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import Progress

from eyas.cli.common.errors import CommandError

if TYPE_CHECKING:
    from drivers.board import Board
    from drivers.vision import VisionEngine
    from eyas.interfaces.vision.program_file import Program

__all__ = ["BoardKind", "check_trace", "opened"]

WAVEFORMS = (".fst", ".vcd")
"""Suffixes of files that a waveform can go to."""


class BoardKind(str, enum.Enum):
    """Which board computes: both give the same outputs and the same cycles of the core."""

    RTL = "rtl"
    FUNCTIONAL = "functional"

    @property
    def description(self) -> str:
        """What computes, as a reader is told."""
        if self is BoardKind.FUNCTIONAL:
            from drivers.functional.vision import FunctionalBoard

            return FunctionalBoard.description
        return "Verilated RTL, cycle by cycle"


def check_trace(path: Path | None, kind: BoardKind = BoardKind.RTL) -> None:
    """Refuse a waveform of a kind that cannot be written, before the work begins."""
    if path is not None and kind is BoardKind.FUNCTIONAL:
        raise CommandError(
            "The functional board has no signals to write; leave out --trace, or take --board rtl"
        )
    if path is not None and path.suffix.lower() not in WAVEFORMS:
        raise CommandError(f"{path}: a waveform is a {' or '.join(WAVEFORMS)} file")


@contextmanager
def opened(
    program: Program,
    progress: Progress,
    trace: Path | None = None,
    kind: BoardKind = BoardKind.RTL,
) -> Iterator[VisionEngine]:
    """A vision engine on a board of the program's shape, with the program loaded.

    Building the simulator shows as a bar of its own, when it is not in the cache; the functional
    board builds nothing. A waveform goes to ``trace``.
    """
    from drivers.vision import VisionEngine

    with _board(program, progress, trace, kind) as board:
        engine = VisionEngine(board)
        engine.load(program)
        yield engine


def _board(program: Program, progress: Progress, trace: Path | None, kind: BoardKind) -> Board:
    if kind is BoardKind.FUNCTIONAL:
        from drivers.functional.vision import functional_board

        return functional_board(program.config)
    from drivers.simulated.toolchain import require_simulator
    from drivers.simulated.vision import vision_board

    # Before Amaranth works for half a minute.
    fst = trace is not None and trace.suffix.lower() == ".fst"
    require_simulator(*(["fst"] if fst else []))
    task = progress.add_task("building the simulator", total=100)

    def built(step: str, fraction: float) -> None:
        progress.update(
            task, description=f"building the simulator: {step}", completed=100 * fraction
        )

    board = vision_board(program.config, progress=built, trace=trace)
    progress.update(task, description="building the simulator", completed=100)
    return board

"""Is this board, with these overlays on it, in order? ``python -m drivers.selftest``.

On a board it needs Python, numpy and PYNQ. For each overlay: identity and version; memory, which
the overlay copies; the interrupt, raised by a job that is refused; a known network or a known
aggregation, whose answers must be the models'. A line for each step; code 0 when all are well, 1
when one is not, 2 when no board could be opened.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from drivers.board import Board
from drivers.errors import EyasError
from drivers.open_board import open_board
from drivers.overlay import OverlayDriver
from drivers.selftest_steps import STEPS
from drivers.switch import Switch
from drivers.thc import ThcAggregator
from drivers.vision import VisionEngine
from eyas.interfaces.fields import RegisterBlock
from eyas.interfaces.overlays import OVERLAYS

__all__ = ["STEPS", "Step", "main", "selftest"]


@dataclass(frozen=True)
class Step:
    """How one step of the self-test ended.

    Attributes
    ----------
    overlay, step : str
        Which.
    ok : bool
        Whether all was well.
    detail : str
        What was seen; where it was not well, what is wrong and what to do.
    """

    overlay: str
    step: str
    ok: bool
    detail: str

    def __str__(self) -> str:
        return f"{self.overlay:8}{self.step:13}{'ok' if self.ok else 'FAILED':8}{self.detail}"


def selftest(overlay: str, board: Board) -> Iterator[Step]:
    """Try ``board``, which should carry ``overlay``; the steps as they end.

    After a step that failed the others are tried all the same, except behind the first: a board
    that carries something else is left alone.
    """
    driver: OverlayDriver | None = None

    def identity() -> str:
        nonlocal driver
        driver = _DRIVERS[overlay](board)
        return _built(board, OVERLAYS[overlay].registers)

    yield (first := _tried(overlay, "identity", identity))
    if not first.ok or driver is None:
        return
    with driver:
        for name, step in STEPS[overlay].items():
            yield _tried(overlay, name, step, driver)


def _tried(overlay: str, name: str, step: Callable[..., str], *arguments: Any) -> Step:
    try:
        return Step(overlay, name, True, step(*arguments))
    except EyasError as error:
        return Step(overlay, name, False, str(error))


def _built(board: Board, registers: RegisterBlock) -> str:
    """Version and shape in words."""
    version, shape = (
        registers[name].unpack(board.read_register(registers[name].offset))
        for name in ("version", "shape")
    )
    built = ", ".join(f"{name} {value}" for name, value in shape.items())
    return f"version {version['major']}.{version['minor']}: {built}"


_DRIVERS: dict[str, Callable[[Board], OverlayDriver]] = {
    "vision": VisionEngine,
    "thc": ThcAggregator,
    "switch": Switch,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser("python -m drivers.selftest", description=__doc__)
    parser.add_argument(
        "overlays", nargs="*", metavar="OVERLAY", help=f"some of {', '.join(STEPS)} (all)"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--simulated", action="store_true", help="try the simulated board")
    where.add_argument("--remote", metavar="ADDRESS", help="try a board that serves PYNQ.remote")
    parser.add_argument(
        "--bitstreams", metavar="DIR", default=".", help="where OVERLAY.bit and .hwh are (here)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.overlays) - set(STEPS):
        parser.error(f"there is no overlay {', '.join(sorted(unknown))}; known: {', '.join(STEPS)}")
    steps = []
    for overlay in chosen.overlays or STEPS:
        try:
            board = open_board(
                overlay,
                simulated=chosen.simulated,
                remote=chosen.remote,
                bitstreams=chosen.bitstreams,
            )
        except EyasError as error:
            print(f"selftest: {error}", file=sys.stderr)
            return 2
        with board:
            for step in selftest(overlay, board):
                steps.append(step)
                if not chosen.json:
                    print(step, flush=True)
    ok = all(step.ok for step in steps)
    if chosen.json:
        print(json.dumps({"ok": ok, "steps": [asdict(step) for step in steps]}, indent=2))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())

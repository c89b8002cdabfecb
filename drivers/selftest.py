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
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.board import Board
from drivers.boards import open_board
from drivers.errors import BoardTimeout, EyasError
from drivers.overlay import OverlayDriver
from drivers.thc import ThcAggregator, ThcError
from drivers.vision import VisionEngine
from eyas.interfaces.fields import RegisterBlock
from eyas.interfaces.overlays import OVERLAYS
from eyas.interfaces.program_file import Program
from eyas.interfaces.thc import LookupTable, unpack
from eyas.interfaces.thc_registers import THC_REGISTERS
from eyas.interfaces.vision_registers import VISION_REGISTERS

__all__ = ["DATA", "STEPS", "Step", "main", "selftest"]

DATA = Path(__file__).with_name("selftest_data")
"""Known programs and answers; ``python -m tests.drivers.known_answers`` makes them."""

PATTERN_BYTES = 8192
QUIET_S = 0.001
"""How long the interrupt line must stay low when nothing is to be told."""
JOB_S = 0.1
"""How long a job may take, in seconds of the board's clock; each takes less than a millisecond."""


class _Wrong(EyasError):
    """A step's finding: what is wrong and what to do."""


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


# Steps --------------------------------------------------------------------------------------------


def _interrupt(registers: RegisterBlock, driver: OverlayDriver) -> str:
    """A job of zeros is refused, and the refusal raises the interrupt."""
    board = driver.board

    def write(name: str, **fields: int) -> None:
        board.write_register(registers[name].offset, registers[name].pack(fields))

    def require_low(when: str) -> None:
        try:
            board.wait_interrupt(QUIET_S, "a quiet interrupt line")
        except BoardTimeout:
            return
        raise _Wrong(
            f"The interrupt is raised {when}; the bitstream and its .hwh may not belong together: "
            f"copy both from one build"
        )

    def forget() -> None:
        write("control", clear_error=1)
        write("interrupt_status", done=1, error=1)

    forget()
    require_low("before there was a job")
    write("interrupt_enable", done=1, error=1)
    with board.allocate(PATTERN_BYTES) as zeros:
        zeros.flush()
        write("doorbell", address=zeros.address)
        try:
            board.wait_interrupt(JOB_S, "the interrupt of a job that is refused")
        except BoardTimeout:
            error = registers["error"].unpack(board.read_register(registers["error"].offset))
            remedy = (
                "the overlay refused the job: check the interrupt's connection in the .hwh, and "
                "/dev/uio on the board"
                if error["code"]
                else "the overlay did not see the job: load the overlay again"
            )
            raise _Wrong(f"No interrupt came in {JOB_S:g} s; {remedy}") from None
        arrives = board.interrupt_arrives()
        forget()
        require_low("after its cause was cleared")
    if arrives is False:
        raise _Wrong(
            "The overlay raised its interrupt and the processor did not get it, so that each wait "
            "takes longer; check that the .hwh is the bitstream's, and /dev/uio on the board"
        )
    seen = "" if arrives else "; no interrupt to be had here, so the overlay is polled"
    return f"raised by a refused job, low before and after{seen}"


def _vision_memory(engine: VisionEngine) -> str:
    program = Program.load(DATA / "copy.eyas")
    patterns = _patterns(engine.config.queue_depth)
    shape = tuple(program.manifest["input"]["shape"])
    engine.load(program)
    try:
        copied = engine.infer(patterns.view(np.int8).reshape(-1, *shape), timeout_s=JOB_S).logits
    finally:
        engine.unload(program)
    return _compared(copied.view(np.uint8).reshape(len(patterns), -1), patterns)


def _vision_network(engine: VisionEngine) -> str:
    known = np.load(DATA / "answers.npz")
    program = Program.load(DATA / "network.eyas")
    engine.load(program)
    try:
        result = engine.infer(known["pictures"], timeout_s=JOB_S)
    finally:
        engine.unload(program)
    wrong = int((result.logits != known["logits"]).sum())
    _require_equal(wrong, result.logits.size, "logits of the known network")
    return (
        f"{len(result.logits)} pictures, {result.logits.size} logits as expected, "
        f"{int(result.core_cycles[0]):,} cycles a picture"
    )


def _thc_memory(unit: ThcAggregator) -> str:
    """One worker's indices and a table that gives each index itself: the sums are the indices."""
    patterns = _patterns(4)
    count = 2 * PATTERN_BYTES
    unit.open(LookupTable(range(16)), 1)
    try:
        found = [
            unit.aggregate(pattern[np.newaxis], count, timeout_s=JOB_S) for pattern in patterns
        ]
    finally:
        with suppress(ThcError):  # a job that did not end was closed by a reset
            unit.close_job()
    return _compared(np.stack(found), unpack(patterns, 4, count))


def _thc_aggregation(unit: ThcAggregator) -> str:
    known = np.load(DATA / "answers.npz")
    expected = known["sums"]
    unit.open(LookupTable(known["table"]), len(known["contributions"]))
    try:
        sums = unit.aggregate(known["contributions"], len(expected), timeout_s=JOB_S)
    finally:
        with suppress(ThcError):  # a job that did not end was closed by a reset
            unit.close_job()
    _require_equal(int((sums != expected).sum()), len(expected), "sums of the known aggregation")
    return (
        f"{len(expected):,} sums of {len(known['contributions'])} workers as expected, "
        f"{unit.cycles:,} cycles"
    )


def _patterns(count: int) -> npt.NDArray[np.uint8]:
    """Alternating bits, each word's own number, and noise: [count, PATTERN_BYTES]."""
    noise = np.random.default_rng(count)
    patterns = noise.integers(0, 256, (count, PATTERN_BYTES), np.uint8)
    patterns[0] = np.resize(np.array([0x55, 0xAA, 0x00, 0xFF], np.uint8), PATTERN_BYTES)
    patterns[1] = np.arange(PATTERN_BYTES // 4, dtype="<u4").view(np.uint8)
    patterns[2] = ~patterns[1]
    return patterns


def _compared(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> str:
    if found.shape == expected.shape and (found == expected).all():
        return f"{len(expected)} patterns of {PATTERN_BYTES:,} bytes came through the overlay"
    number, place = np.argwhere(found != expected)[0]
    raise _Wrong(
        f"{int((found != expected).sum()):,} of {expected.size:,} values are not what was written, "
        f"the first in pattern {number} at {place}: {expected[number, place]:#04x} became "
        f"{found[number, place]:#04x}; load the overlay again, and if it stays, check the clock "
        f"against the bitstream's timing report"
    )


def _require_equal(wrong: int, total: int, what: str) -> None:
    if wrong:
        raise _Wrong(
            f"{wrong} of {total} {what} are wrong; load the overlay again, and if it stays, check "
            f"the clock against the bitstream's timing report"
        )


STEPS: dict[str, dict[str, Callable[[Any], str]]] = {
    "vision": {
        "memory": _vision_memory,
        "interrupt": partial(_interrupt, VISION_REGISTERS),
        "network": _vision_network,
    },
    "thc": {
        "memory": _thc_memory,
        "interrupt": partial(_interrupt, THC_REGISTERS),
        "aggregation": _thc_aggregation,
    },
}
"""What is tried behind the identity, by overlay: each gives what it saw, or raises EyasError."""

_DRIVERS: dict[str, Callable[[Board], OverlayDriver]] = {
    "vision": VisionEngine,
    "thc": ThcAggregator,
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

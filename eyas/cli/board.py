"""``eyas board``: lists boards, shows what is on one, tests one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eyas.cli.common.errors import ANSWER_IS_NO, CommandError
from eyas.cli.common.options import JsonOption

if TYPE_CHECKING:
    from drivers.board import Board
    from eyas.interfaces.fields import RegisterBlock

__all__ = ["board"]

board = typer.Typer(
    name="board",
    no_args_is_help=True,
    help="List PYNQ-Z2 boards, real and simulated; look at one; test one.",
)

OverlaysArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="OVERLAY", help="*vision*, *thc* or *switch*. Without a name, all of them."
    ),
]
SimulatedOption = Annotated[bool, typer.Option("--simulated", help="Use the simulated board.")]
RemoteOption = Annotated[
    str | None,
    typer.Option(
        "--remote", metavar="ADDRESS", help="Use the board that serves PYNQ.remote at this address."
    ),
]
BitstreamsOption = Annotated[
    Path,
    typer.Option(
        "--bitstreams",
        metavar="DIR",
        file_okay=False,
        help="Folder with *vision.bit*, *vision.hwh* and so on.",
    ),
]


@board.command("list")
def list_boards(remote: RemoteOption = None, json: JsonOption = False) -> None:
    """List the boards that can be used, and say why others cannot. Nothing is loaded or built."""
    from rich.markup import escape

    from eyas.cli.common.console import print_json, say
    from eyas.interfaces.overlays import OVERLAYS

    reachable, detail = _through_pynq(remote)
    found = [{"board": remote or "PYNQ", "reachable": reachable, "detail": detail}]
    reachable, detail = _simulator()
    found += [
        {"board": f"simulated {overlay}", "reachable": reachable, "detail": detail}
        for overlay in OVERLAYS
    ]
    if json:
        print_json({"boards": found})
        return
    for item in found:
        state = "reachable" if item["reachable"] else "not reachable"
        say(f"{item['board']:18}{state:15}{escape(str(item['detail']))}")


@board.command()
def info(
    overlays: OverlaysArgument = None,
    simulated: SimulatedOption = False,
    remote: RemoteOption = None,
    bitstreams: BitstreamsOption = Path(),
    keep: Annotated[
        bool,
        typer.Option(
            "--keep",
            help="Load no bitstream: look at the overlay that is on the board already. If there is "
            "none, this can hang the board.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show an overlay's identity, version, size and counters."""
    from eyas.cli.common.console import print_json, say
    from eyas.interfaces.overlays import OVERLAYS

    found = {}
    for overlay in _chosen(overlays, OVERLAYS):
        with _opened(overlay, simulated, remote, bitstreams, download=not keep) as opened:
            found[overlay] = _contents(opened, OVERLAYS[overlay].registers)
    if json:
        print_json(found)
        return
    for overlay, content in found.items():
        say(
            f"{overlay} overlay, version {content['version']}, identity {content['identity']}, "
            f"clock {content['clock_hz'] / 1e6:g} MHz"
        )
        for group in ("shape", "status", "error", "counters"):
            say(f"  {group}")
            values = {name: f"{value:,}" for name, value in content[group].items()}
            names, figures = (max(map(len, part), default=0) for part in (values, values.values()))
            for name, value in values.items():
                say(f"    {name:{names}}  {value:>{figures}}")


@board.command()
def selftest(
    overlays: OverlaysArgument = None,
    simulated: SimulatedOption = False,
    remote: RemoteOption = None,
    bitstreams: BitstreamsOption = Path(),
    json: JsonOption = False,
) -> None:
    """Test identity, memory and interrupt, then a network or an aggregation with known answers.

    A board without this command has the same test: **python -m drivers.selftest**.
    """
    from rich.markup import escape

    from drivers.selftest import STEPS
    from drivers.selftest import selftest as steps_of
    from eyas.cli.common.console import print_json, say

    found = []
    for overlay in _chosen(overlays, STEPS):
        with _opened(overlay, simulated, remote, bitstreams) as opened:
            for step in steps_of(overlay, opened):
                found.append(step)
                if not json:
                    say(escape(str(step)))
    ok = all(step.ok for step in found)
    if json:
        print_json({"ok": ok, "steps": [vars(step) for step in found]})
    if not ok:
        raise typer.Exit(ANSWER_IS_NO)


def _chosen(overlays: list[str] | None, known: Iterable[str]) -> list[str]:
    """The overlays named, or all that are ``known`` here."""
    for name in overlays or ():
        if name not in known:
            raise CommandError(f"there is no overlay {name!r} here, but {', '.join(known)}")
    return overlays or list(known)


@contextmanager
def _opened(
    overlay: str, simulated: bool, remote: str | None, bitstreams: Path, *, download: bool = True
) -> Iterator[Board]:
    """The board; it is closed at the end of the ``with`` block."""
    from drivers.open_board import open_board
    from eyas.cli.common.console import notes

    if simulated and remote is not None:
        raise CommandError("--simulated and --remote name two boards; give one of them")
    if simulated:
        from drivers.simulated.toolchain import require_simulator

        require_simulator()
    with notes.status(f"Opening the {overlay} board"):
        opened = open_board(
            overlay,
            simulated=simulated,
            remote=remote,
            bitstreams=bitstreams,
            download=download,
        )
    with opened:
        yield opened


def _contents(opened: Board, registers: RegisterBlock) -> dict[str, Any]:
    """Identity, size, state and counters in the overlay's registers; nothing is changed."""
    from drivers.overlay import OverlayDriver
    from eyas.interfaces.fields import Access

    version = {field.name: field.reset for field in registers["version"].fields}
    (identity,) = registers["identity"].fields
    OverlayDriver(
        opened,
        registers,
        name=registers.name,
        identity=identity.reset,
        version_major=version["major"],
    )
    words = {
        item.name: item.unpack(opened.read_register(item.offset))
        for item in registers.registers
        if item.access is Access.R
    }
    counters = {
        name: fields["value"]
        for name, fields in words.items()
        if name != "identity" and list(fields) == ["value"]
    }
    shape = {
        field: value
        for name, fields in words.items()
        if registers[name].offset < registers["control"].offset
        and name not in ("identity", "version", *counters)
        for field, value in fields.items()
    }
    return {
        "identity": f"{words['identity']['value']:#010x}",
        "version": f"{words['version']['major']}.{words['version']['minor']}",
        "clock_hz": opened.clock_hz,
        "shape": shape,
        "status": words["status"],
        "error": words["error"],
        "counters": counters,
    }


def _through_pynq(remote: str | None) -> tuple[bool, str]:
    """Whether PYNQ finds a device, and which or why not."""
    from drivers.errors import NoBoard
    from drivers.real.pynq_finding import find_device, remote_device, require_pynq

    try:
        device = find_device(require_pynq()) if remote is None else remote_device(remote)
    except NoBoard as error:
        return False, str(error)
    return True, f"{device.name} ({getattr(device, 'arch', 'unknown architecture')})"


def _simulator() -> tuple[bool, str]:
    """Whether the simulated boards can be built."""
    from drivers.errors import EyasError
    from drivers.simulated.toolchain import require_simulator

    try:
        require_simulator()
    except EyasError as error:
        return False, str(error)
    return True, "the Verilated overlay, in this process"

"""Arguments and options that several commands share, each described once."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from eyas.interfaces.configs import CONFIGS

__all__ = [
    "BuildConfigOption",
    "ConfigOption",
    "JsonOption",
    "OverlayArgument",
    "OverlayName",
    "ProgramPath",
]


def _one_of(names: Iterable[str]) -> Callable[[str], str]:
    """A parser that takes one of ``names``; for any other, its error lists them."""
    known = tuple(names)

    def name(value: str) -> str:
        if value not in known:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(known)}")
        return value

    return name


class OverlayName(str, enum.Enum):
    """Overlays there are."""

    vision = "vision"
    thc = "thc"
    switch = "switch"


ConfigOption = Annotated[
    str,
    typer.Option(
        "--config",
        metavar="NAME",
        parser=_one_of(CONFIGS["vision"]),
        help="Shape of the array: *default* (16 × 8 × 3, the published overlay) or *small* "
        "(4 × 4 × 3, faster to build).",
    ),
]
BuildConfigOption = Annotated[
    str,
    typer.Option(
        "--config",
        metavar="NAME",
        parser=_one_of(dict.fromkeys(chain(*CONFIGS.values()))),
        help="Size of the overlay: *default*; *small* (vision only: an array of 4 × 4 × 3); or "
        "*large* (switch only: 512 slots instead of 256).",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")
]
OverlayArgument = Annotated[
    OverlayName, typer.Argument(help="*vision*, *thc* or *switch*.", metavar="OVERLAY")
]
ProgramPath = Annotated[
    Path,
    typer.Argument(help="A file that *eyas compile* wrote.", metavar="PROGRAM", dir_okay=False),
]

"""Arguments and options that several commands share, each described once."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from eyas.interfaces.configs import DEFAULT_VISION, SMALL_VISION, VisionConfig

__all__ = [
    "BuildConfig",
    "BuildConfigOption",
    "Config",
    "ConfigOption",
    "JsonOption",
    "OverlayArgument",
    "OverlayName",
    "ProgramPath",
]


class Config(str, enum.Enum):
    """Shapes of the array that have a name."""

    default = "default"
    small = "small"

    @property
    def vision(self) -> VisionConfig:
        """The vision engine's parameters."""
        return {"default": DEFAULT_VISION, "small": SMALL_VISION}[self.value]


class BuildConfig(str, enum.Enum):
    """Configurations with a name, of any overlay."""

    default = "default"
    small = "small"
    large = "large"


class OverlayName(str, enum.Enum):
    """Overlays there are."""

    vision = "vision"
    thc = "thc"
    switch = "switch"


ConfigOption = Annotated[
    Config,
    typer.Option(
        "--config",
        help="Shape of the array: *default* (16 × 8 × 3, the published overlay) or *small* "
        "(4 × 4 × 3, builds and simulates faster).",
    ),
]
BuildConfigOption = Annotated[
    BuildConfig,
    typer.Option(
        "--config",
        help="What is built: *default*; *small*, a vision engine of 4 × 4 × 3; *large*, a switch "
        "of 512 slots instead of 256.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else.")
]
OverlayArgument = Annotated[OverlayName, typer.Argument(help="Which overlay.", metavar="OVERLAY")]
ProgramPath = Annotated[
    Path, typer.Argument(help="A program of *eyas compile*.", metavar="PROGRAM", dir_okay=False)
]

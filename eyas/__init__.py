"""Eyas: hardware design and co-simulation in Python for the PYNQ-Z2.

The names below are what a user needs; each is loaded when it is first used, so that a board with
numpy alone can ``from eyas import VisionEngine`` and a desk without one can do everything else.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drivers.open_board import open_board
    from drivers.switch import Switch
    from drivers.thc import ThcAggregator, ThcEncoder
    from drivers.vision import VisionEngine
    from eyas.compiler import compile_graph as compile  # noqa: A004
    from eyas.interfaces.vision.config import DEFAULT_VISION, SMALL_VISION, VisionConfig
    from eyas.interfaces.vision.program_file import Program

__all__ = [
    "DEFAULT_VISION",
    "SMALL_VISION",
    "Program",
    "Switch",
    "ThcAggregator",
    "ThcEncoder",
    "VisionConfig",
    "VisionEngine",
    "__version__",
    "compile",
    "open_board",
]

_HOMES = {
    "DEFAULT_VISION": ("eyas.interfaces.vision.config", "DEFAULT_VISION"),
    "SMALL_VISION": ("eyas.interfaces.vision.config", "SMALL_VISION"),
    "Program": ("eyas.interfaces.vision.program_file", "Program"),
    "Switch": ("drivers.switch.switch", "Switch"),
    "VisionConfig": ("eyas.interfaces.vision.config", "VisionConfig"),
    "VisionEngine": ("drivers.vision.engine", "VisionEngine"),
    "compile": ("eyas.compiler", "compile_graph"),
    "open_board": ("drivers.open_board", "open_board"),
}
"""Public name to the module and the name in it."""

_OURS = ("drivers", "models", "hdl", "bitstreams")
"""Packages of ours with names that others may have taken too."""


def check_packages() -> None:
    """Raise ImportError when a foreign package stands before one of ours on the import path."""
    home = Path(__file__).resolve().parent.parent
    for name in _OURS:
        spec = find_spec(name)  # finds without running the foreign package
        places = [
            Path(place).resolve() for place in (spec and spec.submodule_search_locations) or ()
        ]
        if home / name not in places:
            where = places[0] if places else (spec and spec.origin) or "nowhere"
            raise ImportError(
                f"Eyas needs its own package {name!r}, but the import path leads to {where}; "
                f"rename or remove what stands there, or run from another folder",
                name=name,
            )


def __getattr__(name: str) -> Any:
    if name == "__version__":
        try:
            return version("eyas")
        except PackageNotFoundError:
            return "0+unknown"  # a source tree that was never installed
    try:
        home, attribute = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'eyas' has no attribute {name!r}") from None
    check_packages()
    value = getattr(import_module(home), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

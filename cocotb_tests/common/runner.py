"""Builds a design with Verilator once, whoever needs it, and runs cocotb benches on it.

What was built is kept by content beside the simulated board's models: the same Verilog, tools and
options give the same program, in this run of the tests and in the next.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import cocotb_tools.config
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import Verilator

from drivers.simulated.toolchain import (
    find_compiler,
    find_verilator,
    require_tools,
    verilator_environment,
)
from eyas.cache import adopt, cache_folder, content_key, discard, is_whole, locked

__all__ = ["SEED", "Simulation", "build"]

SEED = 20250117
"""Seed of every run; cocotb prints it, and ``rng()`` of the benches follows it."""

_ARGUMENTS = (
    # Benches see the ports alone. That all else were visible as well, cocotb's default, would keep
    # Verilator from optimising.
    "--no-public-flat-rw",
    # What Yosys writes as Amaranth means it.
    "-Wno-CASEINCOMPLETE",
    "-Wno-SYMRSVDWORD",
    "-Wno-WIDTHEXPAND",
    "-Wno-WIDTHTRUNC",
    # Registers without a reset start with random bits.
    "--x-initial",
    "unique",
)
_RUNTIME = "verilated*.o"
"""Verilator's run-time library: the same objects for every design."""


@dataclass(frozen=True)
class Simulation:
    """A design that was built.

    Attributes
    ----------
    top : str
        Its module.
    folder : Path
        Where it runs, a test's own.
    program : Path
        The simulation, in the cache.
    """

    top: str
    folder: Path
    program: Path

    def run(self, bench: str, **environment: str) -> None:
        """Run the tests of module ``bench``; AssertionError when one fails or there is none."""
        results = Verilator().test(
            test_module=bench,
            hdl_toplevel=self.top,
            hdl_toplevel_lang="verilog",
            build_dir=self.program.parent,
            test_dir=self.folder,
            results_xml=self.folder / f"{bench}.xml",
            seed=SEED,
            extra_env=environment,
        )
        count, failed = get_results(results)
        assert count, f"{bench} holds no test"
        assert not failed, f"{failed} of the {count} tests of {bench} failed"


def build(verilog: str, top: str, folder: Path, *, optimize: str = "-O1") -> Simulation:
    """Build module ``top`` of the text ``verilog``, unless the cache has it; it runs in ``folder``.

    Benches spend their time in Python: a design that compiles fast serves them better than one
    that runs fast. Set WAVES=1 in the environment for waveforms.
    """
    require_tools()
    folder.mkdir(parents=True, exist_ok=True)
    waves = os.environ.get("WAVES", "0") != "0"
    tools = _tools(optimize, waves)
    kept = cache_folder() / "benches" / content_key(verilog, top, *_ARGUMENTS, *tools)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with locked(kept.with_suffix(".lock")):
        if not is_whole(kept / top):
            discard(kept)
            _build(
                verilog, top, kept, optimize, waves, kept.parent / f"runtime-{content_key(*tools)}"
            )
    return Simulation(top, folder, kept / top)


def _tools(optimize: str, waves: bool) -> list[str]:
    """Everything but the design that the program depends on."""
    verilator = find_verilator()
    compiler = subprocess.run(
        [*find_compiler(), "--version"], capture_output=True, text=True, check=True
    ).stdout
    return [
        f"{verilator.executable} {verilator.version}",
        compiler,
        f"cocotb {version('cocotb')} {cocotb_tools.config.libs_dir}",
        optimize,
        f"waves {waves}",
        Path(__file__).read_text("utf-8"),
    ]


def _build(verilog: str, top: str, kept: Path, optimize: str, waves: bool, runtime: Path) -> None:
    """Make ``kept`` with the program and its seal in it."""
    work = kept.with_suffix(".building")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    (work / "ports.vlt").write_text(f'`verilator_config\npublic_flat_rw -module "{top}" -var "*"\n')
    (work / "design.v").write_text(verilog)
    environment = verilator_environment()
    flags = environment.get("MAKEFLAGS", "").split(" OPT_FAST=")[0]
    environment["MAKEFLAGS"] = f"{flags} OPT_FAST={optimize}".strip()
    with mock.patch.dict(os.environ, environment):
        _Verilator(runtime).build(
            sources=[work / "ports.vlt", work / "design.v"],
            hdl_toplevel=top,
            build_dir=work / "build",
            build_args=list(_ARGUMENTS),
            always=True,
            waves=waves,
        )
    if not runtime.exists():
        with_objects = runtime.with_suffix(f".{os.getpid()}")
        with_objects.mkdir()
        for item in (work / "build").glob(_RUNTIME):
            shutil.copy(item, with_objects)
        try:
            with_objects.rename(runtime)
        except OSError:  # another process was faster
            shutil.rmtree(with_objects)
    kept.mkdir()
    adopt(work / "build" / top, kept / top)
    shutil.rmtree(work)


class _Verilator(Verilator):
    """cocotb's way to Verilator, with the run-time library's objects taken from ``runtime``."""

    def __init__(self, runtime: Path) -> None:
        super().__init__()
        self._runtime = runtime

    def _build_command(self) -> list[Sequence[str]]:
        verilate, make = super()._build_command()
        objects = sorted(str(path) for path in self._runtime.glob(_RUNTIME))
        copy = [["cp", *objects, str(self.build_dir)]] if objects else []
        return [verilate, *copy, make]

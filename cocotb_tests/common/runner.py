"""Builds a design with Verilator once and runs cocotb benches on it."""

import os
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import Runner, get_runner

from drivers.simulated.toolchain import require_tools, verilator_environment

__all__ = ["SEED", "Simulation", "build"]

SEED = 20250117
"""Seed of every run; cocotb prints it, and ``rng()`` of the benches follows it."""


@dataclass(frozen=True)
class Simulation:
    """A design that was built.

    Attributes
    ----------
    top : str
        Its module.
    folder : Path
        Where it was built and runs.
    """

    top: str
    folder: Path
    _runner: Runner

    def run(self, bench: str, **environment: str) -> None:
        """Run the tests of module ``bench``; AssertionError when one fails or there is none."""
        results = self._runner.test(
            test_module=bench,
            hdl_toplevel=self.top,
            test_dir=self.folder,
            results_xml=self.folder / f"{bench}.xml",
            seed=SEED,
            extra_env=environment,
        )
        count, failed = get_results(results)
        assert count, f"{bench} holds no test"
        assert not failed, f"{failed} of the {count} tests of {bench} failed"


def build(verilog: str, top: str, folder: Path) -> Simulation:
    """Build module ``top`` of the text ``verilog`` in ``folder``; benches see its ports alone.

    That all else were visible as well, cocotb's default, would keep Verilator from optimising.
    Set WAVES=1 in the environment for waveforms.
    """
    require_tools()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ports.vlt").write_text(
        f'`verilator_config\npublic_flat_rw -module "{top}" -var "*"\n'
    )
    (folder / "design.v").write_text(verilog)
    runner = get_runner("verilator")
    with mock.patch.dict(os.environ, verilator_environment()):
        runner.build(
            sources=[folder / "ports.vlt", folder / "design.v"],
            hdl_toplevel=top,
            build_dir=folder / "build",
            build_args=[
                "--no-public-flat-rw",
                # What Yosys writes as Amaranth means it.
                "-Wno-CASEINCOMPLETE",
                "-Wno-SYMRSVDWORD",
                "-Wno-WIDTHEXPAND",
                "-Wno-WIDTHTRUNC",
                # Registers without a reset start with random bits.
                "--x-initial",
                "unique",
            ],
            always=True,
            waves=os.environ.get("WAVES", "0") != "0",
        )
    return Simulation(top, folder, runner)

"""Runs the datapath's benches on Verilator: one build of all units, one run a bench."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from amaranth.back import verilog
from cocotb_tools.runner import Runner, get_runner

from cocotb_tests.vision_datapath.design import VisionDatapath
from drivers.simulated.toolchain import verilator_environment
from tests.models.requantize_vectors import vectors

SEED = 20250117
TOP = "vision_datapath"

# The benches need the ports alone. That all else were visible as well, cocotb's default, would
# keep Verilator from optimising and take minutes to compile.
PUBLIC = f'`verilator_config\npublic_flat_rw -module "{TOP}" -var "*"\n'


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> tuple[Runner, Path]:
    """The runner with the design built, and the folder to run in."""
    folder = tmp_path_factory.mktemp(TOP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AMARANTH_USE_YOSYS", "builtin")
        for name, value in verilator_environment().items():
            patch.setenv(name, value)
        (folder / "ports.vlt").write_text(PUBLIC)
        design = verilog.convert(VisionDatapath(), name=TOP, emit_src=False)
        (folder / "design.v").write_text(design)
        runner = get_runner("verilator")
        runner.build(
            sources=[folder / "ports.vlt", folder / "design.v"],
            hdl_toplevel=TOP,
            build_dir=folder / "build",
            build_args=["--no-public-flat-rw", "-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC"],
            always=True,
        )
    return runner, folder


def run(build: tuple[Runner, Path], bench: str, **environment: str) -> None:
    runner, folder = build
    runner.test(
        test_module=f"cocotb_tests.vision_datapath.bench_{bench}",
        hdl_toplevel=TOP,
        test_dir=folder,
        results_xml=folder / f"{bench}.xml",
        seed=SEED,
        extra_env=environment,
    )


@pytest.mark.slow
@pytest.mark.parametrize("bench", ["products", "mac_array", "pooling"])
def test_bench(bench, build):
    run(build, bench)


@pytest.mark.slow
def test_requantizer(build):
    _, folder = build
    found = vectors(SEED, 24_000)
    arrays = {item.name: getattr(found, item.name) for item in fields(found)}
    np.savez(folder / "vectors.npz", **arrays)
    run(build, "requantizer", REQUANTIZE_VECTORS=str(folder / "vectors.npz"))

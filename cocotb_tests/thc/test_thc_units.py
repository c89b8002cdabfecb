"""Runs the benches of the THC units on Verilator: one build of all units, one run a bench."""

import os
import subprocess
import sys

import pytest

from cocotb_tests.common.runner import Simulation, build
from cocotb_tests.thc.design import ThcUnits
from hdl.parts.flat import flat_verilog

pytestmark = pytest.mark.slow

BENCHES = ["lanes", "encoder"]


@pytest.fixture(scope="module")
def simulation(tmp_path_factory) -> Simulation:
    name = "thc_units"
    return build(flat_verilog(ThcUnits(), name), name, tmp_path_factory.mktemp(name))


@pytest.mark.parametrize("bench", BENCHES)
def test_bench(bench, simulation):
    simulation.run(f"cocotb_tests.thc.bench_{bench}")


@pytest.mark.nightly
def test_more_shapes():
    """The same benches, in the shapes that take longer to build, in a process of their own."""
    command = [sys.executable, "-m", "pytest", "-q", "-k", "test_bench", __file__]
    environment = {**os.environ, "THC_SHAPES": "more"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=1800, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:]

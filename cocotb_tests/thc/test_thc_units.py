"""Runs the benches of the THC units on Verilator: one build of all units, one run a bench."""

import pytest

from cocotb_tests.common.runner import Simulation, build
from cocotb_tests.thc.design import ThcUnits
from hdl.bus.flat import flat_verilog

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def simulation(tmp_path_factory) -> Simulation:
    name = "thc_units"
    return build(flat_verilog(ThcUnits(), name), name, tmp_path_factory.mktemp(name))


@pytest.mark.parametrize("bench", ["lanes", "encoder"])
def test_bench(bench, simulation):
    simulation.run(f"cocotb_tests.thc.bench_{bench}")

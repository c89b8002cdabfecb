"""Runs the benches of the THC units on Verilator: one build of all units, one run a bench."""

import pytest
from amaranth.back import verilog

from cocotb_tests.common.runner import Simulation, build
from cocotb_tests.thc.design import ThcUnits

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def simulation(tmp_path_factory) -> Simulation:
    name = "thc_units"
    text = verilog.convert(ThcUnits(), name=name, emit_src=False)
    return build(text, name, tmp_path_factory.mktemp(name))


@pytest.mark.parametrize("bench", ["lanes"])
def test_bench(bench, simulation):
    simulation.run(f"cocotb_tests.thc.bench_{bench}")

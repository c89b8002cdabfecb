"""Runs the benches of the bus parts on Verilator: one build, one run a bench."""

import pytest

from cocotb_tests.common.runner import Simulation, build
from cocotb_tests.parts.design import BusParts
from hdl.parts.flat import flat_verilog


@pytest.fixture(scope="module")
def simulation(tmp_path_factory) -> Simulation:
    return build(flat_verilog(BusParts(), "bus"), "bus", tmp_path_factory.mktemp("bus"))


@pytest.mark.slow
@pytest.mark.parametrize("bench", ["contract", "registers", "bursts", "streams"])
def test_bench(bench, simulation):
    simulation.run(f"cocotb_tests.parts.bench_{bench}")

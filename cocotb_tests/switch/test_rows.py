"""Runs the row engine's bench on Verilator."""

import pytest

from cocotb_tests.common.runner import Simulation, build
from cocotb_tests.switch.row_design import RowUnits
from hdl.parts.flat import flat_verilog

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def simulation(tmp_path_factory) -> Simulation:
    name = "switch_rows"
    return build(flat_verilog(RowUnits(), name), name, tmp_path_factory.mktemp(name))


def test_bench(simulation):
    simulation.run("cocotb_tests.switch.bench_rows")


@pytest.mark.nightly
def test_bench_for_longer(simulation):
    simulation.run("cocotb_tests.switch.bench_rows", ROW_OPERATIONS="4000")

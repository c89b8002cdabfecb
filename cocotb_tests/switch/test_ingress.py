"""Runs the benches of the switch's ingress and framer on Verilator: one build, one run a bench."""

import pytest

from cocotb_tests.common.runner import Simulation, build
from cocotb_tests.switch.ingress_design import IngressUnits
from hdl.parts.flat import flat_verilog

pytestmark = pytest.mark.slow

BENCHES = ["crc", "parser", "framer"]


@pytest.fixture(scope="module")
def simulation(tmp_path_factory) -> Simulation:
    name = "switch_ingress"
    return build(flat_verilog(IngressUnits(), name), name, tmp_path_factory.mktemp(name))


@pytest.mark.parametrize("bench", BENCHES)
def test_bench(bench, simulation):
    simulation.run(f"cocotb_tests.switch.bench_{bench}")

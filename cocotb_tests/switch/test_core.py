"""Runs the core's bench on Verilator."""

import pytest

from cocotb_tests.common.runner import build
from cocotb_tests.switch.bench_core import CORES
from hdl.parts.flat import flat_verilog
from hdl.switch.core import SwitchCore

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("core", "episodes", "packets"),
    [
        ("few", 100, 60),
        pytest.param("few", 1000, 100, marks=pytest.mark.nightly, id="few at length"),
        pytest.param("least", 200, 60, marks=pytest.mark.nightly),
        pytest.param("full", 50, 60, marks=pytest.mark.nightly),
    ],
)
def test_bench(core, episodes, packets, tmp_path):
    simulation = build(
        flat_verilog(SwitchCore(CORES[core]), "switch_core"), "switch_core", tmp_path
    )
    simulation.run(
        "cocotb_tests.switch.bench_core",
        CORE=core,
        EPISODES=str(episodes),
        PACKETS=str(packets),
    )

"""Runs the benches of the board's side on Verilator."""

import pytest

from cocotb_tests.common.runner import build
from cocotb_tests.pynq_z2.design import bridge_verilog


@pytest.mark.slow
def test_bridge(tmp_path):
    build(bridge_verilog(), "bridge", tmp_path).run("cocotb_tests.pynq_z2.bench_bridge")

"""Runs the bench of the whole switch overlay on Verilator."""

import pytest

from cocotb_tests.common.runner import build
from cocotb_tests.switch.ingress_design import OVERLAY
from hdl.overlays.switch import switch_verilog


@pytest.mark.slow
def test_overlay(tmp_path):
    simulation = build(switch_verilog(OVERLAY), "switch", tmp_path)
    simulation.run("cocotb_tests.switch.bench_overlay")

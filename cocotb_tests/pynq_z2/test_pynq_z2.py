"""Runs the benches of the board's side on Verilator."""

import pytest

from cocotb_tests.common.runner import build
from cocotb_tests.pynq_z2.design import bridge_verilog, wrapped_verilog
from cocotb_tests.pynq_z2.plain import run_plain
from cocotb_tests.pynq_z2.scenarios import SCENARIOS


@pytest.mark.slow
def test_bridge(tmp_path):
    build(bridge_verilog(), "bridge", tmp_path).run("cocotb_tests.pynq_z2.bench_bridge")


@pytest.mark.slow
@pytest.mark.parametrize("overlay", SCENARIOS)
def test_wrapped_overlay(overlay, tmp_path):
    work = SCENARIOS[overlay]()
    plain = tmp_path / "plain.npz"
    run_plain(work, plain)
    # A few thousand cycles: compiling them well would take longer than running them.
    verilog = wrapped_verilog(overlay, work.config)
    simulation = build(verilog, "board", tmp_path, optimize="-O0")
    simulation.run("cocotb_tests.pynq_z2.bench_wrapped", SCENARIO=overlay, PLAIN=str(plain))

"""Runs the bench of the whole vision overlay on Verilator, with the small array."""

import pytest

from cocotb_tests.common.runner import build
from eyas.interfaces.vision.config import SMALL_VISION
from hdl.overlays.vision import vision_verilog


@pytest.mark.slow
def test_overlay(tmp_path):
    simulation = build(vision_verilog(SMALL_VISION), "vision", tmp_path)
    simulation.run("cocotb_tests.vision_overlay.bench")

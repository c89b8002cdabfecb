"""Runs the bench of the front end on Verilator for each configuration."""

import json
from dataclasses import replace

import pytest

from cocotb_tests.common.runner import build
from cocotb_tests.vision_frontend.stand_in import FrontEndWithStandIn
from eyas.interfaces.vision.config import DEFAULT_VISION, SMALL_VISION, VisionConfig
from hdl.parts.flat import flat_verilog

TOP = "front_end"
CONFIGURATIONS = {
    "small": SMALL_VISION,
    "default": DEFAULT_VISION,
    # Words of two beats, five banks.
    "wide": VisionConfig(
        output_channels=16,
        input_channels=16,
        pixels=5,
        requantize_channels=4,
        bank_words=512,
        weight_rows=64,
        parameter_rows=64,
        instruction_words=128,
        queue_depth=4,
        program_slots=16,
    ),
    # Words of a quarter of a beat, one bank, rows of weights that are no power of two.
    "narrow": replace(
        SMALL_VISION,
        output_channels=6,
        input_channels=2,
        pixels=1,
        requantize_channels=1,
        bank_words=4096,
    ),
}

# What depends on the size of words and on the number of banks.
WORDS = "load_fills|pictures_go|patches_go|probe|in_order|next_picture_comes|another_size"


def simulate(name, folder, **environment):
    config = CONFIGURATIONS[name]
    simulation = build(flat_verilog(FrontEndWithStandIn(config), TOP), TOP, folder)
    simulation.run(
        "cocotb_tests.vision_frontend.bench", VISION=json.dumps(config.as_dict()), **environment
    )


@pytest.mark.slow
def test_everything(tmp_path):
    simulate("small", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["default", "wide", "narrow"])
def test_words(name, tmp_path):
    simulate(name, tmp_path, COCOTB_TEST_FILTER=WORDS)


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["default", "wide", "narrow"])
def test_everything_elsewhere(name, tmp_path):
    simulate(name, tmp_path)

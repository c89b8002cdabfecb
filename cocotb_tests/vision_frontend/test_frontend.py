"""Runs the bench of the front end on Verilator for each configuration."""

import json
from dataclasses import replace

import pytest
from cocotb_tools.runner import get_runner

from cocotb_tests.vision_frontend.stand_in import FrontEndWithStandIn
from drivers.simulated.toolchain import require_tools, verilator_environment
from eyas.interfaces.configs import DEFAULT_VISION, SMALL_VISION, VisionConfig
from hdl.bus.flat import flat_verilog

SEED = 20250117
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

# The bench needs the ports alone. That all else were visible as well, cocotb's default, would keep
# Verilator from optimising.
PUBLIC = f'`verilator_config\npublic_flat_rw -module "{TOP}" -var "*"\n'
# Amaranth's netlists meet these; none says anything about the design.
WAIVED = ("CASEINCOMPLETE", "SYMRSVDWORD", "UNOPTFLAT", "WIDTHEXPAND", "WIDTHTRUNC")


# What depends on the size of words and on the number of banks.
WORDS = "load_fills|pictures_go|probe|in_order|next_picture_comes|another_size"


def run_bench(config, folder, monkeypatch, **options):
    require_tools()
    for key, value in verilator_environment().items():
        monkeypatch.setenv(key, value)
    (folder / "ports.vlt").write_text(PUBLIC)
    (folder / "design.v").write_text(flat_verilog(FrontEndWithStandIn(config), TOP))
    runner = get_runner("verilator")
    runner.build(
        sources=[folder / "ports.vlt", folder / "design.v"],
        hdl_toplevel=TOP,
        build_dir=folder / "build",
        build_args=["--no-public-flat-rw", *(f"-Wno-{warning}" for warning in WAIVED)],
        always=True,
    )
    runner.test(
        hdl_toplevel=TOP,
        test_module="cocotb_tests.vision_frontend.bench",
        test_dir=folder,
        seed=SEED,
        extra_env={"VISION": json.dumps(config.as_dict())},
        **options,
    )


@pytest.mark.slow
def test_everything(tmp_path, monkeypatch):
    run_bench(CONFIGURATIONS["small"], tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["default", "wide", "narrow"])
def test_words(name, tmp_path, monkeypatch):
    run_bench(CONFIGURATIONS[name], tmp_path, monkeypatch, test_filter=WORDS)


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["default", "wide", "narrow"])
def test_everything_elsewhere(name, tmp_path, monkeypatch):
    run_bench(CONFIGURATIONS[name], tmp_path, monkeypatch)

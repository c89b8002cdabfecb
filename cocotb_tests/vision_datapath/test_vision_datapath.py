"""Runs the datapath's benches on Verilator: one build of all units, one run a bench."""

from dataclasses import fields

import numpy as np
import pytest
from amaranth.back import verilog

from cocotb_tests.common.runner import SEED, Simulation, build
from cocotb_tests.vision_datapath.design import VisionDatapath
from tests.models.requantize_vectors import vectors

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def simulation(tmp_path_factory) -> Simulation:
    name = "vision_datapath"
    text = verilog.convert(VisionDatapath(), name=name, emit_src=False)
    return build(text, name, tmp_path_factory.mktemp(name))


@pytest.mark.parametrize("bench", ["products", "mac_array", "pooling", "add", "depthwise"])
def test_bench(bench, simulation):
    simulation.run(f"cocotb_tests.vision_datapath.bench_{bench}")


def test_requantizer(simulation):
    golden = vectors(SEED, 24_000)
    arrays = {item.name: getattr(golden, item.name) for item in fields(golden)}
    path = simulation.folder / "vectors.npz"
    np.savez(path, **arrays)
    simulation.run("cocotb_tests.vision_datapath.bench_requantizer", REQUANTIZE_VECTORS=str(path))

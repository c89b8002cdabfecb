"""The functional board with NumPy alone, as a board has it: the self-test's network and answers."""

from pathlib import Path

import numpy as np

import drivers.selftest_steps
from drivers.functional.vision import functional_board
from drivers.vision import VisionEngine
from eyas.interfaces.vision.program_file import Program

FOLDER = Path(drivers.selftest_steps.__file__).with_name("selftest_data")


def test_the_self_tests_network() -> None:
    program = Program.load(FOLDER / "network.eyas")
    with np.load(FOLDER / "answers.npz") as answers:
        pictures, logits = answers["pictures"], answers["logits"]
    with functional_board(program.config) as board, VisionEngine(board) as engine:
        engine.load(program)
        found = engine.infer(pictures)
    np.testing.assert_array_equal(found.logits.reshape(logits.shape), logits)
    expected = sum(layer.cycles for layer in program.manifest.layers)
    assert (found.core_cycles >= expected).all(), "each layer takes what the compiler says"

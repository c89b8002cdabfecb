"""ResNet-8, VWW and KWS on the default array: LiteRT's answers, in the cycles that were meant.

The published files where they are found; always files of the same shapes with random weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from drivers.simulated.vision import vision_board
from drivers.vision import VisionEngine
from eyas.compiler import compile_graph
from eyas.compiler.importers.tflite_import import import_tflite
from tests.data import data_file
from tests.models.litert import run_files_pictures
from tests.models.test_published_networks import NETWORKS as PUBLISHED
from tests.models.test_published_networks import inputs
from tests.tflite_builder import NETWORKS as BUILT

SEED = 3
CORE_CYCLES = {"resnet8": 42_000, "vww": 60_000, "kws": 18_000}
"""What each may take at most, nothing folded."""


@pytest.fixture(scope="module")
def default_engine() -> Iterator[VisionEngine]:
    """The default array behind the PYNQ-Z2's memory."""
    with vision_board() as board, VisionEngine(board) as engine:
        yield engine


def check(
    engine: VisionEngine, data: bytes, name: str, counts: tuple[int, int], fold: bool
) -> None:
    """Probabilities of scenes, noise and flat pictures are those of LiteRT's reference kernels."""
    graph = import_tflite(data, name)
    program = compile_graph(graph, fold=fold)
    pictures = inputs(graph, *counts)
    assert graph.softmax is not None
    expected = run_files_pictures(data, np.split(pictures, len(pictures)))[graph.softmax.name]
    engine.unload()
    engine.load(program)
    result = engine.infer(pictures)
    np.testing.assert_array_equal(result.outputs.reshape(expected.shape), expected)
    for entry, counters in zip(program.manifest.layers, engine.layer_counters(), strict=True):
        assert counters.cycles == entry.cycles, entry.name
    assert result.core_cycles.max() <= CORE_CYCLES[name]
    # The rest is the program's start and the waits between layers.
    model = sum(entry.cycles for entry in program.manifest.layers)
    assert model <= result.core_cycles.max() <= 1.03 * model


@pytest.mark.parametrize("name", PUBLISHED)
def test_published(default_engine: VisionEngine, name: str) -> None:
    check(default_engine, data_file(PUBLISHED[name][0]).read_bytes(), name, (30, 22), fold=False)


def test_published_and_folded(default_engine: VisionEngine) -> None:
    check(default_engine, data_file(PUBLISHED["vww"][0]).read_bytes(), "vww", (4, 3), fold=True)


@pytest.mark.parametrize("name", BUILT)
def test_random_weights(default_engine: VisionEngine, name: str) -> None:
    check(default_engine, BUILT[name](SEED), name, (3, 3), fold=False)

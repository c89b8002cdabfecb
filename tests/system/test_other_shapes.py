"""Random networks on arrays of other shapes: nothing is written for three banks alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from drivers.simulated.memory import INFINITE
from drivers.simulated.vision import vision_board
from drivers.vision import VisionEngine
from eyas.interfaces.vision.config import SMALL_VISION, VisionConfig
from models.vision.graph import Graph
from tests.system.random_networks import networks
from tests.system.test_random_networks import EXAMPLES, check, random_networks

SHAPES = {
    # Five banks, a channel requantised at a time, narrow words.
    "8x2x5": replace(
        SMALL_VISION, output_channels=8, input_channels=2, pixels=5, requantize_channels=1
    ),
    # One bank; a word of two 64-bit beats.
    "16x16x1": replace(
        SMALL_VISION, output_channels=16, input_channels=16, pixels=1, requantize_channels=8
    ),
}


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES.keys())
def other_engine(request: pytest.FixtureRequest):
    config: VisionConfig = request.param
    with vision_board(config, memory=INFINITE) as board, VisionEngine(board) as engine:
        yield engine


@settings(random_networks, max_examples=EXAMPLES)
@given(graph=networks())
def test_networks(other_engine: VisionEngine, graph: Graph) -> None:
    check(other_engine, graph)

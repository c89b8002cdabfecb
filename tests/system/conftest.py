"""Boards that carry small vision overlays, built once a session (and kept in the model cache)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from drivers.simulated.memory import INFINITE
from drivers.simulated.vision import vision_board
from drivers.vision import VisionEngine
from eyas.interfaces.vision.config import SMALL_VISION

# On a busy machine two threads wait for each other longer than they work.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_board():
    """The small array behind a memory without limits."""
    with vision_board(SMALL_VISION, memory=INFINITE) as board:
        yield board


@pytest.fixture
def engine(small_board) -> Iterator[VisionEngine]:
    """A driver on the small board; faults are cleared behind each test."""
    with VisionEngine(small_board) as driver:
        yield driver
    small_board.clear_faults()

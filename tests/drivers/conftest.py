"""Boards for the tests of the simulated board, and of the functional one beside it."""

from collections.abc import Iterator

import pytest

from drivers.functional.vision import FunctionalBoard, functional_board
from drivers.simulated.board import SimulatedBoard
from drivers.simulated.memory import INFINITE
from drivers.simulated.vision import vision_board
from eyas.interfaces.vision.config import SMALL_VISION
from tests.drivers.designs.copy_engine import copy_engine_verilog


@pytest.fixture(scope="session")
def copy_design():
    return copy_engine_verilog()


@pytest.fixture
def make_board(copy_design):
    """Return a function that opens boards with the copy engine; all are closed at the end."""
    boards = []

    def make(**options):
        boards.append(SimulatedBoard(copy_design, top="copy_engine", **options))
        return boards[-1]

    yield make
    for board in boards:
        board.close()


@pytest.fixture
def board(make_board):
    return make_board()


@pytest.fixture(scope="session")
def rtl_board() -> Iterator[SimulatedBoard]:
    """The small array's RTL, built once."""
    with vision_board(SMALL_VISION, memory=INFINITE) as board:
        yield board


@pytest.fixture(scope="session")
def functional() -> Iterator[FunctionalBoard]:
    """The small array, functional."""
    with functional_board(SMALL_VISION) as board:
        yield board

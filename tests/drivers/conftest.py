"""Boards for the tests of the simulated board."""

import pytest

from drivers.simulated.board import SimulatedBoard
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

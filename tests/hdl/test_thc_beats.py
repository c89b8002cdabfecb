"""The lanes take a beat a cycle, as far as the sink allows: the benchmark's figures."""

import pytest

from benchmarks.thc_beats import CONFIG, beats_taken, bound, cases
from benchmarks.thc_meter import ThcMeter
from drivers.simulated.board import SimulatedBoard
from hdl.parts.flat import flat_verilog

pytestmark = [pytest.mark.slow, pytest.mark.nightly]


@pytest.fixture(scope="module")
def board():
    with SimulatedBoard(flat_verilog(ThcMeter(CONFIG), "thc_meter"), top="thc_meter") as meter:
        yield meter


@pytest.mark.parametrize("name", list(cases()))
def test_beats_taken(board, name):
    setup = cases()[name]
    assert beats_taken(board, setup, wide_sink=True) >= 0.99
    most = bound(setup)
    assert 0.99 * most <= beats_taken(board, setup, wide_sink=False) <= most + 0.01


def test_the_bound_is_that_of_the_sink():
    assert bound({"wide": 1, "beats": 32, "workers": 2, "one_slot": 0}) == 0.5

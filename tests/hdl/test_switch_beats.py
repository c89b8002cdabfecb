"""The switch's core takes every beat, whatever the packets do: the benchmark's figures."""

import pytest

from benchmarks.switch_core_beats import core_beats, latency_cycles, meter_board
from benchmarks.switch_overlay_beats import overlay_beats

pytestmark = [pytest.mark.slow, pytest.mark.nightly]


@pytest.fixture(scope="module")
def board():
    with meter_board() as meter:
        yield meter


def test_beats_taken(board):
    found = core_beats(board)
    assert found
    for name, figures in found.items():
        assert figures["beats_taken"] >= 0.99, f"{name}: {figures}"


def test_the_overlay_takes_what_its_port_out_allows():
    found = overlay_beats()
    assert found
    for name, figures in found.items():
        assert figures["beats_taken"] >= 0.99 * figures["bound"], f"{name}: {figures}"


def test_latency(board):
    assert 0 < latency_cycles(board) <= 24

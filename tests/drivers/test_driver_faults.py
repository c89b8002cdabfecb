"""Drivers that are closed, and interrupts that are lost: named, and the board is usable behind."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.driver_overhead import instant_thc, instant_vision
from drivers.errors import BoardClosed, BoardTimeout, DriverClosed, InterruptLost
from drivers.selftest_steps import DATA
from drivers.thc import ThcAggregator, ThcEncoder
from drivers.vision import VisionEngine
from eyas.interfaces.thc.formats import LookupTable
from eyas.interfaces.vision.program_file import Program

TABLE = LookupTable(range(16))
PICTURES = np.zeros((3, 32, 32, 3), np.int8)
WORDS, FACTORS = np.zeros((1, 1024), np.int16), np.ones(1, np.int64)
DRAW = {"seed": 1, "step": 1, "worker": 0}
PACKED = np.zeros((2, 64), np.uint8)


@pytest.fixture(scope="module")
def program() -> Program:
    return Program.load(DATA / "network.eyas")


VISION_CALLS = {
    "load a program": lambda driver: driver.load(Program.load(DATA / "network.eyas")),
    "infer": lambda driver: driver.infer(PICTURES),
    "probe": lambda driver: driver.probe(PICTURES[0], 0),
    "read the counters": lambda driver: driver.layer_counters(),
}


@pytest.mark.parametrize("action", VISION_CALLS)
def test_a_closed_vision_driver_is_named(program, action):
    board = instant_vision()
    driver = VisionEngine(board)
    driver.load(program)
    driver.infer(PICTURES)
    driver.close()
    driver.close()
    with pytest.raises(DriverClosed, match=f"Cannot {action}: the vision driver is closed; make"):
        VISION_CALLS[action](driver)
    with pytest.raises(DriverClosed, match="read the counters"):
        driver.counters()
    with VisionEngine(board) as again:
        again.load(program)
        assert len(again.infer(PICTURES).logits) == 3


THC_CALLS = {
    "open a job": lambda driver: driver.open(TABLE, 2),
    "close a job": lambda driver: driver.close_job(),
    "aggregate": lambda driver: driver.aggregate(PACKED, 128),
}


@pytest.mark.parametrize("action", THC_CALLS)
def test_a_closed_aggregator_is_named(action):
    board = instant_thc()
    driver = ThcAggregator(board)
    driver.open(TABLE, 2)
    driver.close()
    driver.close()
    with pytest.raises(DriverClosed, match=f"Cannot {action}: the THC driver is closed; make"):
        THC_CALLS[action](driver)
    with ThcAggregator(board) as again:
        again.open(TABLE, 2)
        assert again.aggregate(PACKED, 128).shape == (128,)


def test_a_closed_encoder_is_named():
    with ThcEncoder(instant_thc()) as driver:
        assert driver.encode(WORDS, FACTORS, TABLE, **DRAW).shape == (1, 512)
    with pytest.raises(DriverClosed, match="Cannot encode"):
        driver.encode(WORDS, FACTORS, TABLE, **DRAW)


@pytest.mark.parametrize("driver", [VisionEngine, ThcAggregator])
def test_a_board_closed_under_its_driver(driver, program):
    board = instant_vision() if driver is VisionEngine else instant_thc()
    unit = driver(board)
    board.close()
    with pytest.raises(BoardClosed, match="the board is closed; open a new one"):
        unit.load(program) if driver is VisionEngine else unit.open(TABLE, 2)
    unit.close()


def losing(board, monkeypatch, ended: bool):
    """Let ``board`` lose interrupts; ``ended`` says whether the jobs end all the same."""
    real = board._wait_interrupt

    def wait(timeout_s, waiting_for):
        if ended:
            real(timeout_s, waiting_for)
        raise BoardTimeout(waiting_for, timeout_s)

    monkeypatch.setattr(board, "_wait_interrupt", wait)


@pytest.mark.parametrize("ended", [True, False])
def test_a_lost_interrupt_of_a_picture(program, monkeypatch, ended):
    """The record tells a job that hangs from an interrupt that did not come."""
    board = instant_vision()
    with VisionEngine(board) as driver:
        driver.load(program)
        with monkeypatch.context() as patch:
            losing(board, patch, ended)
            with pytest.raises(BoardTimeout, match="picture 0") as caught:
                driver.infer(PICTURES, timeout_s=0.25)
        assert isinstance(caught.value, InterruptLost) == ended
        assert (caught.value.waiting_for, caught.value.timeout_s) == ("picture 0", 0.25)
        assert ("its record is there" in str(caught.value)) == ended
        assert len(driver.infer(PICTURES).logits) == 3


@pytest.mark.parametrize("ended", [True, False])
def test_a_lost_interrupt_of_a_load(program, monkeypatch, ended):
    board = instant_vision()
    with VisionEngine(board) as driver:
        with monkeypatch.context() as patch:
            losing(board, patch, ended)
            with pytest.raises(BoardTimeout, match="program 'selftest' to load") as caught:
                driver.load(program)
        assert isinstance(caught.value, InterruptLost) == ended
        assert driver.program is None
        driver.load(program)
        assert len(driver.infer(PICTURES).logits) == 3


@pytest.mark.parametrize("ended", [True, False])
def test_a_lost_interrupt_of_a_sum(monkeypatch, ended):
    board = instant_thc()
    with ThcAggregator(board) as driver:
        driver.open(TABLE, 2)
        with monkeypatch.context() as patch:
            losing(board, patch, ended)
            with pytest.raises(BoardTimeout, match="the sum of 2 contributions") as caught:
                driver.aggregate(PACKED, 128)
        assert isinstance(caught.value, InterruptLost) == ended
        driver.open(TABLE, 2)
        assert driver.aggregate(PACKED, 128).shape == (128,)

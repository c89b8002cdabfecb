"""Checks scripts for Vivado with a plain Tcl: what is not Tcl itself is logged and answered."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

__all__ = [
    "Answers",
    "TclFault",
    "check_constraints",
    "check_refusals",
    "check_script",
    "interpreter",
]

# Command to the options it may have here.
SCRIPT_COMMANDS: dict[str, set[str]] = {
    "read_verilog": set(),
    "read_xdc": set(),
    "synth_design": {"-top", "-part"},
    "opt_design": set(),
    "place_design": set(),
    "phys_opt_design": set(),
    "route_design": set(),
    "report_utilization": {"-hierarchical", "-file"},
    "report_clock_networks": {"-file"},
    "report_timing_summary": {"-max_paths", "-file", "-return_string"},
    "report_drc": {"-file"},
    "write_checkpoint": {"-force"},
    "get_clocks": set(),
    "check_timing": {"-return_string"},
    "get_timing_paths": {"-delay_type", "-max_paths"},
    "get_property": set(),
    "write_bitstream": {"-force", "-bin_file"},
}
CONSTRAINT_COMMANDS: dict[str, set[str]] = {
    "create_clock": {"-name", "-period"},
    "set_input_jitter": set(),
    "set_false_path": {"-through"},
    "get_pins": set(),
}
ORDER = (
    "read_verilog", "read_xdc", "synth_design", "opt_design", "place_design", "phys_opt_design",
    "route_design", "report_timing_summary", "check_timing", "get_timing_paths", "write_bitstream",
)  # fmt: skip
"""Each of these is there, and all of one kind come before all of the next."""

TABLE = """\
| Design Timing Summary
| ---------------------

    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)      THS(ns)  \
THS Failing Endpoints  THS Total Endpoints     WPWS(ns)     TPWS(ns)  TPWS Failing Endpoints  \
TPWS Total Endpoints
    -------      -------  ---------------------  -------------------      -------      -------  \
---------------------  -------------------     --------     --------  ----------------------  \
--------------------
    {self.setup!s:>7}        0.000                      0                 1234      \
{self.hold!s:>7}        0.000                      0                 1234     {self.pulse:>8}  \
      0.000                       0                   567


"""
"""As Vivado prints it."""

_PRELUDE = """
proc unknown {args} {
    puts $::log [join $args \\x1f]
    switch -- [lindex $args 0] {
        get_clocks { return "%(clocks)s" }
        check_timing { return "%(checks)s" }
        get_timing_paths { return "%(paths)s" }
        report_timing_summary { return "%(summary)s" }
        get_property { return [expr {[incr ::asked] == 1 ? %(setup)s : %(hold)s}] }
        get_pins { return [lindex $args 1] }
    }
}
set ::asked 0
set ::log [open log.txt w]
foreach command {exec exit open socket source load cd} { rename $command kept_$command }
set code [catch {
%(script)s
} message]
foreach command {exec exit open socket source load cd} { rename kept_$command $command }
close $::log
puts stderr $message
"""
_WITH_TKINTER = "import sys, tkinter; tkinter.Tcl().eval(open(sys.argv[1]).read())"


class TclFault(AssertionError):
    """What is wrong with a script."""


@dataclass(frozen=True)
class Answers:
    """What the script is told by the tool."""

    clocks: str = "fclk0"
    no_clock: int = 0
    paths: str = "path"
    setup: float | str = 0.1
    hold: float | str = 0.1
    pulse: str = "3.750"
    checks: str = field(default="")
    summary: str = field(default="")

    def text(self) -> str:
        return self.checks or (
            f"1. checking no_clock ({self.no_clock})\\n2. checking constant_clock (0)"
        )

    def table(self) -> str:
        """The part of the timing summary that tells of the whole design."""
        return self.summary or TABLE.format(self=self)


def interpreter() -> list[str] | None:
    """A plain Tcl: tclsh, or Python's own; None when there is neither."""
    if tclsh := shutil.which("tclsh"):
        return [tclsh]
    if importlib.util.find_spec("_tkinter"):
        return [sys.executable, "-c", _WITH_TKINTER]
    return None


def _run(script: str, folder: Path, answers: Answers) -> tuple[list[list[str]], str]:
    """Run ``script``; return the commands that are not Tcl's, and how it ended."""
    tcl = interpreter()
    assert tcl is not None
    (folder / "script.txt").write_text(script)
    (folder / "complete.tcl").write_text(
        "set f [open script.txt]; set t [read $f]; close $f; puts [info complete $t]"
    )
    done = _call(tcl, folder, "complete.tcl")
    if done.stdout.strip() != "1":
        raise TclFault("the script is not complete: a brace, bracket or quote is open")
    values = {
        "clocks": answers.clocks, "checks": answers.text(), "paths": answers.paths,
        "summary": answers.table(),
        "setup": answers.setup, "hold": answers.hold, "script": script,
    }  # fmt: skip
    (folder / "run.tcl").write_text(_PRELUDE % values)
    done = _call(tcl, folder, "run.tcl")
    log = (folder / "log.txt").read_text().splitlines()
    return [line.split("\x1f") for line in log], done.stderr.strip()


def _call(tcl: list[str], folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*tcl, name], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )


def _allowed(log: list[list[str]], commands: dict[str, set[str]]) -> None:
    for name, *arguments in log:
        if name not in commands:
            raise TclFault(f"{name} is not a command for this script")
        for item in arguments:
            if re.match(r"-[a-z]", item) and item not in commands[name]:
                raise TclFault(f"{name} has no option {item} here")


def check_script(script: str, folder: Path, scratch: Path, answers: Answers | None = None) -> str:
    """Check a build script whose files stand in ``folder``; return its error message, or "".

    Raises TclFault for an incomplete script, a command or an option that is not on the list, a
    file that is not there, a wrong order, or a bitstream in spite of an error.
    """
    log, message = _run(script, scratch, answers or Answers())
    _allowed(log, SCRIPT_COMMANDS)
    names = [name for name, *_ in log]
    for name, *arguments in log:
        if name.startswith("read_") and not (folder / arguments[-1]).is_file():
            raise TclFault(f"{name}: there is no file {arguments[-1]}")
    if message:
        if "write_bitstream" in names:
            raise TclFault(f"a bitstream in spite of: {message}")
        return message
    for name in ORDER:
        if name not in names:
            raise TclFault(f"{name} is missing")
    for before, after in pairwise(ORDER):
        last = len(names) - 1 - names[::-1].index(before)
        if last > names.index(after):
            raise TclFault(f"{before} comes after {after}")
    if names[-1] != "write_bitstream":
        raise TclFault(f"{names[-1]} comes after write_bitstream")
    if [item for item in log if item[:1] == ["get_timing_paths"]] != [
        ["get_timing_paths", "-delay_type", kind, "-max_paths", "1"] for kind in ("max", "min")
    ]:
        raise TclFault("setup and hold are not both looked at")
    return ""


def check_refusals(script: str, folder: Path, scratch: Path) -> None:
    """Check that a build script makes no bitstream of a design that is late or not clocked."""
    for what, answers in (
        ("a late path", Answers(setup=-0.1)),
        ("a hold violation", Answers(hold=-0.1)),
        ("a short pulse", Answers(pulse="-0.100")),
        ("a pin without a clock", Answers(no_clock=1)),
        ("no clock", Answers(clocks="")),
    ):
        if not check_script(script, folder, scratch, answers):
            raise TclFault(f"{what} is accepted")


def check_constraints(xdc: str, verilog: str, scratch: Path) -> dict[str, float]:
    """Check constraints of a top with the given Verilog; return clock names and periods in ns.

    Raises TclFault as :func:`check_script`, and for a pin that is not in the Verilog.
    """
    log, message = _run(xdc, scratch, Answers())
    if message:
        raise TclFault(message)
    _allowed(log, CONSTRAINT_COMMANDS)
    clocks = {}
    for name, *arguments in log:
        if name == "get_pins":
            cell, pin, _ = re.fullmatch(r"(\w+)/(\w+)\[(\d+)\]", arguments[0]).groups()  # type: ignore[union-attr]
            instance = re.search(rf"^  \w+ {cell} \((.*?)^  \);", verilog, re.DOTALL | re.MULTILINE)
            if instance is None or f".{pin}(" not in instance[1]:
                raise TclFault(f"the design has no pin {cell}/{pin}")
        if name == "create_clock":
            options = dict(zip(arguments[:-1:2], arguments[1:-1:2], strict=True))
            clocks[options["-name"]] = float(options["-period"])
    return clocks

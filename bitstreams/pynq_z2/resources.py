"""What each board top takes of the chip, as a page of the documentation that tests compare.

``python -m bitstreams.pynq_z2.resources [OVERLAY …]`` measures the overlays named (all when none
is) and writes their rows of ``docs/resources.md``; it takes minutes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from bitstreams.pynq_z2.designs import DESIGNS
from bitstreams.synthesis import XC7Z020, SynthesisReport, synthesize
from eyas.interfaces.files import write_atomically

__all__ = ["COLUMNS", "PAGE", "TOLERANCE", "differences", "measure", "page", "rows"]

PAGE = Path(__file__).resolve().parents[2] / "docs/resources.md"
COLUMNS = {"lut": "LUT", "ff": "FF", "bram36": "BRAM36", "dsp": "DSP48E1"}
TOLERANCE = 0.03
"""Share by which LUTs and flip-flops may differ from the page; block RAM and DSP may not."""
TIMEOUT = 3600
"""Seconds that a synthesis may take; on an idle core it takes minutes."""

_TEXT = """\
# Resources

Each overlay in its default configuration, inside the processing system, as `eyas bitstream` builds
it. **Synthesis estimate** by {tool}: nothing is placed or routed, and
no clock frequency follows from it.

| overlay | {titles} |
| --- |{rule}
{rows}
| *xc7z020 has* | {chip} |

`python -m bitstreams.pynq_z2.resources` writes this page. CI synthesises again and compares: LUT
and FF within {tolerance:.0%}, BRAM36 and DSP48E1 exactly.
"""


def measure(name: str) -> SynthesisReport:
    """Synthesise the board top of ``name`` in its default configuration."""
    from bitstreams.pynq_z2.top import BoardTop

    return synthesize(BoardTop(DESIGNS[name].create()), top=name, timeout=TIMEOUT)


def page(figures: Mapping[str, Mapping[str, float]], tool: str) -> str:
    """Return the page with a row for each overlay in ``figures``."""

    def cells(values: Mapping[str, float]) -> str:
        return " | ".join(f"{values[name]:,g}" for name in COLUMNS)

    return _TEXT.format(
        tool=tool,
        titles=" | ".join(COLUMNS.values()),
        rule=" ---: |" * len(COLUMNS),
        rows="\n".join(f"| {name} | {cells(values)} |" for name, values in figures.items()),
        chip=cells(XC7Z020),
        tolerance=TOLERANCE,
    )


def rows(text: str) -> dict[str, dict[str, float]]:
    """Return the figures of each overlay on the page ``text``."""
    found = {}
    for name, cells in re.findall(r"^\| (\w+) \|((?: [\d,.]+ \|)+)$", text, re.MULTILINE):
        values = [float(cell.replace(",", "")) for cell in cells.split("|") if cell.strip()]
        found[name] = dict(zip(COLUMNS, values, strict=True))
    return found


def differences(expected: Mapping[str, float], found: SynthesisReport) -> list[str]:
    """Return what of ``found`` is not what the page says, beyond the tolerance."""
    wrong = []
    for name, title in COLUMNS.items():
        value = getattr(found, name)
        allowed = TOLERANCE * expected[name] if name in ("lut", "ff") else 0
        if abs(value - expected[name]) > allowed:
            wrong.append(f"{title}: {value:g}, the page says {expected[name]:g}")
    return wrong


def _main(names: list[str]) -> None:
    if unknown := sorted(set(names) - set(DESIGNS)):
        raise SystemExit(f"There is no overlay {', '.join(unknown)}; there is {', '.join(DESIGNS)}")
    figures = rows(PAGE.read_text()) if PAGE.exists() else {}
    tool = ""
    for name in names or DESIGNS:
        print(f"Synthesising {name}", flush=True)
        found = measure(name)
        figures[name] = {column: getattr(found, column) for column in COLUMNS}
        tool = found.tool
    ordered = {name: figures[name] for name in DESIGNS if name in figures}
    write_atomically(PAGE, page(ordered, tool).encode())
    print(PAGE)


if __name__ == "__main__":
    _main(sys.argv[1:])

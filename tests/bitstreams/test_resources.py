"""The page of resources: what it says can be read back, and is compared as it says."""

from pathlib import Path

import pytest

from bitstreams import synthesis
from bitstreams.pynq_z2.resources import COLUMNS, PAGE, differences, measure, page, rows
from bitstreams.synthesis import XC7Z020, SynthesisReport, synthesize_rtlil

FIGURES = {"lut": 12_345, "ff": 6_000, "bram36": 10.5, "dsp": 8}


def report(**changes: float) -> SynthesisReport:
    return SynthesisReport(**(FIGURES | changes), tool="Yosys 0")


def test_what_is_written_is_read_back() -> None:
    text = page({"vision": FIGURES, "thc": FIGURES | {"lut": 999}}, "Yosys 0")
    assert rows(text) == {"vision": FIGURES, "thc": FIGURES | {"lut": 999}}
    assert "**Synthesis estimate** by Yosys 0" in text


def test_the_tolerance() -> None:
    assert differences(FIGURES, report(lut=12_715, ff=5_821)) == []
    assert differences(FIGURES, report(lut=12_728)) == ["LUT: 12728, the page says 12345"]
    assert differences(FIGURES, report(bram36=11.0, dsp=9)) == [
        "BRAM36: 11, the page says 10.5",
        "DSP48E1: 9, the page says 8",
    ]


def test_the_page_is_whole_and_fits_the_chip() -> None:
    text = PAGE.read_text()
    found = rows(text)
    assert {"vision", "thc"} <= set(found)
    for name, values in found.items():
        for column in COLUMNS:
            assert 0 <= values[column] <= XC7Z020[column], (name, column)
    tool = text.split("**Synthesis estimate** by ")[1].split(":")[0]
    assert page(found, tool) == text, "python -m bitstreams.pynq_z2.resources writes this page"


@pytest.mark.synth
@pytest.mark.slow
def test_thc_is_as_the_page_says() -> None:
    assert differences(rows(PAGE.read_text())["thc"], measure("thc")) == []


def test_counts_are_kept_by_content(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same design is counted once; another, or a damaged result, is counted again."""
    monkeypatch.setenv("EYAS_CACHE", str(tmp_path))
    runs: list[str] = []

    def run(rtlil: str, script: str, top: str, timeout: float) -> tuple[dict[str, int], str]:
        runs.append(rtlil)
        return {"LUT6": len(runs)}, "Yosys 0"

    monkeypatch.setattr(synthesis, "_run", run)
    assert [synthesize_rtlil("a").lut, synthesize_rtlil("a").lut] == [1, 1]
    assert [synthesize_rtlil("b").lut, synthesize_rtlil("a", top="other").lut] == [2, 3]
    for path in tmp_path.rglob("*.json"):
        path.write_bytes(path.read_bytes()[:-1])
    assert synthesize_rtlil("a").lut == 4
    assert len(runs) == 4

"""The page of resources: what it says can be read back, and is compared as it says."""

import pytest

from bitstreams.pynq_z2.resources import COLUMNS, PAGE, differences, measure, page, rows
from bitstreams.synthesis import XC7Z020, SynthesisReport

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

"""eyas verilog and eyas report."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bitstreams.synthesis import SynthesisError, SynthesisReport, synthesize_rtlil
from eyas.interfaces.switch.config import LARGE_SWITCH
from eyas.interfaces.thc.config import DEFAULT_THC
from eyas.interfaces.vision.config import SMALL_VISION


@pytest.mark.parametrize(
    ("overlay", "config", "parameters"),
    [
        ("vision", "small", SMALL_VISION),
        ("thc", "default", DEFAULT_THC),
        ("switch", "large", LARGE_SWITCH),
    ],
)
def test_verilog_and_its_description_agree(
    eyas, tmp_path: Path, overlay: str, config: str, parameters: Any
) -> None:
    folder = tmp_path / "new" / "folder"
    answer = eyas("verilog", overlay, "-o", folder, "--config", config)
    assert answer.code == 0, answer.err
    files = folder / f"{overlay}.v", folder / f"{overlay}.json"
    assert answer.out.splitlines() == [str(file) for file in files]
    described = json.loads(files[1].read_text())
    assert described["parameters"] == parameters.as_dict()
    source = files[0].read_text()
    head = re.search(rf"^module {overlay}\((.*?)\);", source, re.MULTILINE | re.DOTALL)
    assert head is not None, f"there is no module {overlay}"
    names = {item["name"] for item in described["ports"]}
    assert set(re.findall(r"\w+", head[1])) == names
    assert {"aclk", "aresetn", "interrupt", "s_axi_awaddr", "m_axi_rdata"} <= names


def test_a_folder_that_cannot_be(eyas, tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    answer = eyas("verilog", "vision", "-o", place / "folder")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == f"eyas: {place / 'folder'} cannot be a folder: {place} is a file\n"


def test_a_configuration_of_another_overlay(eyas, tmp_path: Path) -> None:
    answer = eyas("verilog", "switch", "-o", tmp_path / "folder", "--config", "small")
    assert (answer.code, answer.out) == (2, "")
    assert "the switch overlay has no configuration 'small'; it has default and large" in answer.err
    assert not (tmp_path / "folder").exists()


def stand_in(monkeypatch: pytest.MonkeyPatch, found: SynthesisReport) -> None:
    """Yosys takes minutes on the overlay; here its answer is given."""
    monkeypatch.setattr("hdl.overlays.vision.VisionOverlay", lambda config: config)
    monkeypatch.setattr("bitstreams.synthesis.synthesize", lambda *args, **kwargs: found)


def test_report_as_json(eyas, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, SynthesisReport(1000, 2000, 10.5, 36, "Yosys 0"))
    answer = eyas("report", "vision", "--json")
    assert answer.code == 0
    assert json.loads(answer.out) == {
        "overlay": "vision", "config": "default",
        "lut": 1000, "ff": 2000, "bram36": 10.5, "dsp": 36, "tool": "Yosys 0",
        "chip": {"lut": 53_200, "ff": 106_400, "bram36": 140, "dsp": 220},
        "share": {"lut": 1000 / 53_200, "ff": 2000 / 106_400, "bram36": 0.075, "dsp": 36 / 220},
    }  # fmt: skip


def test_report_beside_what_the_chip_has(eyas, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, SynthesisReport(26_600, 2000, 10.5, 221, "Yosys 0"))
    answer = eyas("report", "vision")
    assert answer.code == 1, "the design does not fit"
    lines = [line.split() for line in answer.out.splitlines()]
    assert ["LUT", "26,600", "53,200", "50.0%"] in lines
    assert ["BRAM36", "10.5", "140", "7.5%"] in lines
    assert "Synthesis estimate by Yosys 0" in answer.out
    assert "more DSP48E1 than the chip has" in answer.err


@pytest.mark.slow
def test_yosys_counts_what_is_there() -> None:
    from amaranth.hdl import Module, Signal, signed
    from amaranth.lib import memory, wiring
    from amaranth.lib.wiring import In, Out

    from bitstreams.synthesis import synthesize

    class Example(wiring.Component):
        """One multiplier with its registers, one block RAM of 36 × 1024, 20 flip-flops."""

        a: In(signed(18))
        b: In(signed(18))
        product: Out(signed(36))
        address: In(10)
        data: Out(36)
        count: Out(20)

        def elaborate(self, platform):
            m = Module()
            m.submodules.memory = block = memory.Memory(shape=36, depth=1024, init=[])
            write, read = block.write_port(), block.read_port()
            a, b = Signal(signed(18), reset_less=True), Signal(signed(18), reset_less=True)
            m.d.comb += [read.addr.eq(self.address), read.en.eq(1), self.data.eq(read.data)]
            m.d.comb += [write.addr.eq(self.address), write.data.eq(self.a), write.en.eq(self.b[0])]
            m.d.sync += [a.eq(self.a), b.eq(self.b), self.product.eq(a * b)]
            m.d.sync += self.count.eq(self.count + 1)
            return m

    found = synthesize(Example())
    assert (found.ff, found.bram36, found.dsp) == (20, 1.0, 1)
    assert 0 < found.lut <= 40
    assert re.match(r"Yosys \d+\.\d+", found.tool)


@pytest.mark.slow
def test_a_design_that_yosys_refuses() -> None:
    with pytest.raises(SynthesisError, match=r"Yosys failed on top: .*ERROR"):
        synthesize_rtlil("module nonsense")


@pytest.mark.synth
@pytest.mark.slow
def test_the_default_overlay_keeps_its_budget() -> None:
    """Inside the PS7, which adds the bridge alone; so the page of resources is compared as well."""
    from bitstreams.pynq_z2.resources import PAGE, differences, measure, rows

    found = measure("vision")
    print(found)
    assert found.dsp <= 220
    assert found.bram36 <= 140
    assert found.lut <= 45_000
    assert differences(rows(PAGE.read_text())["vision"], found) == []


@pytest.mark.synth
@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "block_rams"),
    [("default", 80), pytest.param("large", 140, marks=pytest.mark.nightly)],
)
def test_the_switch_fits(eyas, config: str, block_rams: int) -> None:
    answer = eyas("report", "switch", "--config", config, "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    print(found)
    assert found["dsp"] == 0
    assert found["bram36"] <= block_rams
    assert found["lut"] <= 16_000

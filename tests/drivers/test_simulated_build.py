"""The cache of simulation models, with a compiler that only writes files of the right names."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest

from drivers.errors import BuildFailed, ToolMissing
from drivers.simulated import build
from drivers.simulated.build import build_model
from drivers.simulated.model import Model
from eyas.cache import cache_folder
from tests.drivers.designs.copy_engine import FULL, LITE, In

COMPILER = """
while [ $# -gt 0 ]; do
    case "$1" in
        -E) echo "a host of the test" >&2; exit 0;;
        -shared) linking=1;;
        -o) shift; output="$1";;
    esac
    shift
done
[ -n "$linking" ] && echo linked >> {folder}/linked
sleep {sleep}
echo object > "$output"
"""


def design(missing=None, body=""):
    """Return a module with the ports of an overlay and nothing behind them."""
    ports = {"aclk": (In, 1), "aresetn": (In, 1), "interrupt": (None, 1)}
    ports |= {f"s_axi_{name}": port for name, port in LITE.items()}
    ports |= {f"m_axi_{name}": port for name, port in FULL.items()}
    ports = [
        f"{'input' if flow == In else 'output'} [{width - 1}:0] {name}"
        for name, (flow, width) in ports.items()
        if name != missing
    ]
    return f"module dummy #(parameter N = 1) ({', '.join(ports)});\n{body}\nendmodule\n"


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Install the test's compiler and an empty cache; returns a function to change the former."""
    path = tmp_path / "compiler"

    def install(text=COMPILER, sleep=0):
        path.write_text("#!/bin/sh\n" + text.format(folder=tmp_path, sleep=sleep))
        path.chmod(0o755)

    install()
    monkeypatch.setenv("CXX", str(path))
    monkeypatch.setenv("EYAS_CACHE", str(tmp_path / "cache"))
    return install


def linked(tmp_path):
    path = tmp_path / "linked"
    return len(path.read_text().split()) if path.exists() else 0


def left_over(tmp_path):
    """Names in the cache's model folder, without those of locks and finished models."""
    names = {path.name for path in (tmp_path / "cache" / "models").iterdir()}
    return {name for name in names if "." in name and not name.endswith(".lock")}


def test_built_once(compiler, tmp_path):
    steps = []
    library = build_model(design(), top="dummy", progress=lambda *step: steps.append(step))
    assert library.read_text() == "object\n"
    assert "verilator" in (library.parent / "build.log").read_text()
    assert {path.name for path in library.parent.iterdir()} == {
        "build.log", "model.so", "model.so.sha256",
    }  # fmt: skip
    fractions = [fraction for _, fraction in steps]
    assert fractions == sorted(fractions)
    assert (steps[0], steps[-1]) == (("Verilator", 0.0), ("done", 1.0))
    steps.clear()
    again = build_model(design(), top="dummy", progress=lambda *step: steps.append(step))
    assert (again, steps, linked(tmp_path)) == (library, [], 1)
    assert not left_over(tmp_path)


def test_what_the_model_depends_on(compiler, tmp_path, monkeypatch):
    models = {build_model(design(), top="dummy")}
    models.add(build_model(design(body="// more"), top="dummy"))
    models.add(build_model(design(), top="dummy", parameters={"N": 2}))
    models.add(build_model(design(), top="dummy", parameters={"N": 3}))
    models.add(build_model(design(), top="dummy", trace="vcd"))
    compiler(COMPILER.replace("a host", "another host"))
    models.add(build_model(design(), top="dummy"))
    harness = tmp_path / "harness.cpp"
    top, old, dram = build._SOURCES
    harness.write_text(old.read_text() + "// changed")
    monkeypatch.setattr(build, "_SOURCES", (top, harness, dram))
    models.add(build_model(design(), top="dummy"))
    monkeypatch.setattr(build, "_RECIPE", "another")
    models.add(build_model(design(), top="dummy"))
    monkeypatch.setenv("CXX", f"{os.environ['CXX']} -g")
    models.add(build_model(design(), top="dummy"))
    assert len(models) == 9
    assert linked(tmp_path) == 9


def test_the_recipe_of_the_key_is_the_one_that_runs(compiler, tmp_path, monkeypatch):
    """An edit of this module after its import changes nothing that is built, so no key either."""
    first = build_model(design(), top="dummy")
    edited = tmp_path / "build.py"
    edited.write_text("# edited")
    monkeypatch.setattr(build, "__file__", str(edited))
    assert build_model(design(), top="dummy") == first


DAMAGES = {
    "empty": lambda data: b"",
    "cut short": lambda data: data[: len(data) // 2],
    "a byte differs": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "longer": lambda data: data + b"more",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_built_again(compiler, tmp_path, caplog, damage):
    library = build_model(design(), top="dummy")
    library.write_bytes(DAMAGES[damage](library.read_bytes()))
    assert build_model(design(), top="dummy") == library
    assert library.read_text() == "object\n"
    assert [record.getMessage() for record in caplog.records] == [
        f"{library.parent} is damaged; it is made again"
    ]
    caplog.clear()
    assert build_model(design(), top="dummy") == library
    assert (linked(tmp_path), caplog.records) == (2, [])


@pytest.mark.parametrize("what", ["model.so", "model.so.sha256"])
def test_a_model_that_lost_a_file_is_built_again(compiler, tmp_path, caplog, what):
    library = build_model(design(), top="dummy")
    (library.parent / what).unlink()
    assert build_model(design(), top="dummy").read_text() == "object\n"
    assert (linked(tmp_path), len(caplog.records)) == (2, 1)


def test_something_else_in_a_models_place(compiler, tmp_path):
    folder = build_model(design(), top="dummy").parent
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.write_text("a file")
    assert build_model(design(), top="dummy").read_text() == "object\n"


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_object_of_the_run_time_library(compiler, tmp_path, caplog, damage):
    """It is kept for all designs: one that is damaged would spoil each of them."""
    build_model(design(), top="dummy")
    (objects,) = (tmp_path / "cache" / "runtime").iterdir()
    target = objects / "verilated.o"
    target.write_bytes(DAMAGES[damage](target.read_bytes()))
    build_model(design(body="// another"), top="dummy")
    assert target.read_text() == "object\n"
    assert [record.getMessage() for record in caplog.records] == [
        f"{target} is damaged; it is made again"
    ]
    caplog.clear()
    build_model(design(body="// a third"), top="dummy")
    assert caplog.records == []


def test_the_line_is_on_standard_error_of_any_program(compiler, tmp_path):
    library = build_model(design(), top="dummy")
    library.write_bytes(b"")
    (tmp_path / "design.v").write_text(design())
    code = (
        "import sys; from pathlib import Path; from drivers.simulated.build import build_model\n"
        "build_model(Path(sys.argv[1]).read_text(), top='dummy')"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "design.v")]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert answer.stderr == f"{library.parent} is damaged; it is made again\n"


def test_a_whole_model_that_cannot_be_loaded(compiler, tmp_path):
    """As after a move to a machine with other libraries; here it never was a library."""
    library = build_model(design(), top="dummy")
    with pytest.raises(BuildFailed, match=rf"cannot be loaded .*; delete {library.parent} to have"):
        Model(library, np.zeros(8, np.uint8), 0)


def test_a_compiler_that_writes_nothing(compiler, tmp_path):
    compiler("exit 0")
    with pytest.raises(BuildFailed, match="ended without an error and wrote no"):
        build_model(design(), top="dummy")


def test_a_compiler_that_cannot_be_run(compiler, tmp_path, monkeypatch):
    (tmp_path / "compiler").write_bytes(b"\x7fELF, and nothing behind it")
    with pytest.raises(BuildFailed, match=r"compiler cannot be run \(Exec format error\); set CXX"):
        build_model(design(), top="dummy")


def test_two_processes_build_once(compiler, tmp_path):
    compiler(sleep=0.2)
    (tmp_path / "design.v").write_text(design())
    code = (
        "import sys; from pathlib import Path; from drivers.simulated.build import build_model\n"
        "steps = []\n"
        "print(build_model(Path(sys.argv[1]).read_text(), top='dummy',\n"
        "                  progress=lambda step, _: steps.append(step)), len(steps))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "design.v")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [process.communicate(timeout=120)[0].split() for process in processes]
    assert len({path for path, _ in answers}) == 1
    # Each of the others waited: one step each.
    assert [int(steps) for _, steps in answers].count(1) == 2
    assert linked(tmp_path) == 1


def test_failing_compiler_leaves_nothing_but_its_log(compiler, tmp_path):
    compiler(COMPILER + 'if [ -n "$linking" ]; then echo no space left on device; exit 1; fi')
    with pytest.raises(BuildFailed, match=r"The linker fails on the model; see .*\.log") as caught:
        build_model(design(), top="dummy")
    assert "no space left on device" in caught.value.log.read_text()
    assert left_over(tmp_path) == {caught.value.log.name}
    compiler(COMPILER)
    assert build_model(design(), top="dummy").exists()


def test_compiler_that_fails_on_one_file(compiler, tmp_path):
    compiler(
        COMPILER
        + 'if [ "$output" = harness.o ]; then echo "harness.cpp:1:2: error: none today"; exit 1; fi'
    )
    with pytest.raises(
        BuildFailed, match=r"The C\+\+ compiler fails on the model: none today; see"
    ) as caught:
        build_model(design(), top="dummy")
    assert left_over(tmp_path) == {caught.value.log.name}
    assert linked(tmp_path) == 0


def test_remains_of_a_killed_build_do_no_harm(compiler, tmp_path):
    first = build_model(design(), top="dummy").parent
    for path in first.iterdir():
        path.unlink()
    first.rmdir()
    for suffix in (".building", ".built"):
        first.with_suffix(suffix).mkdir()
        (first.with_suffix(suffix) / "model.so").write_text("half")
    assert build_model(design(), top="dummy").read_text() == "object\n"
    assert not left_over(tmp_path)


def test_killed_build_frees_its_lock(compiler, tmp_path):
    compiler(COMPILER.replace("sleep {sleep}", "[ $output = harness.o ] && sleep 60"))
    (tmp_path / "design.v").write_text(design())
    code = (
        "import sys; from pathlib import Path; from drivers.simulated.build import build_model\n"
        "build_model(Path(sys.argv[1]).read_text(), top='dummy', progress=print)"
    )
    command = [sys.executable, "-uc", code, str(tmp_path / "design.v")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        for expected in (b"Verilator", b"C++ compiler"):
            assert process.stdout.readline().startswith(expected)
        process.kill()
        process.wait(timeout=30)
        compiler()
        began = time.monotonic()
        assert build_model(design(), top="dummy").read_text() == "object\n"
        assert time.monotonic() - began < 30
    finally:
        process.stdout.close()
        with suppress(ProcessLookupError):  # its compilers may have ended
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("port", ["aclk", "interrupt", "s_axi_bresp", "m_axi_rlast"])
def test_missing_port_is_named(compiler, port):
    with pytest.raises(BuildFailed, match=f"accept the design: Pin not found: '{port}'; see"):
        build_model(design(missing=port), top="dummy")


def test_broken_verilog(compiler):
    message = "Verilator does not accept the design: syntax error, unexpected '='; see"
    with pytest.raises(BuildFailed, match=message) as caught:
        build_model(design(body="assign = 1;"), top="dummy")
    assert "assign = 1;" in caught.value.log.read_text()


def test_cache_that_cannot_be_written(compiler, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EYAS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(BuildFailed, match=r"cannot be kept in .*set EYAS_CACHE to another folder"):
        build_model(design(), top="dummy")


def test_missing_compiler(compiler, monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "")
    monkeypatch.setattr(build, "find_verilator", lambda: None)
    monkeypatch.setattr("drivers.simulated.toolchain.find_verilator", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match=r"apt install g\+\+"):
        build_model(design(), top="dummy")
    assert not (tmp_path / "cache").exists()


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("EYAS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("EYAS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert str(cache_folder()) == "/caches/eyas"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert str(cache_folder()) == "/home/someone/.cache/eyas"


def test_no_home_to_keep_models_in(monkeypatch):
    for name in ("EYAS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", no_home)
    with pytest.raises(
        BuildFailed, match=r"There is no home folder .*; set EYAS_CACHE to a folder"
    ):
        cache_folder()

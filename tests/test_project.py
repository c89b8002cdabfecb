"""The project itself: what the wheel holds, what the constraints pin, what the documents name."""

import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:  # what boards run is tested there; packaging is not
    pytest.skip("tomllib needs Python 3.11", allow_module_level=True)

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ELSEWHERE = {"pynq", "pynq-sim"}
"""Extras of environments of their own; noxfile.py has the versions that are tested."""
OURS = ("eyas", "hdl", "models", "drivers", "bitstreams")


def pins() -> dict[str, str]:
    """Package to its exact version in constraints.txt."""
    found = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            assert canonicalize_name(name) not in found, f"{name} is pinned twice"
            found[canonicalize_name(name)] = version
    return found


def requirements() -> list[Requirement]:
    """Every requirement of the environment that constraints.txt pins, but those on our extras."""
    texts = [*PROJECT["dependencies"]]
    for name, extra in PROJECT["optional-dependencies"].items():
        texts += extra if name not in ELSEWHERE else []
    return [item for item in map(Requirement, texts) if item.name != "eyas"]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_requirement_is_pinned_within_its_bound(requirement: Requirement) -> None:
    version = pins().get(canonicalize_name(requirement.name))
    assert version is not None, f"constraints.txt does not pin {requirement.name}"
    assert requirement.specifier.contains(version), f"{requirement} excludes the pinned {version}"


def test_what_the_requirements_need_is_pinned_too() -> None:
    known = pins()
    waiting, seen = [item.name for item in requirements()], set()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in seen:
            continue
        seen.add(name)
        assert name in known, f"constraints.txt does not pin {name}"
        for text in distribution(name).requires or []:
            item = Requirement(text)
            needed = item.marker is None or item.marker.evaluate({"extra": ""})
            # The NVIDIA packages of PyPI's torch are pinned by its wheel.
            if needed and not re.match(r"nvidia|cuda|triton", item.name):
                waiting.append(item.name)


def test_the_base_needs_numpy_alone() -> None:
    (numpy,) = map(Requirement, PROJECT["dependencies"])
    assert numpy.name == "numpy"
    for version in ("1.21.5", "1.26.4", pins()["numpy"]):
        assert numpy.specifier.contains(version)


def test_dev_holds_every_extra() -> None:
    extras = PROJECT["optional-dependencies"]
    (own,) = (item for item in map(Requirement, extras["dev"]) if item.name == "eyas")
    assert own.extras == set(extras) - {"dev"} - ELSEWHERE


def test_pynq_is_tested_within_its_bound() -> None:
    (bound,) = (
        item
        for item in map(Requirement, PROJECT["optional-dependencies"]["pynq"])
        if item.name == "pynq"
    )
    (tested,) = re.findall(r"^PYNQ = \[(.*)\]$", (ROOT / "noxfile.py").read_text(), re.MULTILINE)
    versions = re.findall(r'"([\d.]+)"', tested)
    assert versions == ["3.1.2", "4.0.0"]
    assert all(bound.specifier.contains(version) for version in versions)


@pytest.mark.slow
def test_the_wheel_holds_our_packages_and_no_tests(tmp_path: Path) -> None:
    # A copy: building leaves files beside the sources.
    source = tmp_path / "source"
    source.mkdir()
    for name in (*OURS, "tests", "cocotb_tests", "benchmarks"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--wheel-dir",
            str(tmp_path),
            str(source),
        ],
        check=True,
        timeout=120,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("eyas-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    modules = {name for name in names if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in modules} == set(OURS)
    ours = {
        path.relative_to(ROOT).as_posix()
        for package in OURS
        for pattern in ("*.py", "*.cpp", "*.h", "*.v", "*.eyas", "*.npz")
        for path in (ROOT / package).rglob(pattern)
    }
    assert modules == ours
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_contributing_names_every_nox_session() -> None:
    sessions = re.findall(
        r"^@(?:HERE|nox\.session\(.*\))\n(?:@.*\n)?def (\w+)",
        (ROOT / "noxfile.py").read_text(),
        re.MULTILINE,
    )
    documented = re.findall(r"^\| `(\w+)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(sessions)
    assert len(sessions) == 14


def test_every_nox_session_has_a_docstring() -> None:
    text = (ROOT / "noxfile.py").read_text()
    for match in re.finditer(r"^def (\w+)\(session: nox\.Session.*\n(.*)\n", text, re.MULTILINE):
        assert match[2].strip().startswith('"""'), f"session {match[1]} has no docstring"


def test_the_changelog_knows_the_version() -> None:
    assert f"## {PROJECT['version']} " in (ROOT / "CHANGELOG.md").read_text()

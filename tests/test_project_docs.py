"""The documents: links lead somewhere, commands and paths they name are there."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{name(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_paths_in_code_exist(page: Path) -> None:
    tops = {path.name for path in ROOT.iterdir() if path.is_dir()}
    for path in re.findall(r"`([\w.]+(?:/[\w.]+)+/?)`", page.read_text()):
        if path.split("/")[0] in tops:
            assert (ROOT / path).exists(), f"{name(page)} names {path}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_modules_run_with_m_exist(page: Path) -> None:
    for module in re.findall(
        r"python -m ((?:benchmarks|eyas|hdl|drivers)[\w.]*)", page.read_text()
    ):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_decisions_are_listed() -> None:
    folder = ROOT / "docs/decisions"
    listed = re.findall(r"\]\((\d{4}-.*?\.md)\)", (folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))


def test_commands_in_the_readme_are_real() -> None:
    from eyas.cli.application import app

    commands = {item.name or item.callback.__name__ for item in app.registered_commands}
    commands |= {group.typer_instance.info.name for group in app.registered_groups}
    text = (ROOT / "README.md").read_text()
    lines = [
        line
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
    ]
    used = set()
    for line in lines:
        words = shlex.split(line, comments=True)
        used |= {
            after for word, after in pairwise(words) if word == "eyas" or word.endswith("/eyas")
        }
    assert used, "the README shows no command"
    assert used <= commands


def test_every_test_stands_in_the_testplan() -> None:
    plan = (ROOT / "docs/testplan.md").read_text()
    found = [name(path) for top in ("tests", "cocotb_tests") for path in (ROOT / top).rglob("*.py")]
    tests = [path for path in found if Path(path).name.startswith(("test_", "bench"))]
    assert len(tests) > 20
    # The datapath's bench.py is what its benches share.
    missing = {path for path in tests if path not in plan} - {
        "cocotb_tests/vision_datapath/bench.py"
    }
    assert not missing, f"docs/testplan.md does not name {sorted(missing)}"

"""The README's commands, in their order: each parses, and reads only what one before it wrote."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from eyas.cli.application import app
from eyas.cli.fetch import CATALOGUE, Collection

README = Path(__file__).resolve().parents[2] / "README.md"


def commands() -> list[list[str]]:
    """The words of each command of "Use it", without ``eyas``."""
    section = README.read_text().partition("## Use it")[2]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block is not None
    return [shlex.split(line, comments=True)[1:] for line in block[1].splitlines()]


def parsed(words: list[str]) -> tuple[str, dict[str, object]]:
    """The command's name and its parameters; typer refuses what it does not know."""
    command, name = typer.main.get_command(app), []
    while hasattr(command, "commands"):
        name.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    return " ".join(name), command.make_context(name[-1], list(words)).params


def written(name: str, parameters: dict[str, object]) -> set[Path]:
    """Files that are there after a command."""
    if name == "demo" and parameters["keep"]:
        return {Path(parameters["keep"], f"digits.{end}") for end in ("qgraph", "eyas", "npz")}
    if name == "fetch":
        folder = Path(parameters["directory"])
        items = [Collection(each) for each in parameters["names"] or Collection]
        return {folder / file.path for item in items for file in CATALOGUE[item]}
    return {Path(parameters["output"])} if parameters.get("output") else set()


def test_each_command_finds_its_files() -> None:
    there: set[Path] = set()
    seen = set()
    for words in commands():
        name, parameters = parsed(words)
        seen.add(name)
        for key in ("model", "program_path", "pictures", "calibrate"):
            if parameters.get(key):
                assert Path(parameters[key]) in there, f"eyas {shlex.join(words)}"
        there |= written(name, parameters)
    assert {"demo", "fetch", "compile", "run", "report", "thc train", "switch run"} <= seen


def test_what_python_reads_is_there_too() -> None:
    there = set().union(*(written(*parsed(words)) for words in commands()))
    section = README.read_text().partition("## Use it")[2].partition("## Figures")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names = {Path(name) for text in blocks for name in re.findall(r'load\("([^"]+)"\)', text)}
    assert names
    assert names <= there


def test_the_parser_finds_a_wrong_option() -> None:
    with pytest.raises(Exception, match="No such option"):
        parsed(["run", "a.eyas", "--inputs", "b.npz"])

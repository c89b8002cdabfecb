"""--json carries all that the text shows: each number of the text is one of the object's."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from bitstreams.synthesis import SynthesisReport
from tests.cli.conftest import Files


def leaves(value: Any) -> Iterator[Any]:
    """All names and values in a JSON object."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from leaves(item)
    elif isinstance(value, list):
        yield len(value)
        for item in value:
            yield from leaves(item)
    else:
        yield value


def written(value: Any) -> set[str]:
    """The ways in which a text may write a value of the object."""
    if isinstance(value, bool) or value is None:
        return set()
    if isinstance(value, str):
        return set(re.findall(r"\d[\d,.]*\d|\d", value))
    forms = {f"{value:{form}}" for form in (",", ",.0f", ",.1f", ".5f", ".6f", "g", ",.10g")}
    forms |= {f"{value:.{digits}%}".rstrip("%") for digits in range(3)}
    return forms | {f"{value / 1e6:g}"}


def unexplained(text: str, found: Any) -> set[str]:
    """Numbers of the text that are nowhere in the object."""
    known = set().union(*map(written, leaves(found)))
    numbers = re.findall(r"(?<![\w.])\d[\d,.]*\d|(?<![\w.])\d", text)
    return set(numbers) - known


CASES = {
    "run": ("run", "{program}", "--input", "{pictures}", "--check"),
    "report": ("report", "vision"),
    "thc table": ("thc", "table"),
    "switch run": ("switch", "run", "--rounds", 1, "--workers", 2, "--loss", 0.05),
    "board list": ("board", "list"),
    "board info": ("board", "info", "thc", "--simulated"),
    "board selftest": ("board", "selftest", "thc", "--simulated"),
}
SLOW = ("board info", "board selftest")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in CASES]
)
def test_each_number_of_the_text_is_in_the_object(
    eyas, files: Files, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name == "report":  # Yosys takes minutes
        found = SynthesisReport(26_600, 2000, 10.5, 219, "Yosys 0.70")
        monkeypatch.setattr("hdl.overlays.vision.VisionOverlay", lambda config: config)
        monkeypatch.setattr("bitstreams.synthesis.synthesize", lambda *args, **kwargs: found)
    arguments = [
        str(item).format(program=files.program, pictures=files.pictures) for item in CASES[name]
    ]
    text, as_json = eyas(*arguments), eyas(*arguments, "--json")
    assert (text.code, as_json.code) == (0, 0), text.err
    found = json.loads(as_json.out)
    # What a run of the program takes of this machine differs from one to the next.
    shown = re.sub(r"[\d,.]+ µs", "µs", text.out)
    assert unexplained(shown, found) == set()
    if name == "run":
        assert "µs" in shown
        assert found["host_us"] > 0
    words = set(re.findall(r"[a-z][a-z_0-9]{3,}", " ".join(map(str, leaves(found)))))
    for word in {"run": ["small", "edges"], "report": ["vision", "default"], "switch run": ["esa"],
                 "board list": ["simulated", "switch"], "board info": ["slot_bytes"],
                 "board selftest": ["aggregation"]}.get(name, []):  # fmt: skip
        assert word in text.out
        assert word in words or word in " ".join(map(str, leaves(found)))


def test_the_comparison_finds_what_is_missing() -> None:
    assert unexplained("1,354 cycles, 12.5% of 3", {"cycles": 1354, "share": 0.125}) == {"3"}
    assert unexplained("17 µs", {"a": [17.0]}) == set()


def test_every_command_with_json_is_compared() -> None:
    import typer

    from eyas.cli.application import app

    def commands(group: Any, names: tuple[str, ...] = ()) -> Iterator[str]:
        for name, command in getattr(group, "commands", {}).items():
            if hasattr(command, "commands"):
                yield from commands(command, (*names, name))
            elif any("--json" in option.opts for option in command.params):
                yield " ".join((*names, name))

    # The training's object is compared with what it trained, in test_thc.
    assert set(commands(typer.main.get_command(app))) == {*CASES, "thc train"}

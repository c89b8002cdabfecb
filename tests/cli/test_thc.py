"""``eyas thc table``."""

import json
from pathlib import Path

import pytest

from tests.cli.test_main import eyas, run_python


def test_the_default_table_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--bits", "4", "--granularity", "30", "--clamp", "1/32", "--json")
    assert eyas("thc", "table", *arguments) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["table"] == [0, 3, 5, 7, 9, 11, 13, 14, 16, 17, 19, 21, 23, 25, 27, 30]
    assert found["variance"] == pytest.approx(0.01307, abs=5e-6)
    assert found["clamping"] == pytest.approx(0.00727, abs=5e-6)
    assert found["threshold"] == pytest.approx(2.1538746941)
    assert captured.err == ""


def test_the_same_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert eyas("thc", "table", "--bits", "2", "--granularity", "34", "--clamp", "0.001953125") == 0
    out = capsys.readouterr().out
    assert "0 13 21 34" in out
    assert "beyond 3.097269 standard deviations" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--bits", "5"), "An index has 2, 3 or 4 bits, not 5"),
        (("--granularity", "0"), "Granularity must be 1 to 4096, not 0"),
        (("--clamp", "3/2"), "less than 1, not 1.5"),
        (("--clamp", "few"), "'few' is no number: write 1/32 or 0.03125"),
        (("--clamp", "1/0"), "'1/0' is no number"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert eyas("thc", "table", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err


def test_the_table_needs_no_pytorch() -> None:
    done = run_python(
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from eyas.cli.main import main\n"
        "main(['thc', 'table'])\n"
    )
    assert done.returncode == 0, done.stderr
    assert "0 3 5 7" in done.stdout


def test_training_as_json_with_a_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = tmp_path / "curves.svg"
    arguments = ("--workers", "2", "--dataset", "digits", "--rounds", "6", "--json")
    assert eyas("thc", "train", *arguments, "--plot", str(plot)) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["fp32", "thc", "uthc"]
    for figures in found.values():
        assert {"accuracy", "bytes_up", "bytes_down", "rounds"} <= figures.keys()
        assert figures["rounds"] == 6
        assert figures["replicas_equal"]
    assert found["fp32"]["bytes_up"] == 8 * found["thc"]["bytes_up"]
    assert found["fp32"]["bytes_down"] == 4 * found["thc"]["bytes_down"]
    drawn = plot.read_text()
    assert "uniform THC" in drawn
    assert "MB of payload" in drawn


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--epochs", "1", "--rounds", "2"), "give one of them"),
        (("--epochs", "0"), "--epochs must be more than 0, not 0"),
        (("--learning-rate", "-1"), "--learning-rate must be more than 0, not -1"),
        (("--loss-rate", "0.1"), "The reference aggregator loses no packets"),
        (("--workers", "40", "--aggregator", "simulated"), "Packets name at most 32 workers"),
        (("--plot", "curves.txt"), "a plot is a .pdf, .png, .svg file"),
    ],
)
def test_training_refuses_what_cannot_work(
    arguments, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert eyas("thc", "train", "--dataset", "digits", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in " ".join(captured.err.split())

"""``eyas thc table``."""

import json

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
    assert "threshold 3.097269" in out


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

"""Tables at any width: numbers stand whole, names are wrapped, nothing is left out."""

import re

import numpy as np
import pytest
from rich.console import Console

from bitstreams.synthesis import SynthesisReport
from eyas.cli.common.console import show
from eyas.cli.common.table import Table
from eyas.cli.switch.command import job_table
from eyas.cli.thc import train
from eyas.cli.vision.measure import Layer
from eyas.cli.vision.run import LAYER_COLUMNS, layer_rows
from eyas.services.loopback.system import JobReport
from eyas.services.training.run import Settings

FUSED = "functional_1/activation_2/Relu"
LONG = "functional_1/activation_2/Relu;functional_1/batch_normalization_2/FusedBatchNormV3"
WIDTHS = (60, 80, 120)


def layers() -> Table:
    """As ``eyas run`` and ``eyas demo`` print it, with numbers of large networks."""
    items = [
        Layer(LONG, "depthwise_conv2d", 1_234_567, 147_456_000, 0.824, 1_000_000, 44, 31, 0),
        Layer("2", "max_pool2d", 64, 0, 0.0, 32, 0, 31, 4_321),
    ]
    return Table("net, one picture", LAYER_COLUMNS, layer_rows([i.as_dict() for i in items], 384))


def jobs() -> Table:
    """As ``eyas switch run`` prints it, with as many jobs as there can be."""
    reports = [
        JobReport(n, 200, 32, 2, 123_456 + n, 78_901, 23_456, 78, 9_012, 345_678, 1, 2, 1e7, 0.0163,
                  True, True)
        for n in range(32)
    ]  # fmt: skip
    return job_table("esa, 4 slots, rtl switch", reports)


class Curve:
    """Of training: figures as large as they get."""

    replicas_equal = True

    @staticmethod
    def as_dict() -> dict[str, float]:
        names = ("bytes_up", "bytes_down", "total_up", "total_down")
        return {"accuracy": 0.8831, "seconds": 12_345.0} | dict.fromkeys(names, 1_234_567_890_123)


def training() -> Table:
    """As ``eyas thc train`` prints it."""
    settings = Settings(
        dataset="digits", workers=4, rounds=135, batch=32, learning_rate=0.1, seed=1,
        schemes=("fp32", "thc", "uthc"), aggregator="reference", loss_rate=0.0, quorum=None,
    )  # fmt: skip
    return train._summary(settings, {name: Curve() for name in ("fp32", "thc", "uthc")})


TABLES = [layers, jobs, training]


def cells(table: Table) -> list[str]:
    return [cell for row in table.rows for cell in row[1:] if cell]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("make", TABLES)
def test_numbers_stand_whole_at_any_width(make, width: int) -> None:
    table = make()
    lines = table.lines(width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in text
    words = text.split()
    for cell in cells(table):
        for word in cell.split():
            assert words.count(word) >= 1, word
    heads = {word for name in table.columns for word in name.split()}
    assert heads <= set(words), "a column is missing"


@pytest.mark.parametrize("make", TABLES)
def test_a_row_reads_the_same_at_any_width(make) -> None:
    """All cells of a row, in order, whatever the number of tables below each other."""
    table = make()

    def rows(lines: list[str]) -> list[list[str]]:
        found = [[] for _ in table.rows]
        body, place = False, -1
        for line in lines:
            if set(line) == {"─", " "}:
                body, place, starts = True, -1, [m.start() for m in re.finditer("─+", line)]
            elif not line:
                body = False
            elif body:
                numbers = line[starts[1] :].split()
                # A line with nothing but the rest of a name continues the row above.
                place += bool(numbers) or bool(
                    place + 1 < len(table.rows) and line.startswith(table.rows[place + 1][0][:4])
                )
                found[place] += numbers
        return found

    wide = [" ".join(row[1:]).split() for row in table.rows]
    for width in (*WIDTHS, None):
        assert rows(table.lines(width)) == wide


def test_names_are_wrapped_and_whole() -> None:
    table = Table("t", ("layer", "cycles", "MACs"), ((LONG, "1,234", "147,456,000"), ("b", "", "")))
    for width in (*WIDTHS, 30):
        lines = table.lines(width)
        first = [line[:28].split("  ")[0] for line in lines]
        assert LONG in "".join(part.strip() for part in first), width


def test_the_parts_of_a_fused_layer_do_not_fill_the_table() -> None:
    """Published networks name a layer by all that was fused into it; the first part will do."""

    def names(*given: str) -> list[str]:
        layer = Layer("", "conv2d", 100, 10, 0.1, 90, 1, 1, 0).as_dict()
        return [row[0] for row in layer_rows([layer | {"name": name} for name in given], 384)]

    assert names(LONG, "b") == [FUSED, "b", "all"]
    assert names(f"{FUSED};x", f"{FUSED};y") == [f"{FUSED};x", f"{FUSED};y", "all"]


def test_fewer_tables_where_a_narrower_name_does() -> None:
    """A long name gives way before a column does."""
    rows = (("a/" * 20, *["1,234,567"] * 5), ("b", *["1"] * 5))
    table = Table("t", ("name", *"vwxyz"), rows)
    assert sum(line.startswith("─") for line in table.lines(70)) == 1


def test_a_number_wider_than_the_terminal() -> None:
    table = Table("t", ("name", "n"), (("x", "123,456,789,012"),))
    assert any("123,456,789,012" in line for line in table.lines(10))


def test_a_heading_and_a_title_are_wrapped() -> None:
    table = Table("one two three four five", ("name", "payload up"), (("x", "1"),))
    lines = table.lines(14)
    assert lines[:2] == ["one two three", "four five"]
    assert [line.split() for line in lines[2:4]] == [["payload"], ["name", "up"]]


def test_wide_characters_count_twice() -> None:
    table = Table("t", ("名前", "n"), (("層", "1"), ("x", "22")))
    assert table.lines()[1:] == ["名前   n", "────  ──", "層     1", "x     22"]


def test_columns_says_how_wide(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    show(layers())
    narrow = capsys.readouterr().out
    assert max(map(len, narrow.splitlines())) <= 60
    monkeypatch.delenv("COLUMNS")
    show(layers())  # no terminal: as wide as it is
    wide = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("─") for line in wide) == 1
    assert max(map(len, wide)) > 80


def test_markup_in_names_is_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    show(Table("[bold]t", ("name", "n"), (("[red]x[/red]", "1"),)))
    out = capsys.readouterr().out
    assert "[bold]t" in out
    assert "[red]x[/red]" in out


@pytest.mark.parametrize("width", WIDTHS)
def test_rich_consoles_print_it_too(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    Console(width=width).print(layers())
    assert capsys.readouterr().out.splitlines() == layers().lines(width)


@pytest.mark.parametrize("width", WIDTHS)
def test_commands_keep_to_the_terminal(eyas, files, width: int, monkeypatch) -> None:
    """Their tables; sentences are left to the terminal, which breaks them."""
    monkeypatch.setenv("COLUMNS", str(width))
    found = SynthesisReport(26_600, 2000, 10.5, 221, "Yosys 0")
    monkeypatch.setattr("hdl.overlays.vision.VisionOverlay", lambda config: config)
    monkeypatch.setattr("bitstreams.synthesis.synthesize", lambda *args, **kwargs: found)
    for arguments, numbers in (
        (("report", "vision"), ("26,600", "53,200", "10.5", "50.0%")),
        (("thc", "table"), ("0.02034", "0.01054", "0.00890")),
        (("run", files.program, "--input", files.pictures, "-n", 1), ("2,160", "2,520")),
    ):
        out = eyas(*arguments).out
        for number in numbers:
            assert number in out.split(), (arguments, out)
        rules = [line for line in out.splitlines() if "─" in line]
        assert rules
        assert max(map(len, rules)) <= width
        assert "…" not in out


def test_the_figures_are_those_of_the_layers() -> None:
    total = layers().rows[-1]
    assert total[:4] == ("all", "", "1,234,631", "147,456,000")
    assert np.isclose(float(total[4].rstrip("%")) / 100, 147_456_000 / 1_234_631 / 384, atol=1e-3)

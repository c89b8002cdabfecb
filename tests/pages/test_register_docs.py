"""The documentation of the registers is what their descriptions give."""

import re

import pytest

from eyas.interfaces.vision import isa as vision_isa
from eyas.interfaces.vision import records as vision_program
from eyas.interfaces.vision.registers import VISION_REGISTERS
from eyas.pages import registers as register_docs


def test_pages_are_fresh():
    assert register_docs.stale(register_docs.FOLDER) == [], (
        "run python -m eyas.pages.registers and commit what it writes"
    )


def test_stale_page_is_named(tmp_path, capsys):
    assert register_docs.main(["--folder", str(tmp_path)]) == 0
    assert register_docs.main(["--check", "--folder", str(tmp_path)]) == 0
    page = tmp_path / "vision.md"
    page.write_text(page.read_text().replace("DOORBELL", "BELL", 1))
    capsys.readouterr()
    assert register_docs.main(["--check", "--folder", str(tmp_path)]) == 1
    assert f"{page} is out of date" in capsys.readouterr().err
    page.unlink()
    assert register_docs.stale(tmp_path) == [page]


@pytest.fixture(scope="module")
def page() -> str:
    return register_docs.PAGES["vision.md"]()


def test_every_register_and_field_has_its_row(page):
    for register in VISION_REGISTERS.registers:
        section = page.split(f"### `{register.name}` at 0x{register.offset:03X}\n")[1]
        section = section.split("\n### ")[0].split("\n## ")[0]
        for field in register.fields:
            low = register.offsets[field.name]
            bits = f"{low}" if field.width == 1 else f"{low + field.width - 1}:{low}"
            assert f"\n| {bits} | `{field.name}` |" in section
        # The overview links to a heading that exists.
        anchor = re.search(rf"\[`{register.name}`\]\(#([^)]*)\)", page)[1]
        assert anchor == f"{register.name}-at-0x{register.offset:03x}"


@pytest.mark.parametrize(
    "record",
    [
        vision_program.HEADER,
        vision_program.DESCRIPTOR,
        vision_program.RESULT,
        vision_isa.PARAMETER,
        vision_isa.INSTRUCTION,
    ],
    ids=lambda record: record.name,
)
def test_record_rows_stand_where_the_record_packs_them(page, record):
    section = page.split(f"### {record.name.capitalize()}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| (\d+)(?::(\d+))? \| `(\w+)` \|", section, re.M)
    found = {}
    for word, high, low, name in rows[: len(record.fields)]:
        start = 64 * int(word) + int(low or high)
        found[name] = range(start, 64 * int(word) + int(high) + 1)
    assert list(found) == [field.name for field in record.fields]
    for field in record.fields:
        ones = record.pack({field.name: -1 if field.signed else field.maximum})
        assert ones == sum(1 << bit for bit in found[field.name])

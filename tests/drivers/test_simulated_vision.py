"""The vision overlay's board: its Verilog in the cache, and the real thing at a small shape."""

from dataclasses import replace

import pytest

import hdl.overlays.vision
from drivers.errors import BuildFailed
from drivers.simulated import verilog as cached
from drivers.simulated import vision
from drivers.simulated.vision import vision_board
from eyas.interfaces.vision.config import DEFAULT_VISION, SMALL_VISION
from eyas.interfaces.vision.registers import IDENTITY, VISION_REGISTERS


@pytest.fixture
def generated(tmp_path, monkeypatch):
    """Configurations whose Verilog was generated; boards are replaced by what they are made of."""
    configs = []

    def generate(config):
        configs.append(config)
        return f"module vision; // {config}"

    monkeypatch.setenv("EYAS_CACHE", str(tmp_path))
    monkeypatch.setattr(hdl.overlays.vision, "vision_verilog", generate)
    monkeypatch.setattr(vision, "SimulatedBoard", lambda verilog, **options: (verilog, options))
    return configs


def test_verilog_is_generated_once(generated, monkeypatch):
    steps = []
    board = vision_board(progress=lambda step, _: steps.append(step), dram_bytes=4096)
    assert steps == ["Amaranth"]
    verilog, options = board
    assert verilog == f"module vision; // {DEFAULT_VISION}"
    assert options["top"] == "vision"
    assert options["dram_bytes"] == 4096
    assert vision_board()[0] == verilog
    assert generated == [DEFAULT_VISION]


def test_what_the_verilog_depends_on(generated, monkeypatch):
    vision_board()
    vision_board(SMALL_VISION)
    vision_board(replace(SMALL_VISION, bank_words=512))
    monkeypatch.setattr(cached, "_sources", lambda *packages: b"edited")
    vision_board()
    monkeypatch.setattr(cached, "version", lambda package: "0.5.99")
    vision_board()
    assert len(generated) == 5
    vision_board()
    assert len(generated) == 5


def test_sources_are_told_apart(tmp_path, monkeypatch):
    package = tmp_path / "package_of_the_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    found = set()
    for name, text in (("a.py", "1"), ("a.py", "2"), ("b.py", "2"), ("notes.txt", "3")):
        (package / name).write_text(text)
        cached._sources.cache_clear()
        found.add(cached._sources("package_of_the_test"))
    cached._sources.cache_clear()
    assert len(found) == 3, "a change, a new file; not a file that is no source"


def test_cache_that_cannot_be_written(generated, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EYAS_CACHE", str(tmp_path / "file"))
    with pytest.raises(BuildFailed, match=r"cannot be kept in .*set EYAS_CACHE to another folder"):
        vision_board()


@pytest.mark.slow
def test_small_overlay_answers():
    shape = VISION_REGISTERS["shape"]
    with vision_board(SMALL_VISION) as board:
        assert board.read_register(VISION_REGISTERS["identity"].offset) == IDENTITY
        fields = shape.unpack(board.read_register(shape.offset))
        assert fields == {name: getattr(SMALL_VISION, name) for name in fields}
        board.run(1000)
        assert (board.read_beats, board.write_beats) == (0, 0)

"""An overlay's Verilog in the cache: by the sources on disk, whole, and told apart from others."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from drivers.errors import BuildFailed, ToolMissing
from drivers.simulated import verilog as cached
from drivers.simulated import vision
from drivers.simulated.vision import vision_board
from eyas.interfaces.switch.config import DEFAULT_SWITCH
from eyas.interfaces.thc.config import DEFAULT_THC
from eyas.interfaces.vision.config import DEFAULT_VISION, SMALL_VISION

ROOT = Path(__file__).resolve().parents[2]


def quiet(step, fraction):
    """Progress that nobody looks at."""


@pytest.fixture
def generated(tmp_path, monkeypatch):
    """Overlays and configurations whose Verilog was made; making it takes no time."""
    made = []

    def generate(name, config, log):
        made.append((name, config))
        return f"module {name}; // {config}, × {len(made)}"

    monkeypatch.setenv("EYAS_CACHE", str(tmp_path))
    monkeypatch.setattr(cached, "_generate", generate)
    return made


def test_verilog_is_made_once(generated, monkeypatch):
    monkeypatch.setattr(vision, "SimulatedBoard", lambda verilog, **options: (verilog, options))
    steps = []
    board = vision_board(progress=lambda step, _: steps.append(step), dram_bytes=4096)
    assert steps == ["Amaranth"]
    text, options = board
    assert text == f"module vision; // {DEFAULT_VISION}, × 1"
    assert options["top"] == "vision"
    assert options["dram_bytes"] == 4096
    assert vision_board()[0] == text
    assert generated == [("vision", DEFAULT_VISION)]


@dataclass(frozen=True)
class Plain:
    """A configuration that two overlays could share."""

    lanes: int = 1

    def as_dict(self):
        return {"lanes": self.lanes}


def test_what_the_verilog_depends_on(generated, monkeypatch):
    def make(name, config):
        return cached.overlay_verilog(name, config, quiet)

    texts = [make("vision", DEFAULT_VISION), make("vision", SMALL_VISION)]
    texts.append(make("vision", replace(SMALL_VISION, bank_words=512)))
    texts += [make("one", Plain()), make("other", Plain())]
    monkeypatch.setattr(cached, "_sources", lambda root: b"edited")
    texts.append(make("vision", DEFAULT_VISION))
    monkeypatch.setattr(cached, "version", lambda package: "0.5.99")
    texts.append(make("vision", DEFAULT_VISION))
    monkeypatch.setenv("AMARANTH_USE_YOSYS", "another")
    texts.append(make("vision", DEFAULT_VISION))
    assert len(generated) == len(set(texts)) == 8
    assert make("vision", DEFAULT_VISION) == texts[-1]
    assert len(generated) == 8


def test_sources_are_told_apart(tmp_path):
    package = tmp_path / "hdl"
    package.mkdir()
    (tmp_path / "models").mkdir()
    found = set()
    for name, text in (
        ("hdl/a.py", "1"),
        ("hdl/a.py", "2"),
        ("hdl/b.py", "2"),
        ("hdl/notes.txt", "3"),
        ("models/c.py", "4"),
    ):
        (tmp_path / name).write_text(text)
        found.add(cached._sources(tmp_path))
    assert len(found) == 3, "a change, a new file; no other kind of file, no other package"


def test_sources_that_change_meanwhile(generated, monkeypatch):
    """What was made while they changed is not kept, for nobody knows what it was made from."""
    states = iter([b"1", b"2", b"3", b"3"])
    monkeypatch.setattr(cached, "_sources", lambda root: next(states))
    text = cached.overlay_verilog("thc", DEFAULT_THC, quiet)
    assert text.endswith("× 2")
    (kept,) = cached.cache_folder().glob("verilog/*.v")
    assert kept.read_text() == text
    counter = iter(range(100))
    monkeypatch.setattr(cached, "_sources", lambda root: bytes([next(counter)]))
    with pytest.raises(BuildFailed, match="changed 3 times while its Verilog was made"):
        cached.overlay_verilog("thc", DEFAULT_THC, quiet)


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:-5], lambda data: b"\xff" + data[1:]]
)
def test_damaged_verilog_is_made_again(generated, caplog, damage):
    text = cached.overlay_verilog("thc", DEFAULT_THC, quiet)
    (path,) = cached.cache_folder().glob("verilog/*.v")
    path.write_bytes(damage(path.read_bytes()))
    again = cached.overlay_verilog("thc", DEFAULT_THC, quiet)
    assert again != text
    assert again.endswith("× 2")
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} is damaged; it is made again"
    ]
    assert cached.overlay_verilog("thc", DEFAULT_THC, quiet) == again


def test_cache_that_cannot_be_written(generated, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EYAS_CACHE", str(tmp_path / "file"))
    with pytest.raises(BuildFailed, match=r"cannot be kept in .*set EYAS_CACHE to another folder"):
        cached.overlay_verilog("switch", DEFAULT_SWITCH, quiet)
    assert generated == [], "half a minute's work for nothing"


def answers(monkeypatch, tmp_path, code, error=""):
    """Let the process that makes Verilog end so."""
    monkeypatch.setenv("EYAS_CACHE", str(tmp_path))
    monkeypatch.setattr(
        cached.subprocess,
        "run",
        lambda *args, **options: subprocess.CompletedProcess(args, code, b"", error.encode()),
    )


def test_without_amaranth(monkeypatch, tmp_path):
    answers(monkeypatch, tmp_path, 3)
    with pytest.raises(ToolMissing, match=r"Amaranth was not found; .*pip install 'eyas\[sim\]'"):
        cached.overlay_verilog("thc", DEFAULT_THC, quiet)


def test_the_innermost_error_is_named_and_the_rest_is_in_a_log(monkeypatch, tmp_path):
    inner = "wasmtime._error.WasmtimeError: failed to create cache directory: /proc/x"
    text = f"Traceback ...\namaranth.YosysError: Traceback ...\n{inner}\n\nCaused by:\n    none\n"
    answers(monkeypatch, tmp_path, 1, text)
    message = f"The thc overlay's Verilog could not be made: {inner}; see .*[.]log$"
    with pytest.raises(BuildFailed, match=message) as caught:
        cached.overlay_verilog("thc", DEFAULT_THC, quiet)
    assert caught.value.log.read_text() == text


SCRIPT = """
import sys
from pathlib import Path
from drivers.simulated.verilog import overlay_verilog
from eyas.interfaces.thc.config import DEFAULT_THC
if sys.argv[1:]:
    from hdl.overlays import thc
    before = thc.thc_verilog()
    path = Path(thc.__file__)
    text = path.read_text()
    edited = text.replace('"thc")', '"thx")')
    assert len(edited) == len(text) and edited != text
    path.write_text(edited)
made = overlay_verilog("thc", DEFAULT_THC, lambda step, share: print(step))
print("thx" if "module thx(" in made else "thc")
"""


@pytest.mark.slow
def test_modules_that_were_imported_before_an_edit(tmp_path):
    """Import, edit, build: neither this process nor the next gets the Verilog of before.

    The edit keeps size and, as often as not, second of the file: its .pyc file seems to be fresh.
    """
    for name in ("drivers", "hdl", "eyas"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-c", SCRIPT]
    environment = {
        **os.environ, "EYAS_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path),
    }  # fmt: skip

    def ask(*arguments):
        answer = subprocess.run(
            [*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True,
            timeout=300,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.split()

    assert ask() == ["Amaranth", "thc"]
    assert ask() == ["thc"]
    assert ask("edit") == ["Amaranth", "thx"]
    assert ask() == ["thx"]


def test_the_sources_that_are_hashed_are_all_that_verilog_is_made_from():
    """What the process imports of ours lies in the folders of the key."""
    code = (
        "import sys; import hdl.overlays.vision, hdl.overlays.switch, hdl.overlays.thc\n"
        "print(*(m.__file__ for m in list(sys.modules.values()) if getattr(m, '__file__', None)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    ours = {
        str(Path(path).relative_to(ROOT))
        for path in answer.stdout.split()
        if Path(path).is_relative_to(ROOT)
    }
    pattern = re.compile(f"({'|'.join(cached._FOLDERS)})/|eyas/__init__[.]py$")
    assert ours
    assert not [path for path in ours if not pattern.match(path)]

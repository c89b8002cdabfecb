"""The command's frame: help, version, how failures read, what is on which stream."""

import subprocess
import sys
from pathlib import Path

import pytest

from eyas.cli.common.errors import CommandError, describe
from eyas.cli.main import main

ROOT = Path(__file__).resolve().parent.parent.parent
COMMANDS = ("demo", "fetch", "compile", "run", "verilog", "report")


def eyas(*arguments: str) -> int:
    """Run the command in this process; its exit code."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)


def run_python(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert eyas("--help") == 0
    out = capsys.readouterr().out
    for name in COMMANDS:
        assert f" {name} " in out


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert eyas(command, "--help") == 0
    assert "Usage: eyas" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert eyas("--version") == 0
    assert capsys.readouterr().out.startswith("eyas ")


def test_help_loads_nothing_heavy() -> None:
    done = run_python(
        "import sys\n"
        "from eyas.cli.main import main\n"
        "try:\n    main(['run', '--help'])\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'torch', 'amaranth', 'numpy', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    assert done.returncode == 0, done.stderr


def test_without_the_cli_extra_the_remedy_is_named() -> None:
    done = run_python(
        "import sys\nsys.modules['typer'] = None\nfrom eyas.cli.main import main\nmain(['demo'])"
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "eyas: this needs the package typer, which is not installed: pip install 'eyas[cli]'\n"
    )


def test_a_foreign_package_that_hides_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/__init__.py").write_text("raise SystemExit('foreign code ran')")
    done = run_python(
        f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
        "import eyas\n"
        "from eyas import VisionEngine"
    )
    assert done.returncode == 1
    assert "Eyas needs its own package 'models'" in done.stderr
    assert str(tmp_path / "models") in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fly",), "No such command 'fly'"),
        (("report", "router"), "'router' is not"),
        (("report", "vision", "--config", "huge"), "'huge' is not one of"),
        (("compile", "net.qgraph"), "Missing option '--output'"),
    ],
)
def test_wrong_usage_is_code_2(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert eyas(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in " ".join(captured.err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (CommandError("no\n  pictures"), "no pictures"),
        (ValueError("Pictures must be int8"), "Pictures must be int8"),
        (
            FileNotFoundError(2, "No such file or directory", "a.npz"),
            "a.npz: No such file or directory",
        ),
        (KeyError("x"), "unexpected KeyError: 'x' (a fault of Eyas; EYAS_DEBUG=1 shows where)"),
        (AssertionError(), "unexpected AssertionError (a fault of Eyas; EYAS_DEBUG=1 shows where)"),
        (
            ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"),
            "this needs the package torch, which is not installed: pip install 'eyas[models]'",
        ),
    ],
)
def test_every_error_is_one_line(error: Exception, text: str) -> None:
    assert describe(error) == text


def test_errors_of_the_drivers_keep_their_words() -> None:
    from drivers.errors import ToolMissing

    message = describe(ToolMissing("make", "apt install make"))
    assert message == "make was not found; install it with: apt install make"


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EYAS_DEBUG", "1")
    missing, output = str(tmp_path / "none.qgraph"), str(tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        main(["compile", missing, "-o", output])


def test_a_log_line_reads_like_the_other_messages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as that of a damaged cache: one line, above the progress bars, in plain words."""
    import logging

    from eyas.cli.common.console import progress

    def speaks(*args: object, **options: object) -> None:
        with progress() as bars:
            bars.add_task("building", total=2)
            logging.getLogger("drivers.simulated.cache").warning("%s is damaged [x]", "model.so")
            logging.getLogger("drivers.simulated.cache").info("nobody asked")
        raise CommandError("that was it")

    monkeypatch.setattr("models.thc.table.Quantizer.optimal", speaks)
    assert eyas("thc", "table") == 2
    found = capsys.readouterr().err
    assert "eyas: model.so is damaged [x]" in [line.strip() for line in found.splitlines()]
    assert "nobody asked" not in found
    assert eyas("-v", "thc", "table") == 2
    assert "nobody asked" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("cache", [True, False])
def test_a_home_that_cannot_be_written(tmp_path: Path, cache: bool) -> None:
    """Yosys keeps itself elsewhere; a simulator has nowhere to be kept, unless EYAS_CACHE is."""
    file = tmp_path / "file"
    file.write_text("")
    environment = {"HOME": str(file / "home")}
    if cache:
        environment["EYAS_CACHE"] = str(tmp_path / "cache")

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_python(f"from eyas.cli.main import main\nmain({arguments!r})", **environment)

    done = call("verilog", "thc", "-o", str(tmp_path / "out"))
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert "module thc(" in (tmp_path / "out" / "thc.v").read_text()
    done = call("board", "info", "thc", "--simulated")
    if cache:
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("thc overlay, version")
    else:
        assert done.returncode == 2
        assert done.stderr.endswith("make room there or set EYAS_CACHE to another folder\n")
        assert done.stderr.count("\n") == 1

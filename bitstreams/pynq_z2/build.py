"""From an overlay's name to a folder with everything that a bitstream is made of, and further."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bitstreams.pynq_z2 import openxc7, vivado
from bitstreams.pynq_z2.designs import DESIGNS
from bitstreams.pynq_z2.manifest import MANIFEST, manifest
from eyas.interfaces.files import write_atomically
from eyas.interfaces.overlays import CLOCK_HZ, OVERLAYS
from eyas.pages.hwh import hwh

__all__ = ["FLOWS", "BuildError", "Flow", "Progress", "build", "write_inputs"]

Progress = Callable[[str], None]
"""Called with each step's name."""


class BuildError(RuntimeError):
    """A tool failed or is missing, or the folder cannot be used; the message is one sentence."""


@dataclass(frozen=True)
class Flow:
    """Tools that make a bitstream.

    Attributes
    ----------
    title : str
        As users know it.
    tools : tuple of str
        Programs that must be on PATH.
    version : tuple of str
        Command whose first line of output names the version.
    command : callable
        Overlay's name to the command that builds it, run in the folder.
    remedy : str
        What to do when a tool is missing.
    """

    title: str
    tools: tuple[str, ...]
    version: tuple[str, ...]
    command: Callable[[str], list[str]]
    remedy: str

    def missing(self) -> list[str]:
        """The tools that are not on PATH."""
        return [tool for tool in self.tools if shutil.which(tool) is None]


FLOWS = {
    "vivado": Flow(
        "Vivado", ("vivado",), ("vivado", "-version"), vivado.command,
        "install Vivado (its free edition knows this chip) and source its settings64.sh",
    ),
    "openxc7": Flow(
        "openXC7 (experimental)", openxc7.TOOLS, ("nextpnr-xilinx", "--version"), openxc7.command,
        "install openXC7's tools and put them on PATH",
    ),
}  # fmt: skip
"""Flows by name."""


def write_inputs(
    name: str, folder: Path, *, config: str = "default", flow: str = "vivado", progress: Progress
) -> list[str]:
    """Write everything that ``flow`` needs to ``folder``; return the files' names in order.

    NAME.v, NAME.xdc, NAME.tcl, NAME.hwh and manifest.json; NAME.sh as well for openXC7.

    Raises
    ------
    BuildError
        When the folder holds a bitstream of that name, to which other inputs would not belong.
    ValueError
        When there is no such configuration.
    """
    design, overlay = DESIGNS[name], OVERLAYS[name]
    chosen = design.config(config)
    for old in (f"{name}.bit", f"{name}.bin"):
        if (folder / old).exists():
            raise BuildError(
                f"{folder / old} is there already and would not belong to the new files; "
                f"remove it, or choose another folder"
            )
    from bitstreams.pynq_z2.platform import PynqZ2Platform
    from bitstreams.pynq_z2.top import board_verilog

    platform = PynqZ2Platform()
    progress("Verilog")
    texts = {f"{name}.v": board_verilog(design.create(config), name)}
    progress("constraints, script, hardware description")
    texts[f"{name}.xdc"] = vivado.xdc(name, CLOCK_HZ)
    texts[f"{name}.tcl"] = vivado.tcl(name, platform.part, CLOCK_HZ)
    texts[f"{name}.hwh"] = hwh(overlay, clock_hz=CLOCK_HZ)
    if flow == "openxc7":
        texts[f"{name}.sh"] = openxc7.script(name, platform.part, CLOCK_HZ)
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        write_atomically(folder / file, text.encode())
    facts = {
        "overlay": name,
        "vlnv": overlay.vlnv,
        "configuration": config,
        "parameters": chosen.as_dict(),
        "board": "PYNQ-Z2",
        "part": platform.part,
        "clock_hz": CLOCK_HZ,
        "flow": flow,
    }
    _write_manifest(folder, list(texts), facts, {})
    return [*texts, MANIFEST]


def build(name: str, folder: Path, *, flow: str, progress: Progress) -> list[str]:
    """Run ``flow`` on what :func:`write_inputs` wrote; return the new files' names.

    The tool's output goes to NAME.log; the bitstream joins the manifest.

    Raises
    ------
    BuildError
        When a tool is missing or fails, or makes no bitstream.
    """
    used = FLOWS[flow]
    if missing := used.missing():
        raise BuildError(f"{', '.join(missing)} not on PATH: {used.remedy}")
    log = folder / f"{name}.log"
    code, errors = _run(used.command(name), folder, log, progress)
    made = [file for file in (f"{name}.bit", f"{name}.bin") if (folder / file).exists()]
    if code or f"{name}.bit" not in made or not (folder / f"{name}.bit").stat().st_size:
        for file in made:
            (folder / file).unlink()
        reason = errors[0] if errors else f"exit code {code}, no bitstream"
        raise BuildError(f"{used.title} failed on {name}: {reason} (all of it: {log})")
    known = json.loads((folder / MANIFEST).read_text())
    facts = {key: known[key] for key in known if key not in _DERIVED}
    _write_manifest(folder, [*known["files"], *made], facts, {used.tools[0]: _version(used)})
    return [*made, log.name, MANIFEST]


_DERIVED = ("source_revision", "versions", "files")


def _write_manifest(
    folder: Path, files: list[str], facts: dict[str, Any], tools: dict[str, str]
) -> None:
    write_atomically(folder / MANIFEST, manifest(folder, files, facts, tools).encode())


def _run(
    command: Sequence[str], folder: Path, log: Path, progress: Progress
) -> tuple[int, list[str]]:
    """Run ``command``; return its exit code and the lines in which it speaks of errors."""
    errors: list[str] = []
    with (
        log.open("w") as kept,
        subprocess.Popen(
            command, cwd=folder, text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process,
    ):  # fmt: skip
        assert process.stdout is not None
        try:
            for line in process.stdout:
                kept.write(line)
                if line.startswith("Command: "):
                    progress(line.split()[1])
                if line.lower().startswith("error"):
                    errors.append(" ".join(line.split()))
        except BaseException:
            process.kill()
            raise
    return process.returncode, errors


def _version(flow: Flow) -> str:
    """The first line in which the tool names its version; ``unknown`` when it does not."""
    # Tools leave journals where they run.
    with suppress(OSError, subprocess.SubprocessError), TemporaryDirectory() as folder:
        done = subprocess.run(
            flow.version, capture_output=True, text=True, timeout=120, check=False,
            stdin=subprocess.DEVNULL, cwd=folder,
        )  # fmt: skip
        lines = (done.stdout + done.stderr).splitlines()
        if lines:
            return lines[0].strip()
    return "unknown"

"""``eyas verilog``: an overlay as Verilog, with its parameters and ports as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from eyas.cli.common.options import BuildConfigOption, OverlayArgument

__all__ = ["verilog"]


def verilog(
    overlay: OverlayArgument,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            file_okay=False,
            help="Folder for the two files. It is made if it is not there.",
        ),
    ],
    config: BuildConfigOption = "default",
) -> None:
    """Write an overlay's Verilog, and a JSON file with its parameters and ports.

    The module has a clock, a reset, AXI4-Lite for registers, AXI4 to DRAM, and an interrupt, all
    with their standard names.
    """
    import eyas
    from bitstreams.pynq_z2.designs import DESIGNS
    from drivers.simulated.wasm import wasm_cache
    from eyas.cli.common.console import notes, say
    from eyas.cli.common.files import check_folder
    from eyas.interfaces.files import write_atomically
    from hdl.parts.flat import flat_ports, flat_verilog

    check_folder(output)
    name, design = overlay.value, DESIGNS[overlay.value]
    core = design.create(config)
    with notes.status(f"Writing the {name} overlay as Verilog"), wasm_cache():
        source = flat_verilog(core, name)
        description = {
            "generator": f"eyas {eyas.__version__}",
            "module": name,
            "parameters": design.config(config).as_dict(),
            "ports": flat_ports(core),
        }
    output.mkdir(parents=True, exist_ok=True)
    for suffix, text in ((".v", source), (".json", json.dumps(description, indent=2) + "\n")):
        path = output / f"{name}{suffix}"
        write_atomically(path, text.encode())
        say(str(path))

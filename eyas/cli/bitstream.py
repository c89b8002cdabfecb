"""``eyas bitstream``: writes the inputs of a bitstream for the PYNQ-Z2, and builds it."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from eyas.cli.common.options import BuildConfigOption, OverlayArgument

__all__ = ["FlowName", "bitstream"]


class FlowName(str, enum.Enum):
    """Tools that make a bitstream."""

    vivado = "vivado"
    openxc7 = "openxc7"


def bitstream(
    overlay: OverlayArgument,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            file_okay=False,
            help="Folder for the files. It is made if it is not there.",
        ),
    ],
    flow: Annotated[
        FlowName,
        typer.Option(help="Tools that make the bitstream. *openxc7* is experimental."),
    ] = FlowName.vivado,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the tool's inputs, and do not run the tool.")
    ] = False,
    config: BuildConfigOption = "default",
) -> None:
    """Build an overlay's bitstream for the PYNQ-Z2, or write everything the tool needs.

    DIR then holds OVERLAY.v (the overlay inside the processing system), OVERLAY.xdc, OVERLAY.tcl,
    OVERLAY.hwh (which PYNQ reads beside the bitstream) and manifest.json; after the tool has run,
    also OVERLAY.bit and OVERLAY.bin. If the design misses its timing, the command fails and writes
    no bitstream.
    """
    from bitstreams.pynq_z2.build import FLOWS, BuildError, build, write_inputs
    from drivers.simulated.wasm import wasm_cache
    from eyas.cli.common.console import notes, say
    from eyas.cli.common.files import check_folder

    name, tools = overlay.value, FLOWS[flow.value]
    check_folder(output)
    missing = tools.missing()
    if missing:
        notes.print(
            f"{', '.join(missing)} not on PATH: {tools.title} will not be run, its inputs are "
            f"written all the same",
            soft_wrap=True,
        )
    with notes.status("") as status, wasm_cache():

        def show(step: str) -> None:
            status.update(f"{name}: {step}")

        written = write_inputs(name, output, config=config, flow=flow.value, progress=show)
        for file in written:
            say(str(output / file))
        if not dry_run and not missing:
            show(f"{tools.title} (tens of minutes)")
            for file in build(name, output, flow=flow.value, progress=show):
                say(str(output / file))
    run = " ".join(tools.command(name))
    if dry_run:
        notes.print(f"Next, where {tools.title} is: cd {output} && {run}", soft_wrap=True)
    elif missing:
        raise BuildError(f"there is no {name}.bit yet: {tools.remedy}; then, in {output}: {run}")
    else:
        notes.print(
            f"Next: copy {name}.bit and {name}.hwh, side by side, to the board", soft_wrap=True
        )

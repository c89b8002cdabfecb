"""``eyas compile``: a network to a program."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from eyas.cli.common.errors import CANNOT_ANSWER, CommandError, debugging
from eyas.cli.common.options import ConfigOption

if TYPE_CHECKING:
    from eyas.interfaces.vision.config import VisionConfig
    from eyas.interfaces.vision.program_file import Program
    from models.vision.graph import Graph

__all__ = ["compile_model"]


def compile_model(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            dir_okay=False,
            help="A TensorFlow Lite network in int8 (*.tflite*), a quantised graph (*.qgraph*), "
            "or a float network of torch.export (*.pt2*).",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where the program goes.")
    ],
    calibrate: Annotated[
        Path | None,
        typer.Option(
            "--calibrate",
            metavar="X.npz",
            dir_okay=False,
            help="Pictures (array *images*) from which the ranges of a float network are taken.",
        ),
    ] = None,
    fold: Annotated[
        bool,
        typer.Option(
            "--fold/--no-fold",
            help="Leave out channels that are the same for every picture; answers do not change.",
        ),
    ] = True,
    config: ConfigOption = "default",
) -> None:
    """Compile a network to a program for the vision engine.

    A program is for one shape of the array; driver and hardware refuse any other.  What keeps a
    network from the engine is said all at once, a line for each thing, the most serious first.
    """
    from eyas.cli.common.console import notes, say
    from eyas.cli.common.files import check_writable
    from eyas.compiler.errors import Refusal
    from eyas.interfaces.configs import named_config

    shape = cast("VisionConfig", named_config("vision", config))
    check_writable(output)
    with notes.status(f"Compiling {model.name}"):
        try:
            program = _program(model, calibrate, shape, fold)
        except Refusal as error:
            if debugging():
                raise
            for blocker in error.blockers:
                print(f"eyas: {model}: {blocker}", file=sys.stderr)
            raise typer.Exit(CANNOT_ANSWER) from error
        program.save(output)
    manifest = program.manifest
    say(
        f"{output}: {manifest.name}, {len(manifest.layers)} layers, "
        f"{manifest.folded.macs_before:,} multiply-accumulates a picture, "
        f"{len(program.image):,} bytes",
    )
    if folded := manifest.folded.channels:
        say(
            f"constant channels folded: {folded:,}; {manifest.macs:,} multiply-accumulates are left"
        )


def _program(model: Path, calibrate: Path | None, config: VisionConfig, fold: bool) -> Program:
    """The program of the network in the file ``model``; Refusal says all that is in the way."""
    from eyas.compiler import compile_graph

    suffix = model.suffix.lower()
    if suffix == ".pt2":
        return compile_graph(_quantise(model, calibrate), config, fold=fold)
    if calibrate is not None:
        raise CommandError(f"--calibrate is for .pt2 files; {model.name} is quantised already")
    if suffix == ".tflite":
        data = model.read_bytes()
        from eyas.compiler.tflite_program import compile_tflite

        return compile_tflite(data, model.stem, config, fold=fold)
    if suffix != ".qgraph":
        raise CommandError(f"{model.name}: MODEL must be a .tflite, a .qgraph or a .pt2 file")
    from models.vision.graph import Graph

    return compile_graph(Graph.load(model), config, fold=fold)


def _quantise(model: Path, calibrate: Path | None) -> Graph:
    """A float network of torch.export as a quantised graph."""
    if calibrate is None:
        raise CommandError(f"{model.name} is a float network: give --calibrate X.npz with pictures")
    if not model.is_file():
        raise CommandError(f"{model}: there is no such file")
    import torch

    from eyas.cli.common.files import load_pictures
    from eyas.compiler.importers.torch_import import from_exported

    pictures, _ = load_pictures(calibrate)
    try:
        program = torch.export.load(model)
    except Exception as error:  # torch raises many types for a file that is not its own
        raise CommandError(f"{model} is not a network that torch.export saved") from error
    return from_exported(program, pictures, name=model.stem)

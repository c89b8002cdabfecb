"""``eyas compile``: a network to a program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from eyas.cli.common.errors import CommandError
from eyas.cli.common.options import ConfigOption

if TYPE_CHECKING:
    from eyas.interfaces.vision.config import VisionConfig
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

    A program is for one shape of the array; driver and hardware refuse any other.
    """
    from eyas.cli.common.console import notes, say
    from eyas.cli.common.files import check_writable
    from eyas.compiler import compile_graph
    from eyas.interfaces.configs import named_config

    shape = cast("VisionConfig", named_config("vision", config))
    check_writable(output)
    with notes.status(f"Compiling {model.name}"):
        graph = read_graph(model, calibrate)
        program = compile_graph(graph, shape, fold=fold)
        program.save(output)
    say(
        f"{output}: {graph.name}, {len(program.manifest.layers)} layers, "
        f"{graph.macs():,} multiply-accumulates a picture, {len(program.image):,} bytes",
    )
    if folded := program.manifest.folded.channels:
        say(
            f"constant channels folded: {folded:,}; {program.manifest.macs:,} "
            "multiply-accumulates are left"
        )


def read_graph(model: Path, calibrate: Path | None) -> Graph:
    """The quantised graph in, or made from, the file ``model``."""
    suffix = model.suffix.lower()
    if suffix == ".pt2":
        return _quantise(model, calibrate)
    if calibrate is not None:
        raise CommandError(f"--calibrate is for .pt2 files; {model.name} is quantised already")
    if suffix == ".tflite":
        return _import(model)
    if suffix != ".qgraph":
        raise CommandError(f"{model.name}: MODEL must be a .tflite, a .qgraph or a .pt2 file")
    from models.vision.graph import Graph

    return Graph.load(model)


def _import(model: Path) -> Graph:
    """The network of a .tflite file."""
    data = model.read_bytes()
    from eyas.compiler.importers.tflite_import import TfliteError, import_tflite

    try:
        return import_tflite(data, model.stem)
    except TfliteError as error:
        raise CommandError(f"{model}: {error}") from error


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

"""The command's options and subcommands.

Each command's file imports what is heavy (PyTorch, Amaranth, the simulator) inside its function, so
that help answers at once and a missing extra stops only the commands that need it.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

import eyas
from eyas.cli.bitstream import bitstream
from eyas.cli.board import board
from eyas.cli.demo import demo
from eyas.cli.fetch import fetch
from eyas.cli.report import report
from eyas.cli.switch.command import switch
from eyas.cli.thc.command import thc
from eyas.cli.verilog import verilog
from eyas.cli.vision.compile import compile_model
from eyas.cli.vision.run import run

__all__ = ["app"]

app = typer.Typer(
    name="eyas",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Quantised networks on our own RTL, simulated cycle by cycle.

Start with **eyas demo**. Then: **eyas fetch** published networks, **eyas compile** one of them or
one of yours, **eyas run** the program on the simulated board, and look at the hardware with **eyas
report** and **eyas verilog**.

Results go to standard output, everything else to standard error. Exit codes: 0 done; 1 the answer
is no (a check found a difference); 2 the command could not answer. EYAS_DEBUG=1 shows tracebacks.
""",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"eyas {eyas.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log what is being done, to standard error.")
    ] = False,
) -> None:
    """Options of every command."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
    )


app.command()(demo)
app.command("compile")(compile_model)
app.command()(fetch)
app.command()(run)
app.command()(verilog)
app.command()(report)
app.command()(bitstream)
app.add_typer(thc)
app.add_typer(switch)
app.add_typer(board)

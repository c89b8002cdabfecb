"""The command's options and subcommands.

Each command's file imports what is heavy (PyTorch, Amaranth, the simulator) inside its function, so
that help answers at once and a missing extra stops only the commands that need it.
"""

from __future__ import annotations

import logging
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
    help="""Run quantised networks on our own RTL, simulated cycle by cycle.

Start with **eyas demo**. Then fetch published networks with **eyas fetch**, compile one of them or
one of your own with **eyas compile**, and run it on the simulated board with **eyas run**. **eyas
report** and **eyas verilog** show the hardware.

Results go to standard output, everything else to standard error. Exit codes: 0, the command did
what you asked; 1, it did, and a check found a difference; 2, it could not do it. Set EYAS_DEBUG=1
to see tracebacks.
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
        bool, typer.Option("--verbose", "-v", help="Say on standard error what is done.")
    ] = False,
) -> None:
    """Options of every command."""
    logging.basicConfig(
        handlers=[_Notes()],
        level=logging.INFO if verbose else logging.WARNING,
        format="%(name)s: %(message)s" if verbose else "eyas: %(message)s",
        force=True,
    )


class _Notes(logging.Handler):
    """Prints a record above the progress bars, which own standard error while they move."""

    def emit(self, record: logging.LogRecord) -> None:
        from eyas.cli.common.console import notes

        notes.print(self.format(record), soft_wrap=True, markup=False)


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

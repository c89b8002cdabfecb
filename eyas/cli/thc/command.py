"""``eyas thc``: gradients in a compressed form that can be added."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

import typer

from eyas.cli.common.options import JsonOption
from eyas.cli.thc.train import train

__all__ = ["thc"]

thc = typer.Typer(
    name="thc",
    no_args_is_help=True,
    help="Add compressed gradients without decompressing them (THC).",
)

_WORKERS = (1, 4, 8)
"""Numbers of workers for which the table's error is shown."""


def _share(text: str) -> float:
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter(f"{text!r} is no number: write 1/32 or 0.03125") from None


@thc.command()
def table(
    bits: Annotated[
        int, typer.Option("--bits", metavar="N", help="Bits of an index: 2, 3 or 4.")
    ] = 4,
    granularity: Annotated[
        int,
        typer.Option("--granularity", metavar="N", help="Largest entry of the table, 1 to 4096."),
    ] = 30,
    clamp: Annotated[
        float,
        typer.Option(
            "--clamp",
            parser=_share,
            metavar="SHARE",
            show_default="1/32",
            help="Share of the coordinates that are clamped, on both sides together.",
        ),
    ] = 1 / 32,
    json: JsonOption = False,
) -> None:
    """Find the lookup table whose rounding adds the least error, and print the error.

    The figures are for coordinates of variance 1. The error of rounding shrinks with the number of
    workers; the error of clamping does not.
    """
    from eyas.cli.common.console import print_json, say, show
    from eyas.cli.common.console import table as table_of
    from models.thc.table import Quantizer

    found = Quantizer.optimal(bits, granularity, clamp)
    if json:
        print_json(
            {
                "bits": bits,
                "granularity": granularity,
                "clamp": clamp,
                "threshold": found.threshold,
                "table": list(found.table.entries),
                "variance": found.variance,
                "clamping": found.clamping,
                "nmse": {str(n): found.error(n) for n in _WORKERS},
            }
        )
        return
    say(f"Table of {bits} bits: {' '.join(map(str, found.table.entries))}")
    say(
        f"Clamped: a share of {clamp:g}, which lies beyond {found.threshold:.6f} standard "
        f"deviations; largest entry {granularity}"
    )
    say(f"Error of rounding, one worker: {found.variance:.5f}")
    say(f"Error of clamping: {found.clamping:.5f}")
    say("")
    show(
        table_of(
            "Error of the mean (NMSE), if all workers hold the same vector",
            ("workers", "error"),
            [(str(count), f"{found.error(count):.5f}") for count in _WORKERS],
        )
    )


thc.command()(train)

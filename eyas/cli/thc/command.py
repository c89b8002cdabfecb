"""``eyas thc``: gradients compressed so that they add up."""

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
    help="Compressed gradients that add up without being decompressed (THC).",
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
    bits: Annotated[int, typer.Option("--bits", help="Bits of an index: 2, 3 or 4.")] = 4,
    granularity: Annotated[
        int, typer.Option("--granularity", help="Entries lie in 0 to this number.")
    ] = 30,
    clamp: Annotated[
        float,
        typer.Option(
            "--clamp",
            parser=_share,
            metavar="SHARE",
            help="Share of coordinates clamped, both sides together, such as *1/32*.",
        ),
    ] = 1 / 32,
    json: JsonOption = False,
) -> None:
    """Solve for the lookup table that adds the least variance, and say what it costs.

    Variance is what rounding adds to a coordinate of variance 1 (it averages away over workers),
    clamping what the clamped tails add (it does not).
    """
    from eyas.cli.common.console import print_json, say
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
    say(f"table     {' '.join(map(str, found.table.entries))}")
    say(f"threshold {found.threshold:.6f} standard deviations")
    say(f"variance  {found.variance:.5f}")
    say(f"clamping  {found.clamping:.5f}")
    errors = ", ".join(f"{found.error(n):.5f} ({n})" for n in _WORKERS)
    say(f"NMSE      {errors} when so many workers hold the same vector")


thc.command()(train)

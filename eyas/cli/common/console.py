"""What the user sees: results on standard output, progress and notes on standard error."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from eyas.cli.common.table import Table

__all__ = [
    "bytes_progress", "notes", "print_json", "progress", "results", "say", "show", "table",
]  # fmt: skip

results = Console(highlight=False)
"""Standard output, for the answer."""

notes = Console(stderr=True, highlight=False)
"""Standard error, for everything else."""


def say(text: str) -> None:
    """Print one line of the answer, unbroken whatever the terminal's width."""
    results.print(text, soft_wrap=True)


def show(found: Table) -> None:
    """Print a table as wide as the terminal; into a file or a pipe, as wide as it is.

    The environment variable COLUMNS, where it is set, says how wide in each case.
    """
    chosen = os.environ.get("COLUMNS", "")
    width = int(chosen) if chosen.isdecimal() else results.width if results.is_terminal else None
    for line in found.lines(width):
        results.print(line, markup=False, soft_wrap=True)


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object; with ``--json`` nothing else goes to standard output."""
    print(json.dumps(value, indent=2, allow_nan=False))


def progress() -> Progress:
    """Progress bars on standard error; a context manager."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=notes,
    )


def bytes_progress() -> Progress:
    """Progress bars that count bytes, on standard error; a context manager."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=notes,
    )


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table whose first column is left-aligned text and whose others are right-aligned."""
    return Table(title, tuple(columns), tuple(tuple(row) for row in rows))

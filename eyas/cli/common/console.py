"""What the user sees: results on standard output, progress and notes on standard error."""

from __future__ import annotations

import json
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
from rich.table import Table

__all__ = ["bytes_progress", "notes", "print_json", "progress", "results", "say", "table"]

results = Console(highlight=False)
"""Standard output, for the answer."""

notes = Console(stderr=True, highlight=False)
"""Standard error, for everything else."""


def say(text: str) -> None:
    """Print one line of the answer, unbroken whatever the terminal's width."""
    results.print(text, soft_wrap=True)


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
    result = Table(title=title, title_justify="left")
    for index, name in enumerate(columns):
        result.add_column(name, justify="left" if index == 0 else "right")
    for row in rows:
        result.add_row(*row)
    return result

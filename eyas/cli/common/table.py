"""Tables for any width: names are wrapped, numbers are never cut or wrapped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.segment import Segment

__all__ = ["Table"]

NAME_WIDTH = 28
"""Columns that a name takes at most; published networks have names of a hundred characters."""
LEAST_NAME_WIDTH = 12
SHORT_HEADING = 8
"""Columns of a heading up to which it stays in one line."""
GAP = "  "


@dataclass(frozen=True)
class Table:
    """A title, headings and rows of text.

    The first column is for names: left-aligned, and wrapped where it is long. The others are for
    numbers: right-aligned and whole. Where they do not all fit side by side, those that are left go
    into a second table below, with the names again, and so on.

    Parameters
    ----------
    title : str
        Printed above the table.
    columns : tuple of str
        Headings. Blanks in them are places where they may be wrapped.
    rows : tuple of tuple of str
        A cell for each column.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def lines(self, width: int | None = None) -> list[str]:
        """The table as lines of at most ``width`` columns; None for as many as it takes.

        A number that is wider than ``width`` by itself still stands there whole.
        """
        widths = [self._width(index) for index in range(1, len(self.columns))]
        first = [self.columns[0], *(row[0] for row in self.rows)]
        most = min(NAME_WIDTH, max(map(cell_len, first)))
        # The widest names with which the fewest tables do.
        names = min(
            range(most, min(most, LEAST_NAME_WIDTH) - 1, -1),
            key=lambda names: len(_groups(widths, None if width is None else width - names)),
        )
        found = _wrapped(self.title, width) if width else [self.title]
        for number, group in enumerate(_groups(widths, None if width is None else width - names)):
            found += [""] if number else []
            found += self._block([0, *(index + 1 for index in group)], [names, *widths])
        return found

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for line in self.lines(options.max_width):
            yield Segment(line)
            yield Segment.line()

    def _width(self, index: int) -> int:
        """Columns of a column of numbers: its widest cell, word of its heading, short heading."""
        heading = self.columns[index]
        whole = [heading] if cell_len(heading) <= SHORT_HEADING else heading.split()
        return max(map(cell_len, [*whole, *(row[index] for row in self.rows)]), default=0)

    def _block(self, columns: list[int], widths: list[int]) -> list[str]:
        """The lines of some of the columns."""
        heads = [_wrapped(self.columns[index], widths[index]) for index in columns]
        found = _row(heads, [widths[index] for index in columns], bottom=True)
        found.append(GAP.join("─" * widths[index] for index in columns))
        for row in self.rows:
            cells = [_wrapped(row[0], widths[0]), *([row[index]] for index in columns[1:])]
            found += _row(cells, [widths[index] for index in columns])
        return found


def _groups(widths: list[int], room: int | None) -> list[list[int]]:
    """Columns that fit side by side, in order; at least one each time."""
    if room is None:
        return [list(range(len(widths)))]
    groups: list[list[int]] = [[]]
    taken = 0
    for index, width in enumerate(widths):
        if groups[-1] and taken + width + len(GAP) > room:
            groups.append([])
            taken = 0
        groups[-1].append(index)
        taken += width + len(GAP)
    return groups


def _row(cells: list[list[str]], widths: list[int], bottom: bool = False) -> list[str]:
    """A row's lines; cells of fewer lines begin at the top, or end at the bottom."""
    height = max(1, *map(len, cells))
    found = []
    for line in range(height):
        parts = []
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            place = line - (height - len(cell)) if bottom else line
            text = cell[place] if 0 <= place < len(cell) else ""
            blank = " " * (width - cell_len(text))
            parts.append(blank + text if number else text + blank)
        found.append(GAP.join(parts).rstrip())
    return found


def _wrapped(text: str, width: int) -> list[str]:
    """``text`` in lines, broken after blanks and after the marks between parts of a name."""
    lines = [""]
    for part in re.findall(r"[^\s/;:,_.]*[\s/;:,_.]?", text):
        while cell_len(lines[-1]) + cell_len(part.rstrip()) > width:
            if lines[-1]:
                lines.append("")
                continue
            lines[-1], part = part[:width], part[width:]
            lines.append("")
        lines[-1] += part
    return [line.rstrip() for line in lines if line.strip()] or [""]

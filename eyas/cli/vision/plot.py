"""The time line of a picture: when each layer ran, and what its cycles were spent on."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from eyas.cli.common.errors import CommandError
from eyas.cli.vision.measure import Layer
from eyas.interfaces.files import write_atomically

__all__ = ["FORMATS", "check_format", "plot_timeline"]

FORMATS = (".pdf", ".png", ".svg")
"""Suffixes of files that a plot can go to."""


_TABLES = ("waiting for tables", "table_cycles", "#8a5fa8")
_PARTS = (
    ("array", "array_cycles", "#3b6ea8"),
    ("waiting for requantisation", "requantize_cycles", "#e0a030"),
    ("drain", "drain_cycles", "#b04a4a"),
)
"""What a layer's cycles go to: label, attribute, colour. The rest is start and steps; what an
addition waits for its tables comes before them."""


def check_format(path: Path | None) -> None:
    """Refuse a plot of a kind that cannot be drawn, before the work begins."""
    if path is not None and path.suffix.lower() not in FORMATS:
        raise CommandError(f"{path}: a plot is a {', '.join(FORMATS)} file")


def plot_timeline(layers: Sequence[Layer], title: str, path: Path) -> None:
    """Draw one bar a layer against core cycles, into a file whose suffix names the format.

    Within a bar the cycles are grouped by what they were spent on, not in order of time.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.2 + 0.32 * len(layers)), layout="constrained")
    axes = figure.subplots()
    start = 0
    for row, layer in enumerate(layers):
        axes.barh(row, layer.table_cycles, left=start, color=_TABLES[2])
        start += layer.table_cycles
        axes.barh(row, layer.cycles, left=start, color="#c8c8c8")
        left = start
        for _, name, colour in _PARTS:
            width = getattr(layer, name)
            axes.barh(row, width, left=left, color=colour)
            left += width
        axes.annotate(
            f" {layer.cycles:,}"
            + (f" ({layer.utilisation:.0%} of the peak)" if layer.macs else ""),
            (start + layer.cycles, row),
            va="center",
            fontsize=8,
            annotation_clip=False,
        )
        start += layer.cycles
    axes.set_yticks(range(len(layers)), [f"{layer.name} {layer.op}" for layer in layers])
    axes.invert_yaxis()
    axes.set_xlim(0, start * 1.18)
    axes.set_xlabel("core cycles")
    axes.set_title(title)
    for label, _, colour in (*_PARTS, _TABLES, ("other", "", "#c8c8c8")):
        axes.barh(0, 0, color=colour, label=label)
    axes.legend(loc="lower left", fontsize=8)
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:].lower())
    write_atomically(path, drawn.getvalue())

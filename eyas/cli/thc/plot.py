"""Accuracy against rounds and against bytes sent."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from eyas.interfaces.files import write_atomically

if TYPE_CHECKING:
    from eyas.services.training.run import Curve

__all__ = ["plot_curves"]


def plot_curves(curves: Mapping[str, Curve], title: str, path: Path) -> None:
    """Draw both, one line a scheme, into a file whose suffix names the format."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    against_rounds, against_bytes = figure.subplots(1, 2, sharey=True)
    for name, curve in curves.items():
        found = curve.as_dict()["curve"]
        accuracy = [100 * point["accuracy"] for point in found]
        sent = [(point["bytes_up"] + point["bytes_down"]) / 1e6 for point in found]
        against_rounds.plot([point["round"] for point in found], accuracy, marker=".", label=name)
        against_bytes.plot(sent, accuracy, marker=".", label=name)
    against_rounds.set_xlabel("rounds")
    against_rounds.set_ylabel("accuracy, %")
    against_bytes.set_xlabel("MB of payload, one worker, up and down")
    against_bytes.set_xscale("log")
    against_rounds.legend()
    figure.suptitle(title)
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:].lower())
    write_atomically(path, drawn.getvalue())

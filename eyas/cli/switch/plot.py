"""Draws which job held which slot when, and the progress of each job."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from eyas.interfaces.files import write_atomically

if TYPE_CHECKING:
    from eyas.services.loopback.system import Loopback

__all__ = ["plot_slots"]


def plot_slots(loopback: Loopback, title: str, path: Path) -> None:
    """Draw both against virtual time, a colour a job, into a file whose suffix names the format.

    The RTL does not tell who holds a slot: of it only the results are drawn.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    colours = [colormaps["tab10"](job % 10) for job in range(len(loopback.jobs))]
    end = max(report.finished for report in loopback.reports)
    held = bool(loopback.history)
    figure = Figure(figsize=(9, 6 if held else 3.5), layout="constrained")
    axes = figure.subplots(1 + held, 1, sharex=True, squeeze=False)[:, 0]
    if held:
        for slot in range(loopback.slots):
            changes = [(time, job) for time, which, job in loopback.history if which == slot]
            ends = [time for time, _ in changes[1:]] + [end]
            for (start, job), stop in zip(changes, ends, strict=True):
                if job >= 0:
                    axes[0].barh(slot, stop - start, left=start, color=colours[job], height=0.8)
        axes[0].set_ylabel("slot")
        axes[0].set_ylim(loopback.slots - 0.5, -0.5)
        axes[0].yaxis.get_major_locator().set_params(integer=True)
    for job, report in enumerate(loopback.reports):
        times = sorted(time for time, which in loopback.deliveries if which == job)
        axes[-1].step(
            times,
            [100 * (count + 1) / len(times) for count in range(len(times))],
            where="post",
            color=colours[job],
            label=f"job {job}, priority {report.priority}",
        )
    axes[-1].set_ylabel("results sent, %")
    axes[-1].set_xlabel("virtual time, units of a hop's delay")
    axes[-1].legend()
    figure.suptitle(title)
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:].lower())
    write_atomically(path, drawn.getvalue())

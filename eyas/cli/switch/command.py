"""``eyas switch``: training jobs that share an aggregator's few slots."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eyas.cli.common.errors import ANSWER_IS_NO, CommandError
from eyas.cli.common.options import JsonOption

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from drivers.switch import Switch
    from eyas.services.loopback.system import JobReport

__all__ = ["job_table", "switch"]

switch = typer.Typer(
    name="switch",
    no_args_is_help=True,
    help="Many training jobs on one small aggregator memory (ESA-style).",
)


class PolicyName(str, enum.Enum):
    """Who may have a slot."""

    esa = "esa"
    atp = "atp"
    switchml = "switchml"
    always = "always"
    random = "random"


class SwitchName(str, enum.Enum):
    """Which switch."""

    golden = "golden"
    rtl = "rtl"


def job_table(title: str, reports: Sequence[JobReport]) -> Table:
    """A column a job."""
    from eyas.cli.common.console import table

    rows = [
        ["priority", *(str(report.priority) for report in reports)],
        ["rounds", *(str(report.rounds) for report in reports)],
        ["packets", *(f"{report.packets:,}" for report in reports)],
        ["completed in the switch", *(f"{report.completions:,}" for report in reports)],
        ["took a slot over", *(f"{report.preemptions:,}" for report in reports)],
        ["evicted", *(f"{report.evictions:,}" for report in reports)],
        ["passed to the server", *(f"{report.passed:,}" for report in reports)],
        ["sent again", *(f"{report.resends:,}" for report in reports)],
        ["finished at", *(f"{report.finished:,.0f}" for report in reports)],
        ["error of the mean", *(f"{report.error:.2%}" for report in reports)],
        ["all workers' bits equal", *(_answer(report.equal) for report in reports)],
        ["sums right", *(_answer(report.right) for report in reports)],
    ]
    return table(title, ["", *(f"job {report.job}" for report in reports)], rows)


def _answer(yes: bool) -> str:
    return "yes" if yes else "NO"


@switch.callback()
def group() -> None:
    """Keeps ``run`` a subcommand."""


@switch.command()
def run(
    jobs: Annotated[int, typer.Option("--jobs", help="Training jobs, 1 to 32.", min=1, max=32)] = 2,
    workers: Annotated[
        int, typer.Option("--workers", help="Workers of each job, 1 to 32.", min=1, max=32)
    ] = 4,
    slots: Annotated[
        int, typer.Option("--slots", help="Slots that the jobs share: a power of two, to 256.")
    ] = 4,
    policy: Annotated[
        PolicyName,
        typer.Option(
            "--policy",
            help="Who may have a slot: *esa* (higher priority takes it over), *atp* (first come), "
            "*switchml* (each job has its own), *always*, *random* (baselines).",
        ),
    ] = PolicyName.esa,
    priorities: Annotated[
        list[int] | None,
        typer.Option(
            "--priority",
            help="A job's priority, 1 to 255; one a job, in order. By default each has half of the "
            "one before, from 200 on.",
        ),
    ] = None,
    quorum: Annotated[
        int | None,
        typer.Option("--quorum", help="Workers that do for a sum. All by default.", min=1),
    ] = None,
    rounds: Annotated[
        int, typer.Option("--rounds", help="Gradients that each worker sends.", min=1)
    ] = 2,
    loss: Annotated[
        float, typer.Option("--loss", metavar="SHARE", help="Share of packets lost on each hop.")
    ] = 0.0,
    duplication: Annotated[
        float, typer.Option("--duplication", metavar="SHARE", help="Share that comes twice.")
    ] = 0.0,
    reorder: Annotated[
        float, typer.Option("--reorder", metavar="SHARE", help="Share that comes late.")
    ] = 0.0,
    which: Annotated[
        SwitchName,
        typer.Option(
            "--switch",
            help="*golden* (the model), or *rtl* (the Verilated overlay behind its driver; built "
            "once, then kept).",
        ),
    ] = SwitchName.golden,
    seed: Annotated[int, typer.Option("--seed", help="Of networks, pictures and losses.")] = 1,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            dir_okay=False,
            help="Draw who held which slot when, and results against time: .pdf, .png, .svg.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Send real gradients of several jobs, compressed, through one switch and a lossy network.

    Every worker's decoded gradients are compared with those of the others, and every sum with the
    PyTorch reference. Time is virtual: a hop takes one to two units.
    """
    import torch

    from eyas.cli.common.console import notes, print_json, progress, results, say
    from eyas.cli.switch.gradients import digit_gradients
    from eyas.cli.switch.plot import plot_slots
    from eyas.cli.vision.plot import check_format
    from eyas.interfaces.switch.states import Policy
    from eyas.services.loopback.gradient_job import GradientJob
    from eyas.services.loopback.system import Loopback
    from models.switch.network import LossyNetwork

    check_format(plot)
    if priorities is not None and len(priorities) != jobs:
        raise CommandError(f"{jobs} jobs need {jobs} times --priority, not {len(priorities)}")
    for value in priorities or ():
        if not 1 <= value <= 255:
            raise CommandError(f"--priority must be 1 to 255, not {value}")
    if quorum is not None and quorum > workers:
        raise CommandError(f"--quorum must be at most the {workers} workers, not {quorum}")
    network = LossyNetwork(seed, loss, duplication, reorder)
    levels = priorities or [max(1, 200 >> job) for job in range(jobs)]
    torch.set_num_threads(1)
    with progress() as bars, _driver(which, slots, bars) as driver:
        loopback = Loopback(
            [
                GradientJob(digit_gradients(seed + job, workers, rounds), levels[job], quorum)
                for job in range(jobs)
            ],
            slots,
            Policy[policy.value.upper()],
            network,
            driver=driver,
        )
        task = bars.add_task("results delivered", total=None)
        loopback.progress = lambda done, total: bars.update(task, completed=done, total=total)
        reports = loopback.run()
    if plot is not None:
        plot_slots(loopback, f"{policy.value}, {slots} slots, loss {loss:.0%}", plot)
    if json:
        print_json(
            {
                "switch": which.value,
                "policy": policy.value,
                "slots": slots,
                "workers": workers,
                "loss": loss,
                "seed": seed,
                "jobs": [report.as_dict() for report in reports],
            }
        )
    else:
        title = f"{policy.value}, {slots} slots, {which.value} switch"
        results.print(job_table(title, reports))
    if not all(report.equal and report.right for report in reports):
        notes.print("eyas: the invariant is broken: see the last columns", soft_wrap=True)
        raise typer.Exit(ANSWER_IS_NO)
    if not json:
        say("Proof: all workers hold the same bits; every sum equals the PyTorch reference")


@contextmanager
def _driver(which: SwitchName, slots: int, bars: Progress) -> Iterator[Switch | None]:
    """The RTL's driver, if the RTL is wanted."""
    if which is SwitchName.golden:
        yield None
        return
    from drivers.simulated.switch import switch_board
    from drivers.switch import Switch

    task = bars.add_task("building the switch", total=100)
    with (
        switch_board(progress=lambda _, done: bars.update(task, completed=100 * done)) as board,
        Switch(board) as driver,
    ):
        bars.update(task, completed=100)
        if slots > driver.config.slots:
            raise CommandError(f"The switch has {driver.config.slots} slots, not {slots}")
        yield driver

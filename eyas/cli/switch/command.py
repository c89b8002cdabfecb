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

    from drivers.switch import Switch
    from eyas.cli.common.table import Table
    from eyas.services.loopback.system import JobReport, Loopback

__all__ = ["job_table", "switch"]

switch = typer.Typer(
    name="switch",
    no_args_is_help=True,
    help="Let many training jobs share one small aggregator memory (ESA-style).",
)


LARGEST_SEED = 2**32 - 1
MOST_SLOTS = 256


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
    """The table of all jobs, with one column for each."""
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
    jobs: Annotated[
        int, typer.Option("--jobs", metavar="N", help="Training jobs, 1 to 32.", min=1, max=32)
    ] = 2,
    workers: Annotated[
        int,
        typer.Option("--workers", metavar="N", help="Workers of each job, 1 to 32.", min=1, max=32),
    ] = 4,
    slots: Annotated[
        int,
        typer.Option(
            "--slots", metavar="N", help="Slots that the jobs share: a power of two, 1 to 256."
        ),
    ] = 4,
    policy: Annotated[
        PolicyName,
        typer.Option(
            "--policy",
            help="Who gets a slot. *esa*: a higher priority takes it over. *atp*: the first that "
            "comes. *switchml*: each job has slots of its own. *always* and *random*: a packet "
            "takes it over always, or by chance, as a baseline.",
        ),
    ] = PolicyName.esa,
    priorities: Annotated[
        list[int] | None,
        typer.Option(
            "--priority",
            metavar="N",
            help="A job's priority, 1 to 255. Give the option once for each job. By default the "
            "first job has 200, and each next one half of that.",
        ),
    ] = None,
    quorum: Annotated[
        int | None,
        typer.Option(
            "--quorum",
            metavar="N",
            help="A sum is complete with so many workers. By default it needs all.",
            min=1,
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option("--rounds", metavar="N", help="Gradients that each worker sends.", min=1)
    ] = 2,
    loss: Annotated[
        float,
        typer.Option(
            "--loss", metavar="SHARE", help="Share of packets lost on each hop, less than 1."
        ),
    ] = 0.0,
    duplication: Annotated[
        float,
        typer.Option("--duplication", metavar="SHARE", help="Share of packets that come twice."),
    ] = 0.0,
    reorder: Annotated[
        float, typer.Option("--reorder", metavar="SHARE", help="Share of packets that are delayed.")
    ] = 0.0,
    which: Annotated[
        SwitchName,
        typer.Option(
            "--switch",
            help="*golden* is the model. *rtl* is the simulated overlay; its first run builds it.",
        ),
    ] = SwitchName.golden,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            metavar="N",
            help="Start of all random choices: weights, pictures, losses.",
            min=0,
            max=LARGEST_SEED,
        ),
    ] = 1,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            dir_okay=False,
            help="Draw who held which slot when, and the results over time: .pdf, .png or .svg.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Send real, compressed gradients of several jobs through one switch and a lossy network.

    The gradients that a worker decodes are compared with those of the other workers, and every sum
    with the PyTorch reference. Time is virtual: a hop takes one to two units.
    """
    from eyas.cli.common.console import notes, print_json, progress, say, show
    from eyas.cli.common.files import check_writable
    from eyas.cli.switch.gradients import digit_gradients
    from eyas.cli.switch.plot import plot_slots
    from eyas.cli.vision.plot import check_format
    from eyas.interfaces.switch.states import Policy
    from models.switch.network import LossyNetwork

    check_format(plot)
    check_writable(plot)
    _check_slots(slots, which)
    if policy is PolicyName.switchml:
        _check_switchml(slots, jobs, quorum)
    if priorities is not None and len(priorities) != jobs:
        raise CommandError(f"{jobs} jobs need {jobs} times --priority, not {len(priorities)}")
    for value in priorities or ():
        if not 1 <= value <= 255:
            raise CommandError(f"--priority must be 1 to 255, not {value}")
    if quorum is not None and quorum > workers:
        raise CommandError(f"--quorum must be at most the {workers} workers, not {quorum}")
    if which is SwitchName.rtl:
        from drivers.simulated.toolchain import require_simulator

        require_simulator()
    if loss == 1:
        raise CommandError("--loss must be less than 1: of 1, no packet arrives")
    network = LossyNetwork(seed, loss, duplication, reorder)

    import torch

    from eyas.services.loopback.gradient_job import GradientJob
    from eyas.services.loopback.system import Loopback

    levels = priorities or [max(1, 200 >> job) for job in range(jobs)]
    torch.set_num_threads(1)
    with progress() as bars, _driver(which, bars) as driver:
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
        reports = _run(loopback, loss)
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
                "duplication": duplication,
                "reorder": reorder,
                "seed": seed,
                "jobs": [report.as_dict() for report in reports],
            }
        )
    else:
        title = f"{policy.value}, {slots} slots, {which.value} switch"
        show(job_table(title, reports))
    if not all(report.equal and report.right for report in reports):
        notes.print("eyas: the invariant is broken: see the last two rows", soft_wrap=True)
        raise typer.Exit(ANSWER_IS_NO)
    if not json:
        say("Proof: all workers hold the same bits; every sum equals the PyTorch reference")


def _check_slots(slots: int, which: SwitchName) -> None:
    """Refuse a number of slots that the switch cannot have."""
    from eyas.interfaces.switch.config import DEFAULT_SWITCH

    if not 1 <= slots <= MOST_SLOTS or slots & (slots - 1):
        raise CommandError(f"--slots must be a power of two from 1 to {MOST_SLOTS}, not {slots}")
    if which is SwitchName.rtl and slots > DEFAULT_SWITCH.slots:
        raise CommandError(f"The switch has {DEFAULT_SWITCH.slots} slots, not {slots}")


def _check_switchml(slots: int, jobs: int, quorum: int | None) -> None:
    """Refuse too few slots, and a quorum, which switchml does not have."""
    if slots < 2 * jobs:
        raise CommandError(
            f"Under switchml each of {jobs} jobs needs 2 slots of its own: {slots} are too few"
        )
    if quorum is not None:
        raise CommandError("Under switchml there is no quorum: leave out --quorum")


def _run(loopback: Loopback, loss: float) -> list[JobReport]:
    """Run all jobs; CommandError when one gives up, because its sums cannot be compared."""
    try:
        return loopback.run()
    except ValueError:
        for each in loopback.prepared:
            if each.job.ended is not None:
                raise CommandError(
                    f"{each.job.ended}; the network loses too many packets (--loss {loss:g})"
                ) from None
        raise


@contextmanager
def _driver(which: SwitchName, bars: Progress) -> Iterator[Switch | None]:
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
        yield driver

"""``eyas thc train``: training in real processes, with plain and with compressed gradients."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eyas.cli.common.errors import ANSWER_IS_NO, CommandError
from eyas.cli.common.options import JsonOption

if TYPE_CHECKING:
    from rich.progress import Progress

    from eyas.services.training.run import Curve, Settings

__all__ = ["train"]


class AggregatorName(str, enum.Enum):
    """Who adds the indices."""

    reference = "reference"
    simulated = "simulated"


class Dataset(str, enum.Enum):
    """What is learnt."""

    fashion_mnist = "fashion-mnist"
    digits = "digits"


class Scheme(str, enum.Enum):
    """How gradients are exchanged."""

    fp32 = "fp32"
    thc = "thc"
    uthc = "uthc"


_NAMES = {"fp32": "fp32", "thc": "THC", "uthc": "uniform THC"}
_EPOCHS = {Dataset.fashion_mnist: 3, Dataset.digits: 12}


def train(
    workers: Annotated[
        int,
        typer.Option("--workers", metavar="N", help="Worker processes, 2 to 255.", min=2, max=255),
    ] = 4,
    aggregator: Annotated[
        AggregatorName,
        typer.Option(
            "--aggregator",
            help="Who adds: *reference* (PyTorch), or *simulated* (the Verilated lookup lanes, in "
            "a process of their own).",
        ),
    ] = AggregatorName.reference,
    loss: Annotated[
        float,
        typer.Option(
            "--loss-rate",
            metavar="SHARE",
            help="Share of packets lost on purpose, each way; needs *simulated*.",
        ),
    ] = 0.0,
    quorum: Annotated[
        int | None,
        typer.Option(
            "--quorum",
            metavar="K",
            help="Finish a sum when K workers are in it; the others keep their contribution for "
            "the next round. By default all must be in it: what is lost is sent again, and no bit "
            "changes.",
        ),
    ] = None,
    dataset: Annotated[
        Dataset,
        typer.Option(
            "--dataset",
            help="*fashion-mnist* (of *eyas fetch*, or where EYAS_DATA points) or scikit-learn's "
            "*digits*.",
        ),
    ] = Dataset.fashion_mnist,
    schemes: Annotated[
        list[Scheme] | None,
        typer.Option(
            "--scheme", help="How gradients are exchanged; may be repeated. All three by default."
        ),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            "--epochs", metavar="X", help="How often every picture is seen: 3, for digits 12."
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option("--rounds", metavar="N", help="Number of rounds, instead of --epochs.", min=1),
    ] = None,
    batch: Annotated[
        int, typer.Option("--batch", metavar="N", help="Pictures of each worker in a round.", min=2)
    ] = 32,
    rate: Annotated[
        float,
        typer.Option(
            "--learning-rate", metavar="X", help="The highest learning rate of the schedule."
        ),
    ] = 0.1,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Seed of weights, order and rounding.")
    ] = 1,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            dir_okay=False,
            help="Draw accuracy against rounds and bytes: .pdf, .png, .svg.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train a small network in parallel processes: fp32, THC and uniform THC.

    All schemes start from the same weights and see the same pictures. Bytes are those of one
    worker: payload is the gradient's own coordinates; totals have headers, norms and padding too.
    """
    from eyas.cli.common.console import notes, print_json, progress, results
    from eyas.cli.vision.plot import check_format
    from eyas.services.training.run import Report, Settings
    from eyas.services.training.run import train as run

    if epochs is not None and rounds is not None:
        raise CommandError("--epochs and --rounds say the same thing: give one of them")
    if epochs is not None and epochs <= 0:
        raise CommandError(f"--epochs must be more than 0, not {epochs:g}")
    if rate <= 0:
        raise CommandError(f"--learning-rate must be more than 0, not {rate:g}")
    check_format(plot)
    settings = Settings(
        dataset=dataset.value,
        workers=workers,
        rounds=rounds or _rounds(dataset, epochs or _EPOCHS[dataset], batch * workers),
        batch=batch,
        learning_rate=rate,
        seed=seed,
        schemes=tuple(scheme.value for scheme in dict.fromkeys(schemes or Scheme)),
        aggregator=aggregator.value,
        loss_rate=loss,
        quorum=quorum,
    )
    with progress() as bars:
        if aggregator is AggregatorName.simulated:
            _build(bars)
        tasks = {
            scheme: bars.add_task(_NAMES[scheme], total=settings.rounds)
            for scheme in settings.schemes
        }

        def show(report: Report) -> None:
            bars.update(
                tasks[report.scheme],
                completed=report.round,
                description=f"{_NAMES[report.scheme]}, {report.accuracy:.2%}",
            )

        curves = run(settings, show)
    if plot is not None:
        from eyas.cli.thc.plot import plot_curves

        plot_curves({_NAMES[name]: curve for name, curve in curves.items()}, _title(settings), plot)
    if json:
        print_json({name: curve.as_dict() for name, curve in curves.items()})
    else:
        results.print(_summary(settings, curves))
    if not all(curve.replicas_equal for curve in curves.values()):
        notes.print("eyas: the workers' weights differ", soft_wrap=True)
        raise typer.Exit(ANSWER_IS_NO)


def _build(bars: Progress) -> None:
    """Build the simulator while nobody waits for it, and show how far that is."""
    from drivers.simulated.thc import thc_board
    from drivers.simulated.toolchain import require_tools

    require_tools("verilator", "compiler", "perl")
    task = bars.add_task("building the simulator", total=100)
    with thc_board(
        progress=lambda step, fraction: bars.update(
            task, description=f"building the simulator: {step}", completed=100 * fraction
        )
    ):
        bars.update(task, description="simulator", completed=100)


def _rounds(dataset: Dataset, epochs: float, together: int) -> int:
    from eyas.services.training.pictures import load

    return max(1, round(epochs * len(load(dataset.value).train_images) / together))


def _title(settings: Settings) -> str:
    lost = f", {settings.loss_rate:.2%} lost" if settings.loss_rate else ""
    quorum = f", quorum {settings.quorum}" if settings.quorum else ""
    return (
        f"{settings.dataset}, {settings.workers} workers, {settings.rounds} rounds, "
        f"aggregator {settings.aggregator}{lost}{quorum}"
    )


def _summary(settings: Settings, curves: dict[str, Curve]) -> object:
    from eyas.cli.common.console import table

    rows = []
    for name, curve in curves.items():
        found = curve.as_dict()
        rows.append(
            (
                _NAMES[name],
                f"{found['accuracy']:.2%}",
                f"{found['bytes_up']:,}",
                f"{found['bytes_down']:,}",
                f"{found['total_up']:,}",
                f"{found['total_down']:,}",
                f"{found['seconds']:.0f} s",
            )
        )
    columns = ("", "accuracy", "payload up", "down", "total up", "down", "time")
    return table(f"{_title(settings)}; bytes of one worker", columns, rows)

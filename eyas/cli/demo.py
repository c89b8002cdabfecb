"""``eyas demo``: trains a float network, and runs it on the RTL with bit-exact answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eyas.cli.common.errors import ANSWER_IS_NO

if TYPE_CHECKING:
    from rich.progress import Progress

    from models.vision.networks import Pictures, VisionNet

__all__ = ["EPOCHS", "SEED", "demo"]

SEED = 1
EPOCHS = 20


def demo(
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            metavar="DIR",
            file_okay=False,
            help="Keep the network, the program and the pictures in this folder, for *eyas run*.",
        ),
    ] = None,
) -> None:
    """Train, quantise, compile and run a small network on the simulated board.

    The RTL classifies handwritten digits (real scans, from scikit-learn), and each number that it
    gives is compared with the reference. Then the RTL adds the gradients of four workers without
    decompressing them, and two jobs share the four slots of a switch. The first run takes some
    minutes, because it builds three simulators.
    """
    import numpy as np

    from drivers.simulated.toolchain import require_simulator
    from eyas.cli.common.console import notes, progress, say, show
    from eyas.cli.common.files import check_folder
    from eyas.cli.switch.round import share_slots
    from eyas.cli.thc.round import run_round
    from eyas.cli.vision.check import compare
    from eyas.cli.vision.measure import class_accuracy, measure
    from eyas.cli.vision.run import cycles_line, layer_table
    from eyas.cli.vision.session import opened
    from eyas.compiler import compile_graph
    from eyas.compiler.importers.torch_import import from_module
    from eyas.interfaces.vision.config import DEFAULT_VISION
    from models.vision.networks import DigitsNet, accuracy, digits

    if keep is not None:
        check_folder(keep)
    require_simulator()  # before the training
    data = digits()
    network = DigitsNet()
    with progress() as bars:
        _train(network, data, bars)
        example = network.real(data.train_images[:1])
        graph = from_module(
            network,
            example,
            data.train_images,
            name="digits",
            labels=network.labels,
            preprocess=network.preprocess,
        )
        program = compile_graph(graph, DEFAULT_VISION)
        with opened(program, bars) as engine:
            task = bars.add_task("pictures through the RTL", total=len(data.test_images))
            found = measure(
                engine, program, data.test_images, lambda done: bars.update(task, completed=done)
            )
            difference = compare(graph, engine, data.test_images, found.logits)
        gradients = run_round(network, data, bars)
        shared = share_slots(bars)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        graph.save(keep / "digits.qgraph")
        program.save(keep / "digits.eyas")
        np.savez(keep / "digits.npz", images=data.test_images, labels=data.test_labels)

    show(layer_table(program, found))
    say(
        f"Accuracy on {len(data.test_images)} held-out pictures: "
        f"float {accuracy(network, data.test_images, data.test_labels):.2%}, "
        f"int8 on the RTL {class_accuracy(found.outputs, data.test_labels):.2%}"
    )
    say(cycles_line(found))
    if difference is not None:
        notes.print(f"eyas: differs from the reference: {difference}", soft_wrap=True)
        raise typer.Exit(ANSWER_IS_NO)
    say(
        f"Proof: all {found.outputs.size:,} outputs of {len(found.outputs)} pictures equal the "
        f"PyTorch reference, bit for bit"
    )
    gradients.show()
    shared.show()
    if not (gradients.exact and shared.exact):
        notes.print("eyas: sums of gradients differ from the reference", soft_wrap=True)
        raise typer.Exit(ANSWER_IS_NO)


def _train(network: VisionNet, data: Pictures, bars: Progress) -> None:
    from models.vision.networks import train

    task = bars.add_task(f"training (seed {SEED})", total=None)
    train(
        network,
        data.train_images,
        data.train_labels,
        SEED,
        EPOCHS,
        lambda step, steps, _: bars.update(task, completed=step, total=steps),
    )

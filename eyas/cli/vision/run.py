"""``eyas run``: pictures through a program on a board in this process."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eyas.cli.common.errors import ANSWER_IS_NO
from eyas.cli.common.options import JsonOption, ProgramPath
from eyas.cli.vision.session import BoardKind

if TYPE_CHECKING:
    from eyas.cli.common.table import Table
    from eyas.cli.vision.measure import Measured
    from eyas.interfaces.vision.program_file import Program

__all__ = [
    "LAYER_COLUMNS",
    "cycles_line",
    "layer_rows",
    "layer_sums",
    "layer_table",
    "run",
    "stalls",
]


def run(
    program_path: ProgramPath,
    pictures: Annotated[
        Path,
        typer.Option(
            "--input",
            "-i",
            metavar="FILE",
            dir_okay=False,
            help="Pictures: an .npz file with the array *images* (N × H × W × C; uint8 as scanned, "
            "int8 quantised, or float) and perhaps *labels*; or an IDX file of *eyas fetch*.",
        ),
    ],
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", metavar="N", min=1, help="Run the first N pictures only."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Compare every output with the reference. The exit code is 1 if one differs.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.npz",
            help="Write the arrays *outputs* (int8, the network's answers) and *logits* (int8, the "
            "same before a softmax at the end).",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", metavar="FILE", help="Draw when each layer ran: .pdf, .png or .svg."
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace",
            metavar="FILE",
            help="Write the waveform of every signal: .vcd, or .fst (smaller; needs zlib and lz4). "
            "It is large, so take few pictures: *--limit 1*. The first time builds a second "
            "simulator, which takes some minutes.",
        ),
    ] = None,
    board: Annotated[
        BoardKind,
        typer.Option(
            "--board",
            help="*rtl*: the overlay's RTL, simulated cycle by cycle. *functional*: the same "
            "outputs and the same cycles of the core, many times faster; cycles around the core "
            "are estimated, nothing is built.",
        ),
    ] = BoardKind.RTL,
    json: JsonOption = False,
) -> None:
    """Run pictures through a program on the simulated board.

    Prints the cycles of each layer, and the accuracy if there are labels. The first run builds the
    simulator, which takes about a minute; *--board functional* needs none.
    """
    import numpy as np

    from eyas.cli.common.console import notes, print_json, progress, say, show
    from eyas.cli.common.files import check_pictures, check_writable, load_pictures
    from eyas.cli.vision.check import compare
    from eyas.cli.vision.measure import class_accuracy, measure
    from eyas.cli.vision.plot import check_format, plot_timeline
    from eyas.cli.vision.session import check_trace, opened
    from eyas.interfaces.files import write_atomically
    from eyas.interfaces.vision.program_file import Program

    check_format(plot)
    check_trace(trace, board)
    for path in (output, plot, trace):
        check_writable(path)
    program = Program.load(program_path)
    images, labels = load_pictures(pictures, limit)
    check_pictures(images, program)
    difference = None
    with progress() as bars, opened(program, bars, trace, board) as engine:
        task = bars.add_task("pictures", total=len(images))
        found = measure(engine, program, images, lambda done: bars.update(task, completed=done))
        if check:
            from models.vision.graph import Graph

            graph = Graph.from_bytes(program.graph)
            difference = compare(graph, engine, images, found.logits)

    accuracy = None if labels is None else class_accuracy(found.outputs, labels)
    if output is not None:
        packed = io.BytesIO()
        np.savez(packed, outputs=found.outputs, logits=found.logits)
        write_atomically(output, packed.getvalue())
    if plot is not None:
        plot_timeline(found.layers, f"{program.manifest.name}: one picture", plot)
    bit_exact = difference is None if check else None
    if json:
        print_json(_summary(program, found, accuracy, bit_exact, board))
    else:
        show(layer_table(program, found))
        say(f"Computed by: {board.description}")
        for line in _lines(found, accuracy, board):
            say(line)
        if bit_exact:
            say(f"All {found.outputs.size:,} outputs equal the reference, bit for bit")
    if difference is not None:
        notes.print(f"eyas: differs from the reference: {difference}", soft_wrap=True)
        raise typer.Exit(ANSWER_IS_NO)


LAYER_COLUMNS = (
    "layer", "op", "cycles", "MACs", "of peak", "array", "requant.", "drain", "tables",
)  # fmt: skip
"""Headings of :func:`layer_rows`: the last four say what a layer's cycles went to."""


def layer_table(program: Program, found: Measured) -> Table:
    """Cycles, work, utilisation and waits of each layer."""
    from eyas.cli.common.console import table

    layers = [item.as_dict() for item in found.layers]
    peak = program.config.macs_per_cycle
    title = f"{program.manifest.name}, one picture"
    return table(title, LAYER_COLUMNS, layer_rows(layers, peak))


def layer_rows(layers: list[dict[str, Any]], peak: int) -> list[tuple[str, ...]]:
    """A row for each of ``layers`` (as in ``--json``), and their sum.

    Cycles in which the array took a pass, waited for requantisation, for the last results of a
    layer, for the tables of a residual add.
    """

    def row(name: str, op: str, item: Mapping[str, Any]) -> tuple[str, ...]:
        waits = (item[f"{key}_cycles"] for key in ("array", "requantize", "drain", "table"))
        return (
            name,
            op,
            f"{item['cycles']:,}",
            *_work(item["macs"], item["macs"] / (item["cycles"] * peak)),
            *(f"{cycles:,}" if cycles else "–" for cycles in waits),
        )

    names = _labels([item["name"] for item in layers])
    return [
        *(row(name, item["op"], item) for name, item in zip(names, layers, strict=True)),
        row("all", "", layer_sums(layers)),
    ]


def _labels(names: list[str]) -> list[str]:
    """Names for a table: of a fused layer (``a;b;c``) the first part, where no other has it."""
    first = [name.partition(";")[0] for name in names]
    return [
        part if first.count(part) == 1 else name for part, name in zip(first, names, strict=True)
    ]


def layer_sums(layers: list[dict[str, Any]]) -> dict[str, int]:
    """Cycles and work of all ``layers`` together."""
    keys = ("cycles", "macs", "array_cycles", "requantize_cycles", "drain_cycles", "table_cycles")
    return {key: sum(item[key] for item in layers) for key in keys}


def _lines(found: Measured, accuracy: float | None, board: BoardKind) -> list[str]:
    simulated = board is BoardKind.RTL
    others = "without the simulation" if simulated else "the functional board's work included"
    lines = [
        cycles_line(found),
        "Of the core's cycles the array waited "
        + ", ".join(f"{cycles:,} for {STALLS[cause]}" for cause, cycles in stalls(found).items()),
        f"{found.host_us:,.1f} µs of Python a picture, {others}",
    ]
    if accuracy is not None:
        count = len(found.outputs)
        lines.append(f"Accuracy on {count:,} picture{'s' * (count != 1)}: {accuracy:.2%}")
    return lines


STALLS = {
    "requantize": "requantisation",
    "drain": "the last results of layers",
    "tables": "tables of residual adds",
    "start": "layers to start",
}
"""What the array waits for: its name in ``--json``, and in words."""


def stalls(found: Measured) -> dict[str, int]:
    """Core cycles of a picture in which the array took no pass, by cause."""
    named = {
        "requantize": sum(item.requantize_cycles for item in found.layers),
        "drain": sum(item.drain_cycles for item in found.layers),
        "tables": sum(item.table_cycles for item in found.layers),
    }
    passes = sum(item.array_cycles for item in found.layers)
    return {**named, "start": found.core_cycles - passes - sum(named.values())}


def _work(macs: int, utilisation: float) -> tuple[str, str]:
    return (f"{macs:,}", f"{utilisation:.1%}") if macs else ("–", "–")


def cycles_line(found: Measured) -> str:
    """The line with the cycles of a picture, alone and queued."""
    return (
        f"Cycles a picture: {found.core_cycles:,} of the core, {found.end_to_end_cycles:,} from "
        f"doorbell to interrupt, {found.queued_cycles:,} when pictures queue"
    )


def _summary(
    program: Program,
    found: Measured,
    accuracy: float | None,
    bit_exact: bool | None,
    board: BoardKind,
) -> dict[str, Any]:
    """What ``--json`` prints; without --check or labels ``bit_exact`` or ``accuracy`` is null."""
    layers = [item.as_dict() for item in found.layers]
    sums = layer_sums(layers)
    return {
        "name": program.manifest.name,
        "board": board.value,
        "pictures": len(found.outputs),
        "accuracy": accuracy,
        "bit_exact": bit_exact,
        "outputs": found.outputs.size,
        "core_cycles": found.core_cycles,
        "end_to_end_cycles": found.end_to_end_cycles,
        "queued_cycles": found.queued_cycles,
        "host_us": found.host_us,
        "stalls": stalls(found),
        "layers": layers,
        "all": {
            **sums,
            "utilisation": round(
                sums["macs"] / (sums["cycles"] * program.config.macs_per_cycle), 4
            ),
        },
    }

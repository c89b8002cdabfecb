"""Runs pictures on a vision engine and counts cycles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from drivers.vision import VisionEngine
    from eyas.interfaces.vision.program_file import Program

__all__ = ["Layer", "Measured", "class_accuracy", "measure"]

BATCH = 32
"""Pictures handed to the driver at once: enough to keep its queue full, few enough for a progress
bar to move."""

ALONE = 5
"""Pictures that run once more, each alone, for the time from doorbell to interrupt."""


@dataclass(frozen=True)
class Layer:
    """What one layer of the last picture took.

    ``cycles`` runs from the layer's start to its last result; ``array_cycles`` of them the array
    multiplied, ``requantize_cycles`` it waited for requantisation, ``drain_cycles`` passed after
    its last pass.  Before its start an addition waited ``table_cycles`` for its tables.  ``macs``
    are the model's nominal ones, ``utilisation`` their share of what the array could have done in
    ``cycles``.
    """

    name: str
    op: str
    cycles: int
    macs: int
    utilisation: float
    array_cycles: int
    requantize_cycles: int
    drain_cycles: int
    table_cycles: int

    def as_dict(self) -> dict[str, Any]:
        """As ``eyas run --json`` prints it."""
        return asdict(self)


@dataclass(frozen=True)
class Measured:
    """Answers to all pictures, the logits behind them, and what a picture took.

    ``core_cycles`` (from the first instruction to the last result) and ``host_us`` (Python beside
    the simulation) are medians over all pictures.  ``end_to_end_cycles`` (doorbell to interrupt) is
    the median of pictures that ran alone; ``queued_cycles`` the mean of all, which wait in
    the driver's queue.  ``layers`` are those of the last picture.
    """

    outputs: npt.NDArray[np.int8]
    logits: npt.NDArray[np.int8]
    core_cycles: int
    end_to_end_cycles: int
    queued_cycles: int
    host_us: float
    layers: list[Layer]


def measure(
    engine: VisionEngine,
    program: Program,
    pictures: npt.NDArray[Any],
    done: Callable[[int], None] = lambda count: None,
) -> Measured:
    """Run ``pictures`` through the loaded ``program``; ``done`` gets the number that is ready."""
    results = []
    for start in range(0, len(pictures), BATCH):
        results.append(engine.infer(pictures[start : start + BATCH]))
        done(min(start + BATCH, len(pictures)))
    alone = [
        engine.infer(pictures[i : i + 1]).busy_cycles for i in range(min(ALONE, len(pictures)))
    ]
    return Measured(
        outputs=np.concatenate([item.outputs for item in results]),
        logits=np.concatenate([item.logits for item in results]),
        core_cycles=round(np.median(np.concatenate([item.core_cycles for item in results]))),
        end_to_end_cycles=round(np.median(alone)),
        queued_cycles=round(sum(item.busy_cycles for item in results) / len(pictures)),
        host_us=round(float(np.median(np.concatenate([item.host_us for item in results]))), 1),
        layers=_layers(engine, program),
    )


def class_accuracy(outputs: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float:
    """The share of pictures whose greatest output stands at their label."""
    return float((outputs.reshape(len(outputs), -1).argmax(1) == labels).mean())


def _layers(engine: VisionEngine, program: Program) -> list[Layer]:
    """The hardware's counters by layer, beside the program's nominal work."""
    peak = engine.config.macs_per_cycle
    layers = []
    for entry, counters in zip(program.manifest.layers, engine.layer_counters(), strict=True):
        layers.append(
            Layer(
                name=entry.name,
                op=entry.op,
                cycles=counters.cycles,
                macs=entry.macs,
                utilisation=round(entry.macs / (counters.cycles * peak), 4),
                array_cycles=counters.array_cycles,
                requantize_cycles=counters.requantize_cycles,
                drain_cycles=counters.drain_cycles,
                table_cycles=counters.table_cycles,
            )
        )
    return layers

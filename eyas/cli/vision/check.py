"""Compares every number of the hardware with the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from drivers.vision import VisionEngine
    from models.vision.graph import Graph

__all__ = ["Difference", "compare"]

Int8Array = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Difference:
    """Where hardware and reference part: the first layer that differs, and the first index in it.

    ``index`` is (row, column, channel) in the layer's output map.
    """

    picture: int
    layer: str
    index: tuple[int, ...]
    expected: int
    found: int

    def __str__(self) -> str:
        return (
            f"picture {self.picture}, layer {self.layer}, index {self.index}: "
            f"the reference has {self.expected}, the hardware {self.found}"
        )


def compare(
    graph: Graph, engine: VisionEngine, pictures: npt.NDArray[Any], logits: Int8Array
) -> Difference | None:
    """The first difference between ``logits`` and the reference's, or None.

    The first picture that differs is run again, layer by layer, to find where it began.
    """
    from models.vision.graph import quantize_input
    from models.vision.reference import run, run_layers

    quantised = quantize_input(graph, pictures)
    expected = run(graph, quantised)
    wrong = np.flatnonzero(
        (expected.reshape(logits.shape) != logits).reshape(len(logits), -1).any(1)
    )
    if not len(wrong):
        return None
    picture = int(wrong[0])
    maps = run_layers(graph, quantised[picture : picture + 1])
    assert engine.program is not None
    layers = engine.program.manifest.layers
    for number, layer in enumerate(layers):
        if layer.tensor is None:  # the rest of its map comes with the next layers
            continue
        found = engine.probe(quantised[picture], number)
        reference = maps[layer.tensor][0]
        channels = layer.channels or range(reference.shape[2])
        computed = reference[..., channels]
        places = np.argwhere(found.reshape(computed.shape) != computed)
        if len(places):
            row, column, channel = (int(item) for item in places[0])
            return Difference(
                picture,
                layer.name,
                (row, column, int(channels[channel])),
                int(computed[row, column, channel]),
                int(found[row, column, channel]),
            )
    # Layer by layer all is well: the fault is in what happens between pictures.
    final = expected[picture].reshape(-1)
    place = int(np.flatnonzero(final != logits[picture].reshape(-1))[0])
    return Difference(
        picture,
        f"{layers[-1].name} (right when the picture runs alone)",
        (0, 0, place),
        int(final[place]),
        int(logits[picture].reshape(-1)[place]),
    )

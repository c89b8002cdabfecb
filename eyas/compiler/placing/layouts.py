"""Which pitch each map gets, and which of its alternatives each layer runs as."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from eyas.compiler.lowering.steps import Choice, Step
from eyas.compiler.maps import MapLayout, layout_of
from eyas.interfaces.vision.config import VisionConfig
from models.vision.graph import Tensor

__all__ = ["best", "choose_layouts"]


def choose_layouts(
    choices: Sequence[Choice],
    tensors: Mapping[str, Tensor],
    config: VisionConfig,
    *,
    dense: bool = False,
) -> dict[str, MapLayout]:
    """The layouts that cost the fewest cycles, by tensor.

    Parameters
    ----------
    choices : sequence of Choice
        The layers in their order.
    tensors : dict of str to Tensor
        Every map that stands in memory.
    dense : bool
        Leave no gaps between rows, whatever it costs.

    Notes
    -----
    The pitch decides (:mod:`eyas.compiler.maps`), by its remainder modulo the number of
    banks. A map's own writer does not mind. Maps that a step reads together must have the same one.
    """
    layouts: dict[str, MapLayout] = {}
    for group in _read_together(choices, tensors):
        readers = [choice for choice in choices if choice[0].inputs[0] in group]
        width = tensors[group[0]].shape[1]

        def cost(pitch: int, readers: Sequence[Choice] = readers) -> tuple[int, int]:
            return sum(_cycles(best(choice, pitch, config), pitch, config) for choice in readers), (
                pitch
            )

        pitch = width if dense else min(range(width, width + config.pixels), key=cost)
        layouts.update({name: layout_of(tensors[name], pitch, config) for name in group})
    return layouts


def best(choice: Choice, pitch: int, config: VisionConfig) -> Step:
    """The alternative with the fewest cycles when its input map has this pitch."""
    possible = [step for step in choice if step.array_cycles(pitch, config) is not None]
    return min(possible, key=lambda step: _cycles(step, pitch, config))


def _cycles(step: Step, pitch: int, config: VisionConfig) -> int:
    cycles = step.array_cycles(pitch, config)
    assert cycles is not None, f"{step.name} cannot run with a pitch of {pitch}"
    return cycles


def _read_together(choices: Iterable[Choice], tensors: Iterable[str]) -> list[list[str]]:
    """The tensors, those that some step reads together in one list."""
    groups = {name: [name] for name in tensors}
    for choice in choices:
        for name in choice[0].inputs[1:]:
            one, other = groups[choice[0].inputs[0]], groups[name]
            if one is not other:
                one.extend(other)
                groups.update(dict.fromkeys(other, one))
    return list({id(group): group for group in groups.values()}.values())

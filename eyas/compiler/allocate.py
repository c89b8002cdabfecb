"""Where each map stands in the activation memory, and when the picture's place is free again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from eyas.compiler.errors import CompileError
from eyas.compiler.maps import MapLayout
from eyas.interfaces.configs import VisionConfig
from models.vision.graph import Graph

__all__ = ["Allocation", "allocate"]


@dataclass(frozen=True)
class Allocation:
    """Maps with their bases.

    Parameters
    ----------
    maps : dict of str to MapLayout
        Each tensor's place.
    release : int or None
        Index of the node after which nothing touches the picture's region any more; None when the
        output itself stands there.
    peak_words : int
        Words of each bank in use at most.
    """

    maps: dict[str, MapLayout]
    release: int | None
    peak_words: int


def allocate(graph: Graph, layouts: Mapping[str, MapLayout], config: VisionConfig) -> Allocation:
    """Give every map a base so that no two maps that live at once overlap.

    Tried first with a region for the picture that nothing else uses: the next picture can then come
    in as soon as the first layer has run.  Where that does not fit, the region is shared.

    Raises
    ------
    CompileError
        When the maps of some layer do not fit; the message names it, with the figures.
    """
    lives = _lives(graph)
    for alone in (True, False):
        wanted = dict(lives)
        if alone:
            wanted[graph.input] = (-1, len(graph.nodes))
        bases = _place(layouts, wanted, config.bank_words)
        if bases is not None:
            break
    else:
        raise CompileError(_does_not_fit(graph, layouts, lives, config))
    maps = {name: replace(layouts[name], base=base) for name, base in bases.items()}
    return Allocation(
        maps=maps,
        release=_release(graph, maps),
        peak_words=max(item.base + item.words for item in maps.values()),
    )


def _lives(graph: Graph) -> dict[str, tuple[int, int]]:
    """Each tensor's first and last node; the picture is there before node 0."""
    lives = {graph.input: (-1, -1)}
    for index, node in enumerate(graph.nodes):
        lives[node.output] = (index, index)
        for name in node.inputs:
            lives[name] = (lives[name][0], index)
    lives[graph.output] = (lives[graph.output][0], len(graph.nodes))
    return lives


def _place(
    layouts: Mapping[str, MapLayout], lives: Mapping[str, tuple[int, int]], capacity: int
) -> dict[str, int] | None:
    """First fit, the largest first; None when one does not fit."""
    bases: dict[str, int] = {}
    for name in sorted(lives, key=lambda item: (-layouts[item].words, lives[item])):
        first, last = lives[name]
        neighbours = sorted(
            (base, base + layouts[other].words)
            for other, base in bases.items()
            if lives[other][0] <= last and first <= lives[other][1]
        )
        base = 0
        for start, end in neighbours:
            if base + layouts[name].words <= start:
                break
            base = max(base, end)
        if base + layouts[name].words > capacity:
            return None
        bases[name] = base
    return bases


def _release(graph: Graph, maps: Mapping[str, MapLayout]) -> int | None:
    picture = maps[graph.input]
    touching = {
        name
        for name, item in maps.items()
        if item.base < picture.base + picture.words and picture.base < item.base + item.words
    }
    if graph.output in touching:
        return None
    return max(
        index
        for index, node in enumerate(graph.nodes)
        if touching.intersection((*node.inputs, node.output))
    )


def _does_not_fit(
    graph: Graph,
    layouts: Mapping[str, MapLayout],
    lives: Mapping[str, tuple[int, int]],
    config: VisionConfig,
) -> str:
    def words_at(index: int) -> int:
        return sum(
            layouts[name].words for name, (first, last) in lives.items() if first <= index <= last
        )

    worst = max(range(len(graph.nodes)), key=words_at)
    per_word = config.pixels * config.input_channels
    return (
        f"The maps that live at layer {graph.nodes[worst].name!r} need "
        f"{_kib(words_at(worst) * per_word)} of activation memory, the engine has "
        f"{_kib(config.activation_bytes)}"
        + ("" if words_at(worst) > config.bank_words else ", and no arrangement of them fits")
    )


def _kib(size: int) -> str:
    return f"{size / 1024:.1f} KiB"

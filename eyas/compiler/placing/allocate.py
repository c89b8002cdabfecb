"""Where each map stands in the activation memory, and when the picture's place is free again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from eyas.compiler.errors import CompileError
from eyas.compiler.lowering.steps import Step, Touch
from eyas.compiler.maps import MapLayout
from eyas.interfaces.vision.config import VisionConfig

__all__ = ["Allocation", "allocate", "shortage"]

Lives = Mapping[str, tuple[tuple[int, int], ...]]
"""The spans in which each tensor needs its place: first and last step, in their order."""


@dataclass(frozen=True)
class Allocation:
    """Maps with their bases.

    Parameters
    ----------
    maps : dict of str to MapLayout
        Each tensor's place.
    release : int or None
        Index of the step after which nothing touches the picture's region any more; None when the
        output itself stands there.
    peak_words : int
        Words of each bank in use at most.
    """

    maps: dict[str, MapLayout]
    release: int | None
    peak_words: int


def allocate(
    steps: Sequence[Step],
    layouts: Mapping[str, MapLayout],
    picture: str,
    output: str,
    config: VisionConfig,
) -> Allocation:
    """Give every map a base so that no two maps that live at once overlap.

    Tried first with a region for the picture that nothing else uses: the next picture can then come
    in as soon as the first layer has run.  Where that does not fit, other maps share the region,
    for as few layers as possible.

    Parameters
    ----------
    steps : sequence of Step
        The layers in their order.
    layouts : dict of str to MapLayout
        Every map, without its base.
    picture, output : str
        Tensors that are there before the first layer, and behind the last.

    Raises
    ------
    CompileError
        When the maps of some layer do not fit; the message names it, with the figures.
    """
    lives = _lives(steps, picture, output)
    ((first, last),) = lives[picture]
    for free in range(last + 1, len(steps) + 2):
        # From step ``free`` on nothing but the next picture uses the region.
        spans = ((first, last), (free, len(steps)))
        wanted = {**lives, picture: spans[: 1 if free > len(steps) else 2]}
        bases = _place(layouts, wanted, config.bank_words)
        if bases is not None:
            break
    else:
        raise CompileError(
            shortage(steps, layouts, picture, output, config)
            or _need(steps, layouts, lives, config) + ", and no arrangement of them was found"
        )
    maps = {name: replace(layouts[name], base=base) for name, base in bases.items()}
    return Allocation(
        maps=maps,
        release=_release(steps, maps, picture, output),
        peak_words=max(item.base + item.words for item in maps.values()),
    )


def _lives(
    steps: Sequence[Touch], picture: str, output: str
) -> dict[str, tuple[tuple[int, int], ...]]:
    """Each tensor's first and last step; the picture is there before step 0."""
    lives = {picture: (-1, -1)}
    for index, step in enumerate(steps):
        for name in (*step.inputs, step.output):
            lives[name] = (lives.get(name, (index, index))[0], index)
    lives[output] = (lives[output][0], len(steps))
    return {name: (span,) for name, span in lives.items()}


def _place(layouts: Mapping[str, MapLayout], lives: Lives, capacity: int) -> dict[str, int] | None:
    """First fit in one of a few orders; None when none of them fits."""
    orders: tuple[Callable[[str], tuple[int, ...]], ...] = (
        lambda name: (-layouts[name].words, *lives[name][0]),
        lambda name: (*lives[name][0], -layouts[name].words),
        lambda name: (lives[name][0][0] - lives[name][-1][1], -layouts[name].words),
    )
    for order in orders:
        bases = _first_fit(sorted(lives, key=order), layouts, lives, capacity)
        if bases is not None:
            return bases
    return None


def _first_fit(
    names: Sequence[str],
    layouts: Mapping[str, MapLayout],
    lives: Lives,
    capacity: int,
) -> dict[str, int] | None:
    """Each map as low as those before it leave room; None when one does not fit."""
    bases: dict[str, int] = {}
    for name in names:
        neighbours = sorted(
            (base, base + layouts[other].words)
            for other, base in bases.items()
            if any(
                start <= last and first <= end
                for first, last in lives[name]
                for start, end in lives[other]
            )
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


def _release(
    steps: Sequence[Step], maps: Mapping[str, MapLayout], picture: str, output: str
) -> int | None:
    region = maps[picture]
    touching = {
        name
        for name, item in maps.items()
        if item.base < region.base + region.words and region.base < item.base + item.words
    }
    if output in touching:
        return None
    return max(
        index
        for index, step in enumerate(steps)
        if touching.intersection((*step.inputs, step.output))
    )


def shortage(
    steps: Sequence[Touch],
    layouts: Mapping[str, MapLayout],
    picture: str,
    output: str,
    config: VisionConfig,
) -> str | None:
    """A sentence on the layer whose maps are too much however they are arranged, or None."""
    lives = _lives(steps, picture, output)
    if _words_at(_worst(steps, layouts, lives), layouts, lives) <= config.bank_words:
        return None
    return _need(steps, layouts, lives, config)


def _worst(steps: Sequence[Touch], layouts: Mapping[str, MapLayout], lives: Lives) -> int:
    return max(range(len(steps)), key=lambda index: _words_at(index, layouts, lives))


def _words_at(index: int, layouts: Mapping[str, MapLayout], lives: Lives) -> int:
    return sum(layouts[name].words for name in _live_at(index, lives))


def _live_at(index: int, lives: Lives) -> list[str]:
    return [name for name, ((first, last),) in lives.items() if first <= index <= last]


def _need(
    steps: Sequence[Touch],
    layouts: Mapping[str, MapLayout],
    lives: Lives,
    config: VisionConfig,
) -> str:
    worst = _worst(steps, layouts, lives)
    words = _words_at(worst, layouts, lives)
    values = sum(layouts[name].values for name in _live_at(worst, lives))
    return (
        f"The maps that live at layer {steps[worst].name!r} need "
        f"{_kib(words * config.pixels * config.input_channels)} of activation memory as laid out "
        f"({_kib(values)} of values), the engine has {_kib(config.activation_bytes)}"
    )


def _kib(size: int) -> str:
    return f"{size / 1024:.1f} KiB"

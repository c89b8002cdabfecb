"""The way from a quantised graph to a program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from eyas.compiler.blockers import engine_blockers
from eyas.compiler.emission.cycles import layer_cycles
from eyas.compiler.emission.emit import emit
from eyas.compiler.emission.layers import Layer, lower
from eyas.compiler.emission.sizes import shortages
from eyas.compiler.errors import CompileError, ScaleError
from eyas.compiler.lowering.folding import Folding
from eyas.compiler.lowering.folding import fold as fold_constants
from eyas.compiler.lowering.patches import Patches, use_patches
from eyas.compiler.lowering.plan import plan
from eyas.compiler.placing.allocate import Allocation, allocate
from eyas.compiler.placing.layouts import best, choose_layouts
from eyas.interfaces.vision.config import DEFAULT_VISION, VisionConfig
from eyas.interfaces.vision.manifest import (
    Folded,
    Manifest,
    ProgramLayer,
    ProgramSizes,
    ProgramTensor,
    SoftmaxEnd,
)
from eyas.interfaces.vision.program_file import Program
from models.vision.graph import Graph, Tensor

__all__ = ["compile_graph"]


def compile_graph(
    graph: Graph,
    config: VisionConfig = DEFAULT_VISION,
    name: str | None = None,
    *,
    fold: bool = True,
) -> Program:
    """Compile ``graph`` for the array ``config``.

    Parameters
    ----------
    graph : Graph
        The quantised network.
    config : VisionConfig
        The array; the program runs on this shape alone.
    name : str or None
        What reports call the program; the graph's name when None.
    fold : bool
        Leave out channels that are the same for every picture
        (:mod:`eyas.compiler.lowering.folding`); results do not change.

    Raises
    ------
    CompileError
        When the network does not fit the engine: a sentence for each reason, with figures, in
        ``blockers``.
    """
    folding = _folded(graph) if fold else Folding(graph, {}, 0)
    try:
        found = _first_that_fits(folding.graph, config)
    except CompileError as error:
        rest = engine_blockers(folding.graph, config, graph)
        raise CompileError(*dict.fromkeys((*error.blockers, *rest))) from error
    if too_large := tuple(shortages([layer.step for layer in found.layers], graph, config)):
        raise CompileError(*too_large)
    image = emit(
        found.layers,
        found.allocation.maps[graph.input],
        found.allocation.maps[graph.output],
        config,
        found.patches,
    )
    steps = [layer.step for layer in found.layers]
    macs = {node.name: folding.graph.macs(node) for node in folding.graph.nodes}
    maps = found.allocation.maps
    manifest = Manifest(
        name=name or graph.name,
        config=config,
        macs=folding.graph.macs(),
        folded=Folded(folding.removed, graph.macs()),
        input=replace(_tensor(graph.input_tensor), declared=graph.declared_shape or None),
        output=_tensor(graph.output_tensor),
        softmax=_softmax(graph),
        output_map=maps[graph.output].place(),
        preprocess=(graph.preprocess[0], graph.preprocess[1]),
        labels=tuple(graph.labels),
        layers=tuple(
            ProgramLayer(
                name=layer.step.name,
                op=layer.step.op,
                macs=macs.get(layer.step.name, 0),
                cycles=layer_cycles(layer, config),
                tensor=layer.step.output if layer.step.completes else None,
                channels=_channels(folding.kept.get(layer.step.output)),
                map=maps[layer.step.output].place(),
            )
            for layer in found.layers
        ),
        sizes=ProgramSizes(
            weight_rows=sum(len(step.weights) for step in steps),
            parameter_rows=sum(len(step.parameters) for step in steps),
            bank_words=found.allocation.peak_words,
        ),
    )
    return Program(manifest, image, graph.to_bytes())


def _folded(graph: Graph) -> Folding:
    """``graph`` without constant channels; as it is where the engine cannot run it anyway."""
    try:
        return fold_constants(graph)
    except ScaleError:
        return Folding(graph, {}, 0)


@dataclass(frozen=True, eq=False)
class _Placed:
    """A network whose maps have their places."""

    layers: list[Layer]
    allocation: Allocation
    patches: Patches | None


def _first_that_fits(graph: Graph, config: VisionConfig) -> _Placed:
    """The fastest form of ``graph`` whose maps fit in the activation memory."""
    for variant, patches, dense in _variants(graph, config):
        choices = plan(variant, config)
        names = {name for choice in choices for name in (*choice[0].inputs, choice[0].output)}
        tensors = {name: tensor for name, tensor in variant.tensors.items() if name in names}
        layouts = choose_layouts(choices, tensors, config, dense=dense)
        steps = [best(choice, layouts[choice[0].inputs[0]].pitch, config) for choice in choices]
        try:
            allocation = allocate(steps, layouts, graph.input, graph.output, config)
        except CompileError as error:
            refusal = error
            continue
        return _Placed(lower(steps, allocation, config), allocation, patches)
    raise refusal


def _variants(graph: Graph, config: VisionConfig) -> Iterator[tuple[Graph, Patches | None, bool]]:
    """Forms of ``graph``, the fastest first, the one that needs the least memory last."""
    patched = use_patches(graph, config)
    if patched is not None:
        for dense in (False, True):
            yield *patched, dense
    for dense in (False, True):
        yield graph, None, dense


def _tensor(tensor: Tensor) -> ProgramTensor:
    height, width, channels = tensor.shape
    return ProgramTensor((height, width, channels), tensor.scale, tensor.zero_point)


def _channels(kept: list[int] | None) -> tuple[int, ...] | None:
    return None if kept is None else tuple(kept)


def _softmax(graph: Graph) -> SoftmaxEnd | None:
    """What makes the network's answer of the output, where it ends in a softmax."""
    if graph.softmax is None:
        return None
    return SoftmaxEnd(graph.softmax_beta, graph.softmax.scale, graph.softmax.zero_point)

"""From a ``.tflite`` file to the quantised graph.

The file is read with the classes of the package ``tflite`` alone. What Eyas cannot run bit for bit
as LiteRT's reference kernels do is refused by its name, all of it in one answer, before anything
is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from eyas.compiler.importers.tflite_file import (
    NO_TENSOR,
    DamagedFile,
    FileModel,
    TfliteError,
    UnsupportedType,
)
from eyas.compiler.importers.tflite_network import Network, label_of
from eyas.compiler.importers.tflite_operators import OPERATORS, VERSIONS
from eyas.compiler.importers.tflite_reader import read_file
from eyas.compiler.importers.tflite_step import Step
from eyas.compiler.importers.tflite_types import as_int8, inner_type, type_blockers
from eyas.compiler.unread import Unread
from models.vision.graph import Graph, GraphError, Tensor
from models.vision.node import ShapeError

__all__ = ["Reading", "TfliteError", "import_tflite", "read_network"]

NAMED = 3
"""Operators of one kind that a message names; it counts the others."""


@dataclass(frozen=True)
class Reading:
    """What could be read of a file.

    Parameters
    ----------
    graph : Graph or None
        The network; where something was refused, a sketch of it with stand-ins
        (:class:`eyas.compiler.unread.Unread`), good for its sizes alone, or None.
    blockers : tuple of str
        What was refused, one sentence each, the most serious first; empty where nothing was.
    """

    graph: Graph | None
    blockers: tuple[str, ...]


def import_tflite(data: bytes, name: str) -> Graph:
    """The network in a ``.tflite`` file.

    Tensors keep the file's names, nodes carry their output's; a name that is empty or taken gets
    the tensor's number. Operators whose output nothing reads are left out. Where the network ends
    in a softmax, the graph's output is the logits and ``Graph.softmax`` the probabilities. A uint8
    picture stands for the input's 256 levels, 0 for the least: that is what ``preprocess`` is set
    to.

    Parameters
    ----------
    data : bytes
        The file: full-integer int8 quantisation, one input, one output, one picture.
    name : str
        The graph's name.

    Raises
    ------
    TfliteError
        The file is none, is damaged (one sentence), or holds what Eyas cannot run (a sentence for
        each thing, in ``blockers``).
    """
    reading = read_network(data, name)
    if reading.blockers or reading.graph is None:
        raise TfliteError(*reading.blockers)
    return reading.graph


def read_network(data: bytes, name: str) -> Reading:
    """What can be read of the file; TfliteError where it is none or is damaged."""
    model = _alive(read_file(data))
    forms = list(_batch(model))
    model = _for_one_picture(model)
    types, is_int8 = type_blockers(model), inner_type(model) == "INT8"
    if types or model.faults:
        model = _alive(as_int8(model))
    serious = [*model.faults, *types, *_unknown_operators(model)]
    if is_int8:  # another conversion makes others
        serious += _versions(model)
    network = Network(model)
    for index in model.inputs[1:]:
        network.leave_unread((model.input,), (index,))
    for operator in model.operators:
        step = Step(network, operator, label_of(network.model, operator))
        if operator.code in OPERATORS:
            refusal = _read(step)
            if refusal is None:
                continue
            if refusal.blockers:
                (serious if isinstance(refusal, UnsupportedType) else forms).append(str(refusal))
        network.leave_unread(operator.inputs, operator.outputs, step.shape)
    _check_written(model, network)
    if not network.nodes and not serious and not forms:
        forms.append(_nothing_to_compute(model))
    elif len(model.outputs) == 1 and network.views[model.output] in network.tensors:
        try:
            network.check_output()
        except TfliteError as error:
            forms.append(str(error))
    blockers = tuple(dict.fromkeys([*serious, *forms]))
    try:
        return Reading(_graph(name, network), blockers)
    except GraphError as error:
        return Reading(None, blockers or (str(error),))


def _alive(model: FileModel) -> FileModel:
    """The file without the operators whose results nothing reads.

    One without any output stays, to be refused: it is damaged, or there for what it does aside.
    """
    wanted = set(model.outputs)
    kept = []
    for operator in reversed(model.operators):
        if wanted.isdisjoint(operator.outputs) and operator.outputs:
            continue
        wanted -= set(operator.outputs)
        wanted |= set(operator.inputs) - {NO_TENSOR}
        kept.append(operator)
    return replace(model, operators=tuple(reversed(kept)))


def _read(step: Step) -> TfliteError | None:
    """Why the operator is refused, or None; damage ends it all.

    What contradicts a stand-in alone is no blocker: the refusal then has none.
    """
    guess = step.network.is_guess(step.operator.inputs)
    try:
        OPERATORS[step.operator.code](step)
    except DamagedFile:
        if not guess:
            raise
        return TfliteError()
    except TfliteError as error:
        return error
    except GraphError as error:
        if guess and isinstance(error, ShapeError):
            return TfliteError()
        return step.reworded(error)
    return None


def _batch(model: FileModel) -> Iterable[str]:
    if (batch := _batch_size(model)) > 1:
        yield f"The network takes a batch of {batch} pictures; convert it for one picture"


def _batch_size(model: FileModel) -> int:
    """Pictures that the file takes and answers at once."""
    ends = [model.tensors[index].shape for index in (model.input, model.output)]
    one = len(ends[0]) != 4 or not ends[1] or ends[0][0] != ends[1][0]
    return 1 if one else ends[0][0]


def _for_one_picture(model: FileModel) -> FileModel:
    """The file as it might be with a batch of one."""
    batch = _batch_size(model)
    tensors = tuple(
        replace(item, shape=(1, *item.shape[1:]))
        if item.data is None and item.shape[:1] == (batch,)
        else item
        for item in model.tensors
    )
    return replace(model, tensors=tensors)


def _unknown_operators(model: FileModel) -> Iterable[str]:
    """A sentence for each kind of operator that there is none of; the first has the others."""
    labels: dict[str, list[str]] = {}
    for operator in model.operators:
        if operator.code not in OPERATORS:
            labels.setdefault(operator.code, []).append(label_of(model, operator))
    for number, (code, names) in enumerate(labels.items()):
        tensors = ", ".join(name[len(code) :].strip() for name in names[:NAMED])
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        known = "" if number else f"; it has {', '.join(OPERATORS)}"
        yield f"{code} {tensors}{more}: Eyas has no such operator{known}"


def _versions(model: FileModel) -> Iterable[str]:
    for operator in model.operators:
        known = VERSIONS.get(operator.code, {operator.version})
        if operator.version not in known:
            yield (
                f"{label_of(model, operator)}: version {operator.version} of the operator is not "
                f"supported; Eyas reads {', '.join(map(str, sorted(known)))}"
            )


def _check_written(model: FileModel, network: Network) -> None:
    for index in model.outputs:
        if index not in network.views:
            raise DamagedFile("No operator writes the network's output: the file is damaged")


def _nothing_to_compute(model: FileModel) -> str:
    softmax = [operator for operator in model.operators if operator.code == "SOFTMAX"]
    if not softmax:
        return "The network has no operator that computes anything"
    return (
        f"{label_of(model, softmax[0])}: is all that the network computes, and the driver computes "
        "it on the host: there is nothing for the engine"
    )


def _graph(name: str, network: Network) -> Graph:
    """The graph, or the sketch, that the operators have made."""
    model, tensors = network.model, dict(network.tensors)
    nodes, output = list(network.nodes), network.views[model.output]
    if len(model.outputs) > 1:  # a sketch: what reads them all
        names = tuple(dict.fromkeys(network.views[index] for index in model.outputs))
        output = network.new_name(model.output)
        tensors[output] = Tensor(output, (1, 1, 1), 1.0, 0)
        nodes.append(Unread(name=output, input=names[0], output=output, sources=names))
    picture = tensors.get(network.input)
    if picture is None:
        raise GraphError(_nothing_to_compute(model))
    return Graph(
        name=name,
        tensors=tensors,
        nodes=tuple(nodes),
        input=network.input,
        output=output,
        preprocess=(picture.scale, picture.scale * (-128 - picture.zero_point)),
        softmax=network.softmax if len(model.outputs) == 1 else None,
        softmax_beta=network.softmax_beta,
        declared_shape=_declared_shape(model, picture),
    )


def _declared_shape(model: FileModel, picture: Tensor) -> tuple[int, ...] | None:
    """The file's shape of one picture, where the first operator reshapes it; else None."""
    shape = model.tensors[model.input].shape
    shape = shape[1:] if len(shape) > 1 and shape[0] == 1 else shape
    whole = math.prod(shape) == picture.size and min(shape, default=0) > 0
    return shape if whole and shape != picture.shape else None

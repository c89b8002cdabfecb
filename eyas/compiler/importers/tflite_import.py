"""From a ``.tflite`` file to the quantised graph.

The file is read with the classes of the package ``tflite`` alone. What Eyas cannot run bit for bit
as LiteRT's reference kernels do is refused by its name, in one sentence, before anything is made.
"""

from __future__ import annotations

from eyas.compiler.importers.tflite_network import Network, label_of
from eyas.compiler.importers.tflite_operators import OPERATORS, VERSIONS
from eyas.compiler.importers.tflite_reader import NO_TENSOR, FileModel, TfliteError, read_file
from models.vision.graph import Graph, GraphError

__all__ = ["TfliteError", "import_tflite"]


def import_tflite(data: bytes, name: str) -> Graph:
    """The network in a ``.tflite`` file.

    Tensors keep the file's names, nodes carry their output's; a name that is empty or taken gets
    the tensor's number. Where the network ends in a softmax, the graph's output is the logits and
    ``Graph.softmax`` the probabilities. A uint8 picture stands for the input's 256 levels, 0 for
    the least: that is what ``preprocess`` is set to.

    Parameters
    ----------
    data : bytes
        The file: full-integer int8 quantisation, one input, one output, one picture.
    name : str
        The graph's name.

    Raises
    ------
    TfliteError
        With one sentence: the file is none, is damaged, or holds what Eyas cannot run.
    """
    model = read_file(data)
    _check_types(model)
    for operator in model.operators:
        _check_operator(label_of(model, operator), operator.code, operator.version)
    try:
        network = Network(model)
        for step in network.steps():
            OPERATORS[step.operator.code](step)
        picture = network.tensors.get(network.input)
        if picture is None:
            raise TfliteError("The network has no operator that computes anything")
        return Graph(
            name=name,
            tensors=network.tensors,
            nodes=tuple(network.nodes),
            input=network.input,
            output=network.output,
            preprocess=(picture.scale, picture.scale * (-128 - picture.zero_point)),
            softmax=network.softmax,
            softmax_beta=network.softmax_beta,
        )
    except GraphError as error:
        raise TfliteError(str(error)) from error


def _check_operator(label: str, code: str, version: int) -> None:
    if code not in OPERATORS:
        raise TfliteError(f"{label}: Eyas has no such operator; it has {', '.join(OPERATORS)}")
    if version not in VERSIONS[code]:
        raise TfliteError(
            f"{label}: version {version} of the operator is not supported; Eyas reads "
            f"{', '.join(map(str, sorted(VERSIONS[code])))}"
        )


def _check_types(model: FileModel) -> None:
    """Say what kind of quantisation the file has, where it is not the one that is wanted."""
    activations = {
        model.tensors[index].dtype
        for operator in model.operators
        for index in operator.outputs
        if index != NO_TENSOR
    }
    ends = {model.tensors[model.input].dtype, model.tensors[model.output].dtype}
    others = ends - {"INT8"}
    weights = {
        model.tensors[index].dtype
        for operator in model.operators
        for index in operator.inputs
        if index != NO_TENSOR and model.tensors[index].data is not None
    }
    if not others or not model.operators:
        return
    kind = sorted(others)[0]
    if "INT8" in activations | ends:
        reason = (
            f"The network is int8 inside, but its input or output is {kind}: convert it with "
            "inference_input_type and inference_output_type tf.int8"
        )
    elif kind == "FLOAT32" and "INT8" in weights:
        reason = (
            "The network has int8 weights but float activations (dynamic-range quantisation): "
            "convert it with a representative data set, all in int8"
        )
    elif kind == "FLOAT32":
        reason = "The network is float: convert it with int8 quantisation"
    else:
        reason = f"The network's activations are {kind}; Eyas runs int8"
    raise TfliteError(reason)

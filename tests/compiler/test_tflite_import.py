"""The .tflite importer: what becomes of each operator's forms, and what is refused by name.

That the graph computes what LiteRT does is checked in ``test_tflite_builder.py`` as well.
"""

import copy
import random
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from eyas.compiler import compile_graph
from eyas.compiler.errors import Refusal
from eyas.compiler.importers.tflite_import import TfliteError, import_tflite
from eyas.compiler.tflite_program import compile_tflite
from eyas.interfaces.vision.config import SMALL_VISION
from models.vision.graph import Conv2D, FullyConnected, Graph, Requantize
from models.vision.reference import answers, run_layers
from tests.models.litert import run_file
from tests.tflite_builder import TfliteBuilder, Value, random_network

SEED = 61


def check(data: bytes) -> Graph:
    """The graph of a file whose every map is LiteRT's, on a few pictures."""
    graph = import_tflite(data, "net")
    rng = np.random.default_rng(SEED)
    shape = graph.input_tensor.shape
    pictures = rng.integers(-128, 128, (3, *shape)).astype(np.int8)
    maps = run_layers(graph, pictures)
    for index in range(3):
        expected = run_file(data, pictures[index].reshape(_input_shape(data)))
        for name, values in maps.items():
            np.testing.assert_array_equal(values[index].ravel(), expected[name].ravel(), name)
        if graph.softmax is not None:
            probabilities = answers(graph, maps[graph.output])[index]
            np.testing.assert_array_equal(
                probabilities.ravel(), expected[graph.softmax.name].ravel()
            )
    return graph


def _input_shape(data: bytes) -> list[int]:
    graph = schema.ModelT.InitFromPackedBuf(data).subgraphs[0]
    return list(graph.tensors[graph.inputs[0]].shape)


def changed(data: bytes, change: Callable[[Any], None]) -> bytes:
    """The file after ``change`` of its model, in the schema's object form."""
    model = schema.ModelT.InitFromPackedBuf(data)
    change(model)
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def small_file() -> bytes:
    """CONV_2D, DEPTHWISE_CONV_2D, ADD, MEAN, RESHAPE, FULLY_CONNECTED, SOFTMAX."""
    builder = TfliteBuilder(SEED)
    x = builder.input((6, 5, 3), 1 / 255, -128)
    x = builder.conv(x, 8, (3, 3), activation="RELU")
    y = builder.depthwise(x, (3, 3), activation="RELU6")
    x = builder.add(x, y, "RELU_N1_TO_1")
    x = builder.reshape(builder.mean(x), (1, 8))
    return builder.finish(builder.softmax(builder.dense(x, 4), 0.5))


SMALL = small_file()
CONV, DEPTHWISE, ADD, MEAN, RESHAPE, DENSE, SOFTMAX = range(7)


# What is read.


def test_names_scales_and_ends() -> None:
    graph = check(SMALL)
    assert [node.op for node in graph.nodes] == [
        "conv2d", "depthwise_conv2d", "add", "mean", "fully_connected",
    ]  # fmt: skip
    names = {item.name.decode() for item in _tensors(SMALL)}
    assert set(graph.tensors) < names
    assert all(node.name == node.output for node in graph.nodes)
    assert (graph.name, graph.input) == ("net", "picture")
    assert graph.output == graph.nodes[-1].output
    assert graph.softmax is not None
    assert graph.softmax.name == "probabilities"
    assert graph.softmax.shape == (1, 1, 4)
    assert graph.softmax_beta == 0.5


def _tensors(data: bytes) -> list[Any]:
    return schema.ModelT.InitFromPackedBuf(data).subgraphs[0].tensors


@pytest.mark.parametrize(("scale", "zero_point"), [(1.0, -128), (1 / 255, -128), (0.58, 83)])
def test_a_raw_picture_stands_for_the_input_s_levels(scale: float, zero_point: int) -> None:
    builder = TfliteBuilder(SEED)
    x = builder.input((2, 2, 1), scale, zero_point)
    graph = import_tflite(builder.finish(builder.conv(x, 2, (1, 1))), "net")
    factor, offset = graph.preprocess
    real = np.arange(256) * factor + offset
    tensor = graph.input_tensor
    np.testing.assert_array_equal(
        np.rint(real / tensor.scale) + tensor.zero_point, np.arange(-128, 128)
    )


def test_activation_ranges() -> None:
    conv, depthwise, add, *_ = import_tflite(SMALL, "net").nodes
    tensors = import_tflite(SMALL, "net").tensors
    assert conv.activation_min == tensors[conv.output].zero_point
    assert conv.activation_max == 127
    target = tensors[depthwise.output]
    six = target.zero_point + round(6 / target.scale)
    assert (depthwise.activation_min, depthwise.activation_max) == (
        target.zero_point, min(127, six),
    )  # fmt: skip
    target = tensors[add.output]
    one = round(1 / target.scale)
    assert add.activation_min == max(-128, target.zero_point - one)
    assert add.activation_max == min(127, target.zero_point + one)


@pytest.mark.parametrize(("position", "kind"), [(0, Conv2D), (5, FullyConnected)])
def test_a_bias_that_is_left_out_is_zero(position: int, kind: type) -> None:
    def without(model: Any) -> None:
        operator = model.subgraphs[0].operators[position]
        operator.inputs = list(operator.inputs)[:2]

    def optional(model: Any) -> None:
        operator = model.subgraphs[0].operators[position]
        operator.inputs = [*list(operator.inputs)[:2], -1]

    # LiteRT itself wants biases in its int8 convolutions.
    read = check if kind is FullyConnected else lambda data: import_tflite(data, "net")
    graphs = [read(changed(SMALL, change)) for change in (without, optional)]
    for graph in graphs:
        (node,) = (item for item in graph.nodes if isinstance(item, kind))
        assert not node.bias.any()
    assert graphs[0].to_bytes() == graphs[1].to_bytes()


def test_one_weight_scale_for_all_channels() -> None:
    def one_scale(model: Any) -> None:
        graph = model.subgraphs[0]
        for position in (CONV, DEPTHWISE):
            quantization = graph.tensors[graph.operators[position].inputs[1]].quantization
            quantization.scale = [float(quantization.scale[0])]
            quantization.zeroPoint = [0]
            quantization.quantizedDimension = 0

    graph = check(changed(SMALL, one_scale))
    assert len(set(graph.nodes[0].weight_scales.tolist())) == 1
    assert graph.nodes[0].weight_scales.shape == (8,)


def test_names_that_are_empty_or_taken() -> None:
    def rename(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            tensor.name = {"picture": "", "probabilities": ""}.get(tensor.name.decode(), "same")

    graph = import_tflite(changed(SMALL, rename), "net")
    assert graph.input == "tensor 0"
    assert len(graph.nodes) == 5
    assert len(set(graph.tensors)) == 6


def _network(make: Callable[[TfliteBuilder, Value], Value], shape: tuple[int, ...]) -> bytes:
    builder = TfliteBuilder(SEED)
    return builder.finish(make(builder, builder.input(shape, 0.02, -7)))


@pytest.mark.parametrize("field", ["deprecatedBuiltinCode", "builtinCode"])
def test_an_operator_s_number_may_stand_in_either_field(field: str) -> None:
    """LiteRT takes the greater of both; writers fill one, the other, or both."""

    def without(model: Any) -> None:
        for code in model.operatorCodes:
            setattr(code, field, 0)

    graph = check(changed(SMALL, without))
    assert graph.to_bytes() == import_tflite(SMALL, "net").to_bytes()


@pytest.mark.parametrize("stride", [1, 2, 3, (1, 2), (3, 1)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_windows(stride: Any, padding: str) -> None:
    def make(builder: TfliteBuilder, x: Value) -> Value:
        x = builder.conv(x, 4, (2, 3), stride, padding)
        return builder.depthwise(x, (3, 2), stride, "SAME", multiplier=3)

    graph = check(_network(make, (9, 8, 2)))
    assert graph.nodes[1].multiplier == 3


@pytest.mark.parametrize("kind", ["MAX_POOL_2D", "AVERAGE_POOL_2D"])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_pools(kind: str, padding: str) -> None:
    check(_network(lambda builder, x: builder.pool(x, kind, (3, 2), (2, 2), padding), (7, 6, 3)))


def test_standalone_activations_and_requantisation() -> None:
    for name in ("RELU", "RELU6", "RELU_N1_TO_1"):
        graph = check(_network(lambda builder, x, name=name: builder.relu(x, name), (4, 4, 3)))
        (node,) = graph.nodes
        assert isinstance(node, Requantize)

    def quantise(builder: TfliteBuilder, x: Value) -> Value:
        number = builder.writer.tensor("other", (1, 4, 4, 3), 0.013, 40)
        builder.writer.operator("QUANTIZE", [x.number], [number], "NONE")
        return Value(number, x.real, 0.013, 40)

    (node,) = check(_network(quantise, (4, 4, 3))).nodes
    assert (node.op, node.activation_min, node.activation_max) == ("requantize", -128, 127)


@pytest.mark.parametrize("operator", ["RELU", "RELU6", "RELU_N1_TO_1", "QUANTIZE"])
def test_another_scale_with_ties(operator: str) -> None:
    """0.0015 / 0.001 is not quite 3/2, but rounds to it as a float32: the kernels differ there."""
    builder = TfliteBuilder(SEED)
    x = builder.input((16, 16, 1), 0.0015, 0)
    number = builder.writer.tensor("other", (1, 16, 16, 1), 0.001, 0)
    builder.writer.operator(operator, [x.number], [number], "NONE")
    check(builder.finish(Value(number, x.real, 0.001, 0)))


def _mean(axes: list[int], keep: bool) -> Callable[[TfliteBuilder, Value], Value]:
    def make(builder: TfliteBuilder, x: Value) -> Value:
        shape = (1, 1, 1, 3) if keep else (1, 3)
        number = builder.writer.tensor("mean", shape, 0.015, 3)
        amounts = builder.writer.tensor(
            "axes", (len(axes),), dtype="INT32", data=np.array(axes, np.int32)
        )
        builder.writer.operator(
            "MEAN", [x.number, amounts], [number], "ReducerOptions", keepDims=keep
        )
        return Value(number, x.real.mean((1, 2), keepdim=True), 0.015, 3)

    return make


@pytest.mark.parametrize("axes", [[1, 2], [2, 1], [-2, -3], [1, -2]])
@pytest.mark.parametrize("keep", [True, False])
def test_mean(axes: list[int], keep: bool) -> None:
    (node,) = check(_network(_mean(axes, keep), (4, 5, 3))).nodes
    assert node.op == "mean"


def test_padv2_with_the_zero_point_is_pad() -> None:
    def make(builder: TfliteBuilder, x: Value, value: int = -7) -> Value:
        amounts = np.array([[0, 0], [1, 2], [0, 3], [0, 0]], np.int32)
        inputs = [
            x.number,
            builder.writer.tensor("amounts", (4, 2), dtype="INT32", data=amounts),
            builder.writer.tensor("value", (1,), 0.02, -7, data=np.array([value], np.int8)),
        ]
        number = builder.writer.tensor("padded", (1, 7, 7, 3), 0.02, -7)
        builder.writer.operator("PADV2", inputs, [number], "PadV2Options")
        return Value(number, x.real, 0.02, -7)

    (node,) = check(_network(make, (4, 4, 3))).nodes
    assert node.padding == (1, 2, 0, 3)
    with pytest.raises(TfliteError, match=r"PADV2 'padded': pads with \[0\]"):
        import_tflite(_network(lambda builder, x: make(builder, x, 0), (4, 4, 3)), "net")


# Dead channels, dead operators, tensors that are written twice.


@pytest.mark.parametrize("position", [CONV, DEPTHWISE, DENSE])
@pytest.mark.parametrize("scales", ["one", "all"])
def test_a_weight_scale_of_0_is_a_dead_channel(position: int, scales: str) -> None:
    def dead(model: Any) -> None:
        quantization = tensor_of(model, position, 1).quantization
        kept = [] if scales == "all" else quantization.scale[1:].tolist()
        quantization.scale = [0.0] * (len(quantization.scale) - len(kept)) + kept
        if position == DENSE:  # LiteRT compares it with the biases' scale
            tensor_of(model, position, 2).quantization.scale = quantization.scale

    data = changed(SMALL, dead)
    graph = check(data)
    (node,) = (item for item in graph.nodes if item.output in _names(data, position))
    maps = run_layers(graph, np.zeros((1, *graph.input_tensor.shape), np.int8))[node.output]
    zero_point = graph.tensors[node.output].zero_point
    assert (maps[..., 0] == np.clip(zero_point, node.activation_min, node.activation_max)).all()
    programs = [compile_graph(graph, SMALL_VISION, fold=fold) for fold in (True, False)]
    assert programs[0].manifest.folded.channels >= (position == CONV)


def _names(data: bytes, position: int) -> list[str]:
    graph = schema.ModelT.InitFromPackedBuf(data).subgraphs[0]
    return [graph.tensors[number].name.decode() for number in graph.operators[position].outputs]


def test_operators_that_nobody_reads_are_left_out() -> None:
    def make(builder: TfliteBuilder, x: Value) -> Value:
        y = builder.conv(x, 4, (3, 3))
        dead = builder.conv(builder.relu(y, "RELU"), 5, (1, 1))
        # Not one that Eyas has, and not one that it would have to have.
        number = builder.writer.tensor("dead", (1, 4, 4, 5), 0.1, 0)
        builder.writer.operator("LOGISTIC", [dead.number], [number], "NONE")
        return builder.conv(y, 3, (1, 1))

    graph = import_tflite(_network(make, (4, 4, 2)), "net")
    assert [node.op for node in graph.nodes] == ["conv2d", "conv2d"]
    assert len(graph.tensors) == 3

    def runs(builder: TfliteBuilder, x: Value) -> Value:
        y = builder.conv(x, 4, (3, 3))
        builder.conv(builder.relu(y, "RELU"), 5, (1, 1))
        return builder.conv(y, 3, (1, 1))

    check(_network(runs, (4, 4, 2)))


@pytest.mark.parametrize("end", ["map", "vector", "probabilities"])
def test_an_output_that_is_read_inside_too(end: str) -> None:
    def make(builder: TfliteBuilder, x: Value) -> Value:
        y = builder.conv(x, 4, (3, 3))
        if end != "map":
            y = builder.dense(builder.reshape(y, (1, 64)), 5)
        if end == "probabilities":
            y = builder.softmax(y)
        builder.relu(y, "RELU6")
        return y

    graph = check(_network(make, (4, 4, 2)))
    assert [node.op for node in graph.nodes] == ["conv2d", "fully_connected"][: 1 + (end != "map")]
    assert (graph.softmax is not None) == (end == "probabilities")


@pytest.mark.parametrize("code", ["RELU", "RELU6", "RELU_N1_TO_1", "QUANTIZE"])
@pytest.mark.parametrize("place", ["picture", "map", "output"])
def test_an_operator_in_place(code: str, place: str) -> None:
    builder = TfliteBuilder(SEED)
    x = builder.input((4, 4, 3), 0.02, -7)
    value = x if place == "picture" else builder.conv(x, 4, (3, 3))
    builder.writer.operator(code, [value.number], [value.number], "NONE")
    end = value if place == "output" else builder.conv(value, 3, (1, 1))
    data = builder.finish(end)
    graph = import_tflite(data, "net")
    pictures = np.random.default_rng(SEED).integers(-128, 128, (3, 4, 4, 3)).astype(np.int8)
    outputs = run_layers(graph, pictures)[graph.output]
    name = _tensors(data)[end.number].name.decode()
    for picture, output in zip(pictures, outputs, strict=True):
        np.testing.assert_array_equal(output, run_file(data, picture[np.newaxis])[name][0])


def test_what_litert_does_not_run_in_place_is_refused() -> None:
    def make(builder: TfliteBuilder, x: Value) -> Value:
        builder.writer.operator("ADD", [x.number, x.number], [x.number], "AddOptions")
        return builder.conv(x, 3, (1, 1))

    data = _network(make, (4, 4, 2))
    with pytest.raises(RuntimeError, match="is both input 0 and output 0"):
        run_file(data, np.zeros((1, 4, 4, 2), np.int8))
    with pytest.raises(TfliteError, match=r"^ADD 'picture': writes over its own input 'picture', "):
        import_tflite(data, "net")


# Reshapes.


def test_a_reshape_next_to_the_input_gives_the_picture_its_shape() -> None:
    for flat in ((490,), (49, 10)):
        builder = TfliteBuilder(SEED)
        number = builder.writer.tensor("flat", (1, *flat), 0.5, 83)
        source = builder.input((49, 10, 1), 0.5, 83)
        wanted = builder.writer.tensor(
            "shape", (4,), dtype="INT32", data=np.array([1, 49, 10, 1], np.int32)
        )
        builder.writer.operator("RESHAPE", [number, wanted], [source.number], "NONE")
        builder._input = Value(number, source.real, 0.5, 83)
        graph = check(builder.finish(builder.conv(source, 4, (3, 3), 2)))
        assert graph.input_tensor.shape == (49, 10, 1)
        assert graph.input == "flat"


def test_a_reshape_before_a_fully_connected_layer() -> None:
    def make(builder: TfliteBuilder, x: Value) -> Value:
        x = builder.reshape(builder.conv(x, 6, (3, 3)), (1, 96))
        return builder.dense(x, 5)

    graph = check(_network(make, (4, 4, 2)))
    assert [node.op for node in graph.nodes] == ["conv2d", "fully_connected"]
    assert graph.tensors[graph.nodes[1].input].shape == (4, 4, 6)


def test_reshapes_that_only_drop_or_add_ones() -> None:
    def make(builder: TfliteBuilder, x: Value) -> Value:
        x = builder.conv(builder.mean(x), 8, (1, 1))
        x = builder.reshape(builder.reshape(x, (1, 8)), (1, 1, 1, 8))
        return builder.reshape(builder.conv(x, 8, (1, 1)), (1, 8))

    graph = check(_network(make, (4, 4, 2)))
    assert [node.op for node in graph.nodes] == ["mean", "conv2d", "conv2d"]
    assert graph.output_tensor.shape == (1, 1, 8)


def test_squeeze() -> None:
    def squeeze(model: Any) -> None:
        model.operatorCodes[4] = schema.OperatorCodeT(
            schema.BuiltinOperator.SQUEEZE, None, 1, schema.BuiltinOperator.SQUEEZE
        )
        operator = model.subgraphs[0].operators[RESHAPE]
        operator.inputs = list(operator.inputs[:1])
        operator.builtinOptionsType = schema.BuiltinOptions.SqueezeOptions
        operator.builtinOptions = schema.SqueezeOptionsT(squeezeDims=[1, 2])

    check(changed(SMALL, squeeze))


def test_other_reshapes_are_refused() -> None:
    def transposed(builder: TfliteBuilder, x: Value) -> Value:
        x = builder.reshape(builder.conv(x, 6, (1, 1)), (1, 2, 8, 6))
        return builder.conv(x, 2, (1, 1))

    with pytest.raises(TfliteError, match=r"a map of 4 × 4 × 6, reshaped to 2 × 8 × 6; a reshape"):
        import_tflite(_network(transposed, (4, 4, 2)), "net")

    def flat_end(builder: TfliteBuilder, x: Value) -> Value:
        return builder.reshape(builder.conv(x, 6, (1, 1)), (1, 96))

    with pytest.raises(TfliteError, match=r"a map of 4 × 4 × 6, reshaped to 1 × 1 × 96; a reshape"):
        import_tflite(_network(flat_end, (4, 4, 2)), "net")

    def both(builder: TfliteBuilder, x: Value) -> Value:
        y = builder.conv(x, 2, (1, 1))
        z = builder.conv(builder.reshape(x, (1, 2, 8, 2)), 2, (1, 1))
        return builder.add(y, builder.reshape(z, (1, 4, 4, 2)))

    with pytest.raises(TfliteError, match=r"reshaped to 2 × 8 × 2"):
        import_tflite(_network(both, (4, 4, 2)), "net")


# What is refused.


def tensor_of(model: Any, position: int, operand: int | None = None) -> Any:
    """The tensor that an operator writes, or reads as ``operand``."""
    graph = model.subgraphs[0]
    operator = graph.operators[position]
    return graph.tensors[operator.outputs[0] if operand is None else operator.inputs[operand]]


def options_of(model: Any, position: int) -> Any:
    return model.subgraphs[0].operators[position].builtinOptions


def set_type(model: Any, wanted: str, activations: bool = True) -> None:
    for tensor in model.subgraphs[0].tensors:
        constant = model.buffers[tensor.buffer].data is not None
        if constant != activations:
            tensor.type = getattr(schema.TensorType, wanted)


def set_code(model: Any, position: int, code: str, version: int = 1) -> None:
    number = getattr(schema.BuiltinOperator, code)
    model.operatorCodes[position] = schema.OperatorCodeT(min(number, 127), None, version, number)


def attribute(pick: Callable[[Any], Any], **values: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        item = pick(model)
        for name, value in values.items():
            assert hasattr(item, name), name
            setattr(item, name, value)

    return change


def quantization(position: int, operand: int | None = None, **values: Any) -> Any:
    return attribute(lambda model: tensor_of(model, position, operand).quantization, **values)


def tensor(position: int, operand: int | None = None, **values: Any) -> Any:
    return attribute(lambda model: tensor_of(model, position, operand), **values)


def options(position: int, **values: Any) -> Any:
    return attribute(lambda model: options_of(model, position), **values)


def operator(position: int, **values: Any) -> Any:
    return attribute(lambda model: model.subgraphs[0].operators[position], **values)


def _constant_operand(model: Any) -> None:
    graph = model.subgraphs[0]
    graph.operators[ADD].inputs = [graph.operators[ADD].inputs[0], graph.operators[CONV].inputs[1]]


def _mixed_ends(model: Any) -> None:
    model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].type = schema.TensorType.FLOAT32


def _behind_the_softmax(model: Any) -> None:
    graph = model.subgraphs[0]
    graph.tensors.append(copy.deepcopy(tensor_of(model, SOFTMAX)))
    model.operatorCodes.append(schema.OperatorCodeT(19, None, 2, 19))
    graph.outputs = [len(graph.tensors) - 1]
    graph.operators.append(
        schema.OperatorT(
            opcodeIndex=len(model.operatorCodes) - 1,
            inputs=list(graph.operators[SOFTMAX].outputs),
            outputs=graph.outputs,
        )
    )


def make_float(model: Any) -> None:
    """What the converter writes without quantisation: float everywhere, indices int32."""
    weights = {
        number
        for item in model.subgraphs[0].operators
        if item.builtinOptionsType
        in (
            schema.BuiltinOptions.Conv2DOptions,
            schema.BuiltinOptions.DepthwiseConv2DOptions,
            schema.BuiltinOptions.FullyConnectedOptions,
        )
        for number in item.inputs[1:]
    }
    for number, item in enumerate(model.subgraphs[0].tensors):
        constant = model.buffers[item.buffer].data is not None
        if not constant or number in weights:
            item.type, item.quantization = schema.TensorType.FLOAT32, None
        if number in weights:
            data = np.zeros(4 * int(np.prod(item.shape)), np.uint8)
            model.buffers[item.buffer].data = data


def _custom(model: Any) -> None:
    model.operatorCodes[0] = schema.OperatorCodeT(32, "Detect", 1, 32)


def _axes(model: Any) -> None:
    number = tensor_of(model, MEAN, 1).buffer
    model.buffers[number].data = np.frombuffer(np.array([1, 3], "<i4").tobytes(), np.uint8)


def _second_graph(model: Any) -> None:
    model.subgraphs.append(model.subgraphs[0])


def _two(what: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        graph = model.subgraphs[0]
        setattr(graph, what, [*getattr(graph, what), graph.operators[CONV].outputs[0]])

    return change


def _batch(model: Any) -> None:
    for item in model.subgraphs[0].tensors:
        if model.buffers[item.buffer].data is None:
            item.shape = [4, *item.shape[1:]]


def _buffer_outside(model: Any) -> None:
    buffer = model.buffers[tensor_of(model, CONV, 1).buffer]
    buffer.data, buffer.offset, buffer.size = None, 1 << 20, 216


REFUSALS: dict[str, tuple[Callable[[Any], None], str]] = {
    "float": (make_float, r"^The network is float: convert it with int8 quantisation$"),
    "dynamic range": (
        lambda model: set_type(model, "FLOAT32"),
        r"int8 weights but float activations \(dynamic-range quantisation\)",
    ),
    "int16": (lambda model: set_type(model, "INT16"), r"activations are INT16; Eyas runs int8"),
    "uint8": (lambda model: set_type(model, "UINT8"), r"activations are UINT8; Eyas runs int8"),
    "float input": (
        _mixed_ends,
        r"int8 inside, but its input 'picture' is FLOAT32: convert it with inference_input_type tf",
    ),
    "one other type": (tensor(ADD, type=schema.TensorType.INT16), r"ADD '\w+': .* is INT16"),
    "int4": (tensor(CONV, 1, type=schema.TensorType.INT4), r"CONV_2D '\w+': its weights are INT4"),
    "bias of 64 bits": (
        tensor(CONV, 2, type=schema.TensorType.INT64), r"its biases are INT64; Eyas takes INT32",
    ),
    "unknown operator": (
        lambda model: set_code(model, CONV, "TRANSPOSE_CONV"),
        r"TRANSPOSE_CONV 'conv_2d_1': Eyas has no such operator; it has ADD, ",
    ),
    "operator beyond 127": (
        lambda model: set_code(model, CONV, "GELU"), r"GELU 'conv_2d_1': Eyas has no such operator",
    ),
    "operator of a later schema": (
        lambda model: model.operatorCodes.__setitem__(
            0, schema.OperatorCodeT(127, None, 1, 9999)
        ),
        r"operator number 9999 'conv_2d_1': Eyas has no such operator",
    ),
    "custom operator": (_custom, r"custom operator Detect 'conv_2d_1': Eyas has no such"),
    "operator version": (
        lambda model: set_code(model, CONV, "CONV_2D", 8),
        r"CONV_2D '\w+': version 8 of the operator is not supported; Eyas reads 1, 2, 3",
    ),
    "dilation": (options(CONV, dilationWFactor=2), r"CONV_2D '\w+': a dilation of 2"),
    "depthwise dilation": (options(DEPTHWISE, dilationHFactor=3), r"a dilation of 3"),
    "stride": (options(CONV, strideH=0), r"stride \(0, 1\) must be positive"),
    "padding": (options(CONV, padding=7), r"padding number 7 is neither SAME nor VALID"),
    "activation": (
        options(CONV, fusedActivationFunction=4), r"its activation TANH is not one of NONE, RELU",
    ),
    "multiplier": (options(DEPTHWISE, depthMultiplier=2), r"do not fit 8 input channels and a mul"),
    "shuffled weights": (options(DENSE, weightsFormat=1), r"its weights are shuffled"),
    "softmax beta": (options(SOFTMAX, beta=-1.0), r"SOFTMAX '\w+': its beta is -1; beta times"),
    "asymmetric weights": (
        quantization(CONV, 1, zeroPoint=[0] * 7 + [1]), r"CONV_2D '\w+': its weights are asymm",
    ),
    "scales along another dimension": (
        quantization(CONV, 1, quantizedDimension=3), r"must be one an output channel",
    ),
    "too few scales": (
        quantization(CONV, 1, scale=[1.0] * 3, zeroPoint=[0] * 3), r"3 scales for 8 output chan",
    ),
    "weights without scales": (
        quantization(CONV, 1, scale=[], zeroPoint=[]), r"0 scales for 8 output channels",
    ),
    "activation with a scale a channel": (
        quantization(CONV, scale=[1.0] * 8, zeroPoint=[0] * 8), r"has 8 scales; an activation has",
    ),
    "activation without a scale": (
        tensor(CONV, quantization=None), r"has 0 scales; an activation has one",
    ),
    "scale 0": (quantization(CONV, scale=[0.0]), r"has scale 0 and zero point"),
    "scale nan": (quantization(CONV, scale=[float("nan")]), r"has scale nan and zero point"),
    "zero point": (quantization(CONV, zeroPoint=[300]), r"zero point 300; the scale must be"),
    "weight scale": (
        quantization(CONV, 1, scale=[-1.0] * 8), r"CONV_2D '\w+': its weights have a scale of -1;",
    ),
    "quantisation of its own": (
        quantization(CONV, 1, detailsType=1, details=schema.CustomQuantizationT()),
        r"is quantised in a way of its own",
    ),
    "softmax scale": (quantization(SOFTMAX, scale=[0.01]), r"must have scale 1/256 and zero point"),
    "reshape that rescales": (
        quantization(RESHAPE, scale=[0.9]), r"RESHAPE '\w+': input and output must have the same",
    ),
    "shape that the operator does not give": (
        tensor(DEPTHWISE, shape=[1, 6, 5, 4]),
        r"^DEPTHWISE_CONV_2D '\w+': gives shape \(6, 5, 8\), but tensor '\w+' has \(6, 5, 4\)$",
    ),
    "sum of different maps": (
        lambda model: setattr(
            model.subgraphs[0].operators[ADD], "inputs",
            [0, model.subgraphs[0].operators[ADD].inputs[1]],
        ),
        r"^ADD '\w+': adds maps of the shapes \(6, 5, 3\) and \(6, 5, 8\); Eyas does not broadcast",
    ),
    "constant summand": (_constant_operand, r"ADD '\w+': its input 'weights_\d+' is a constant"),
    "weights at run time": (
        operator(CONV, inputs=[0, 0, 3]), r"its weights are computed at run time",
    ),
    "grouped convolution": (
        lambda model: (
            setattr(tensor_of(model, CONV, 1), "shape", [24, 3, 3, 1]),
            setattr(
                tensor_of(model, CONV, 1).quantization, "scale", [1.0] * 24,
            ),
            setattr(tensor_of(model, CONV, 1).quantization, "zeroPoint", [0] * 24),
        ),
        r"weights for 1 input channels read a map of 3; Eyas runs no grouped convolutions",
    ),
    "mean of channels": (_axes, r"takes the mean over the axes \[1, 3\]; Eyas has height"),
    "batch": (_batch, r"^The network takes a batch of 4 pictures; convert it for one picture$"),
    "dynamic height": (
        tensor(CONV, shapeSignature=[-1, -1, 5, 8]), r"the shape of '\w+' is known only at run",
    ),
    "output shape": (
        tensor(ADD, shape=[1, 6, 4, 8]), r"gives shape \(6, 5, 8\), but tensor .* has \(6, 4, 8\)",
    ),
    "rank": (tensor(ADD, shape=[1, 30, 8]), r"has the shape \[1, 30, 8\]; Eyas takes 1 × height"),
    "dense output": (tensor(DENSE, shape=[1, 5]), r"gives 4 values, but its output has the shape"),
    "several graphs": (_second_graph, r"The file has 2 subgraphs; Eyas runs networks of one"),
    "several inputs": (_two("inputs"), r"The network has 2 inputs; Eyas runs those with one"),
    "several outputs": (_two("outputs"), r"The network has 2 outputs; Eyas runs those with one"),
    "no operators": (
        attribute(lambda model: model.subgraphs[0], operators=[], outputs=[0]),
        r"no operator that computes anything",
    ),
    "output that nobody writes": (
        attribute(lambda model: model.subgraphs[0], outputs=[2]),
        r"^No operator writes the network's output: the file is damaged$",
    ),
    "output that nobody writes, without a softmax": (
        lambda model: (
            model.subgraphs[0].operators.pop(), setattr(model.subgraphs[0], "outputs", [2])
        ),
        r"No operator writes the network's output: the file is damaged",
    ),
    "another version of the format": (
        attribute(lambda model: model, version=4), r"version 4 of the format, Eyas reads 3",
    ),
    "sparse": (
        tensor(CONV, 1, sparsity=schema.SparsityParametersT()), r"is sparse, which Eyas does not",
    ),
    "state": (tensor(CONV, isVariable=True), r"keeps its values from run to run"),
    "beyond two gigabytes": (_buffer_outside, r"lies outside the flatbuffer"),
    "wrong size of a constant": (
        lambda model: setattr(
            model.buffers[tensor_of(model, CONV, 1).buffer], "data", np.zeros(9, np.uint8)
        ),
        r"holds 9 bytes: the file is damaged",
    ),
    "softmax in the middle": (
        _behind_the_softmax, r"SOFTMAX 'probabilities': a softmax may only stand at the network's",
    ),
    "input that nobody wrote": (
        operator(CONV, inputs=[7, 1, 2]), r"no operator before it writes its input",
    ),
    "no input": (operator(CONV, inputs=[]), r"has 0 inputs, not 2: the file is damaged"),
    "no output": (operator(CONV, outputs=[]), r"CONV_2D: has 0 outputs, not 1: the file is dam"),
    "options of another operator": (
        operator(CONV, builtinOptionsType=0, builtinOptions=None), r"is truncated or damaged",
    ),
    "tensor number": (operator(CONV, inputs=[0, 1, 4000]), r"is truncated or damaged"),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSALS)
def test_refusals(fault: str) -> None:
    change, message = REFUSALS[fault]
    with pytest.raises(TfliteError, match=message) as caught:
        import_tflite(changed(SMALL, change), "net")
    assert caught.value.blockers == (str(caught.value),), "one fault, one sentence"
    assert not str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "data",
    [b"", b"TFL3", b"\x00" * 100, b"<!DOCTYPE html><html>", b"version https://git-lfs.github.com"],
)
def test_foreign_files(data: bytes) -> None:
    with pytest.raises(TfliteError, match=r"This is not a \.tflite file"):
        import_tflite(data, "net")


# Damage.


def attempt(data: bytes) -> bool:
    """Whether a damaged file still compiles; anything but refusals in a sentence each fails."""
    blockers: tuple[str, ...] = ()
    try:
        compile_tflite(data, "net")
    except Refusal as error:
        blockers = error.blockers
    else:
        return True
    assert blockers
    assert all(blockers)
    assert not any("\n" in blocker for blocker in blockers)
    assert len(blockers) == 1 or not any(item.endswith("file is damaged") for item in blockers)
    return False


def test_every_truncation_is_refused() -> None:
    for length in range(0, len(SMALL), 5):
        with pytest.raises(TfliteError):
            import_tflite(SMALL[:length], "net")


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The file with a few bytes changed, and now and then a piece cut out or an offset wild."""
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(len(result))
        if rng.random() < 0.3:
            word = place & ~3
            result[word : word + 4] = rng.choice(
                (b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\xff\xff\xff\x7f", bytes(4))
            )[: len(result) - word]
        else:
            result[place] ^= 1 << rng.randrange(8)
    if rng.random() < 0.1:
        start = rng.randrange(len(result))
        del result[start : start + rng.randrange(64)]
    return bytes(result)


def hunt(cases: int, seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    files = [
        SMALL,
        changed(SMALL, make_float),
        *(random_network(seed + index) for index in range(6)),
    ]
    started = time.process_time()
    survivors = sum(attempt(damaged(rng.choice(files), rng)) for _ in range(cases))
    elapsed = time.process_time() - started
    # Most bytes are weights, whose damage cannot be seen; that of offsets and shapes is.
    assert 0 < survivors < cases
    assert elapsed < 0.1 * cases, f"{elapsed} s"
    tracemalloc.start()  # which is slow
    for _ in range(cases // 10):
        attempt(damaged(rng.choice(files), rng))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6, f"{peak:,} bytes at once"


def test_damage_ends_in_a_sentence() -> None:
    hunt(600, SEED)


@pytest.mark.nightly
def test_damage_ends_in_a_sentence_at_length() -> None:
    hunt(20_000, SEED + 1)

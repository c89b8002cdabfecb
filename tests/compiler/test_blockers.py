"""All that keeps a network from the engine stands in one answer, the most serious first."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from eyas.compiler import CompileError, compile_graph
from eyas.compiler.importers.tflite_import import TfliteError, import_tflite, read_network
from eyas.compiler.tflite_program import compile_tflite
from eyas.compiler.unread import Unread
from eyas.interfaces.vision.config import DEFAULT_VISION, SMALL_VISION
from tests.compiler.small_graphs import conv, graph_of
from tests.compiler.test_tflite_import import changed, make_float, set_code, tensor_of
from tests.tflite_builder import NETWORKS, TfliteBuilder, Value

SEED = 71


def blockers(data: bytes, *patterns: str, config: Any = DEFAULT_VISION) -> None:
    """The file's blockers are those that the patterns match, in their order, and no more."""
    with pytest.raises(TfliteError) as caught:
        compile_tflite(data, "net", config)
    found = caught.value.blockers
    assert str(caught.value) == "\n".join(found)
    assert len(found) == len(patterns), "\n".join(found)
    for blocker, pattern in zip(found, patterns, strict=True):
        assert re.search(pattern, blocker), f"{pattern!r} is not in {blocker!r}"
        assert not blocker.endswith(".")


def network(make: Callable[[TfliteBuilder, Value], Value], shape: tuple[int, ...]) -> bytes:
    builder = TfliteBuilder(SEED)
    return builder.finish(make(builder, builder.input(shape, 0.02, -7)))


def hard_swish(builder: TfliteBuilder, x: Value) -> Value:
    number = builder.writer.tensor(f"swish_{x.number}", (1, *x.shape), 0.02, -7)
    builder.writer.operator("HARD_SWISH", [x.number], [number], "NONE")
    return Value(number, x.real, 0.02, -7)


def wide(builder: TfliteBuilder, x: Value) -> Value:
    """Two operators that there are not, weights and maps that do not fit the small array."""
    x = hard_swish(builder, builder.conv(x, 32, (3, 3)))
    x = hard_swish(builder, builder.conv(x, 64, (3, 3)))
    return builder.conv(x, 8, (1, 1), 2)


def dilated(position: int, amount: int = 2) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        model.subgraphs[0].operators[position].builtinOptions.dilationHFactor = amount

    return change


def test_operators_forms_and_sizes_in_one_answer() -> None:
    data = changed(network(wide, (40, 40, 3)), dilated(4))
    blockers(
        data,
        r"^HARD_SWISH 'swish_\d+', 'swish_\d+': Eyas has no such operator; it has ADD, ",
        r"^CONV_2D 'conv_2d_\d+': a dilation of 2; Eyas runs undilated kernels$",
        r"^The network needs [\d.]+ KiB of weights as packed for this array \(\d+ rows; 18\.8 KiB "
        r"unpacked, before constant channels are folded\), the engine has 8\.0 KiB \(512 rows\): "
        r"layer 'conv_2d_\d+' needs \d+ rows where \d+ are left$",
        r"^The maps that live at layer '\w+' need [\d.]+ KiB of activation memory as laid out "
        r"\(200\.0 KiB of values\), the engine has 12\.0 KiB$",
        config=SMALL_VISION,
    )


def test_a_float_network_hears_what_would_be_wrong_with_it_in_int8() -> None:
    data = changed(changed(network(wide, (40, 40, 3)), dilated(4)), make_float)
    blockers(
        data,
        r"^The network is float: convert it with int8 quantisation$",
        r"^HARD_SWISH ",
        r"a dilation of 2",
        r"KiB of weights",
        r"KiB of activation memory",
        config=SMALL_VISION,
    )


def as_types(kind: str, **ends: str) -> Callable[[Any], None]:
    """Activations and weights of the type ``kind``, inputs and outputs perhaps of another."""

    def change(model: Any) -> None:
        make_float(model)
        graph = model.subgraphs[0]
        for tensor in graph.tensors:
            if tensor.type == schema.TensorType.FLOAT32:
                tensor.type = getattr(schema.TensorType, kind)
        for side, wanted in ends.items():
            number = getattr(graph, f"{side}s")[0]
            graph.tensors[number].type = getattr(schema.TensorType, wanted)

    return change


def classifier(builder: TfliteBuilder, x: Value) -> Value:
    x = builder.conv(x, 4, (3, 3))
    return builder.dense(builder.reshape(x, (1, 64)), 5)


def arg_max(builder: TfliteBuilder, x: Value) -> Value:
    x = classifier(builder, x)
    axis = builder.writer.tensor("axis", (), dtype="INT32", data=np.array(1, np.int32))
    number = builder.writer.tensor("class", (1,), dtype="INT64")
    builder.writer.operator("ARG_MAX", [x.number, axis], [number], "NONE")
    return Value(number, x.real, 1, 0)


def test_no_conversion_is_advised_where_none_helps() -> None:
    data = network(arg_max, (4, 4, 3))
    index = (
        r"^The network's output 'class' is INT64, which no conversion makes int8: cut the network "
        r"in front of what makes it, ARG_MAX 'class'$"
    )
    blockers(data, index, r"^ARG_MAX 'class': Eyas has no such operator; it has ADD, ")
    blockers(
        changed(data, as_types("UINT8", output="INT64")),
        r"^The network's activations are UINT8; Eyas runs int8: convert the float network again",
        index,
        r"^ARG_MAX 'class'",
    )


@pytest.mark.parametrize("kind", ["FLOAT32", "UINT8"])
@pytest.mark.parametrize("ends", [("input",), ("output",), ("input", "output")])
def test_ends_of_another_type(kind: str, ends: tuple[str, ...]) -> None:
    """As the converter leaves them: QUANTIZE in front, DEQUANTIZE or QUANTIZE behind."""
    builder = TfliteBuilder(SEED)
    x = source = builder.input((4, 4, 3), 0.02, -7)
    if "input" in ends:
        number = builder.writer.tensor("raw", (1, 4, 4, 3), 0.02, 121, dtype=kind)
        builder.writer.operator("QUANTIZE", [number], [x.number], "NONE")
        source = builder._input = Value(number, x.real, 0.02, 121)
    x = classifier(builder, x)
    if "output" in ends:
        number = builder.writer.tensor("scores", (1, 5), 0.02, 121, dtype=kind)
        code = "DEQUANTIZE" if kind == "FLOAT32" else "QUANTIZE"
        builder.writer.operator(code, [x.number], [number], "NONE")
        x = Value(number, x.real, 0.02, 121)
    assert source is builder._input or "input" not in ends
    names = {"input": "raw", "output": "scores"}
    blockers(
        builder.finish(x),
        "^The network is int8 inside, but "
        + " and ".join(f"its {end} '{names[end]}' is {kind}" for end in ends)
        + ": convert it with "
        + " and ".join(f"inference_{end}_type" for end in ends)
        + " tf.int8$",
    )


def test_weights_in_16_bits_are_a_float_network() -> None:
    def halved(model: Any) -> None:
        """Each weight tensor in FLOAT16, unpacked by a DEQUANTIZE."""
        make_float(model)
        graph = model.subgraphs[0]
        number = schema.BuiltinOperator.DEQUANTIZE
        model.operatorCodes.append(schema.OperatorCodeT(number, None, 3, number))
        weights = tensor_of(model, 0, 1)
        packed = schema.TensorT(
            shape=weights.shape, type=schema.TensorType.FLOAT16, buffer=weights.buffer, name="half"
        )
        model.buffers[weights.buffer].data = np.zeros(2 * int(np.prod(weights.shape)), np.uint8)
        weights.buffer = 0
        graph.tensors.append(packed)
        graph.operators.insert(
            0,
            schema.OperatorT(
                opcodeIndex=len(model.operatorCodes) - 1,
                inputs=[len(graph.tensors) - 1],
                outputs=[graph.operators[0].inputs[1]],
            ),
        )

    data = changed(network(classifier, (4, 4, 3)), halved)
    blockers(data, r"^The network is float: convert it with int8 quantisation$")


def test_several_inputs_and_outputs_are_one_blocker_each() -> None:
    def more(model: Any) -> None:
        graph = model.subgraphs[0]
        graph.tensors.append(schema.TensorT(shape=[1, 4], type=schema.TensorType.INT8, name="more"))
        graph.inputs = [*graph.inputs, len(graph.tensors) - 1]
        graph.outputs = [*graph.outputs, graph.operators[0].outputs[0]]

    blockers(
        changed(changed(network(classifier, (4, 4, 3)), more), dilated(0)),
        r"^The network has 2 inputs; Eyas runs those with one$",
        r"^The network has 2 outputs; Eyas runs those with one$",
        r"^CONV_2D 'conv_2d_1': a dilation of 2",
    )


def test_a_file_of_one_softmax_and_a_softmax_of_a_map() -> None:
    blockers(
        network(lambda builder, x: builder.softmax(builder.reshape(x, (1, 5))), (1, 1, 5)),
        r"^SOFTMAX 'probabilities': is all that the network computes, and the driver computes it",
    )

    def of_map(builder: TfliteBuilder, x: Value) -> Value:
        x = builder.conv(x, 4, (3, 3))
        number = builder.writer.tensor("map", (1, 4, 4, 4), 1 / 256, -128)
        builder.writer.operator("SOFTMAX", [x.number], [number], "SoftmaxOptions", beta=1.0)
        return Value(number, x.real, 1 / 256, -128)

    blockers(
        network(of_map, (4, 4, 3)),
        r"^SOFTMAX 'map': makes 4 × 4 × 4 of 4 × 4 × 4; Eyas computes the softmax of one vector",
    )


def test_what_is_refused_is_named_once() -> None:
    """What reads a refused operator's output goes on with what the file says of it."""
    data = network(lambda builder, x: classifier(builder, hard_swish(builder, x)), (4, 4, 3))
    blockers(data, r"^HARD_SWISH 'swish_0'")
    many = network(
        lambda builder, x: classifier(
            builder,
            hard_swish(builder, hard_swish(builder, hard_swish(builder, hard_swish(builder, x)))),
        ),
        (4, 4, 3),
    )
    blockers(many, r"^HARD_SWISH 'swish_0', 'swish_1', 'swish_2' and 1 more: Eyas has no such oper")


def test_damage_is_one_sentence_whatever_else_there_is() -> None:
    def both(model: Any) -> None:
        dilated(0)(model)
        model.subgraphs[0].operators[1].inputs = []

    blockers(changed(network(classifier, (4, 4, 3)), both), r"^RESHAPE .*: the file is damaged$")


def test_versions_of_operators_are_those_of_the_file() -> None:
    data = changed(
        network(classifier, (4, 4, 3)), lambda model: set_code(model, 2, "FULLY_CONNECTED", 9)
    )
    blockers(
        data, r"^FULLY_CONNECTED '\w+': version 9 of the operator is not supported; Eyas reads"
    )


def test_a_sketch_is_never_a_program() -> None:
    reading = read_network(network(wide, (8, 8, 3)), "net")
    assert reading.graph is not None
    assert any(isinstance(node, Unread) for node in reading.graph.nodes)
    with pytest.raises(TfliteError, match="HARD_SWISH"):
        import_tflite(network(wide, (8, 8, 3)), "net")


def test_a_graph_hears_of_every_layer_and_every_memory() -> None:
    weights = np.random.default_rng(SEED).integers(-9, 9, (40, 3, 3, 40))
    nodes = [
        conv("a", "b", weights, name="first"),
        conv("b", "c", weights, name="steep", stride=(1, 16)),
        conv("c", "d", weights[:, :1, :1], name="last", stride=(1, 17)),
    ]
    shapes = {"a": (20, 300, 40), "b": (18, 298, 40), "c": (16, 19, 40), "d": (16, 2, 40)}
    with pytest.raises(CompileError) as caught:
        compile_graph(graph_of(nodes, shapes), SMALL_VISION)
    first, second, packed, maps = caught.value.blockers
    assert "'steep': 16 horizontal stride, the engine takes at most 15" in first
    assert "'last': 17 horizontal stride, the engine takes at most 15" in second
    assert "KiB of weights as packed for this array (900 rows; 29.7 KiB unpacked)" in packed
    assert "The maps that live at layer 'first' need" in maps


@pytest.mark.parametrize("name", NETWORKS)
def test_a_float_file_of_a_network_that_fits_hears_of_no_sizes(name: str) -> None:
    """The least sizes count: VWW's maps, tightly packed, would not suit the depthwise unit."""
    data = NETWORKS[name](SEED)
    compile_tflite(data, name)
    blockers(changed(data, make_float), r"^The network is float: convert it with int8 quantisat")


@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_a_window_of_too_many_values(kind: str) -> None:
    data = network(lambda builder, x: builder.pool(x, kind, (65, 64)), (65, 64, 1))
    with pytest.raises(CompileError, match=r"Pool2D '\w+': a window of 4160 values, the engine"):
        compile_tflite(data, "net")

"""From graphs to programs: what becomes an instruction, where maps stand, what is refused."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from eyas.compiler import CompileError, compile_graph
from eyas.compiler.lowering.plan import plan
from eyas.compiler.placing.layouts import best, choose_layouts
from eyas.interfaces.vision.config import DEFAULT_VISION, SMALL_VISION
from eyas.interfaces.vision.isa import INSTRUCTION, Op
from eyas.interfaces.vision.program_file import Program
from eyas.interfaces.vision.records import HEADER
from models.vision.graph import Add, AveragePool2D, Graph, MaxPool2D, Mean, Pad, Tensor
from tests.compiler.small_graphs import conv, depthwise, graph_of


def instructions(program: Program) -> list[dict[str, int]]:
    """The program's instructions, END included."""
    size = INSTRUCTION.width // 8
    start = HEADER.width // 8
    count = HEADER.unpack_bytes(program.image)["instruction_words"] * 8 // size
    return [
        INSTRUCTION.unpack_bytes(program.image[start + index * size :][:size])
        for index in range(count)
    ]


def names(program: Program) -> list[str]:
    return [layer.name for layer in program.manifest.layers]


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.int64)


# Pads.


def padded(reader_padding: tuple[int, int, int, int], kind: str) -> Graph:
    """A Pad and its reader, a 3 × 3 window, on a 6 × 6 map."""
    out = 8 - 2 + sum(reader_padding[:2])
    pad = Pad(name="pad", input="a", output="b", padding=(1, 1, 1, 1))
    if kind == "conv":
        reader = conv("b", "c", ones(4, 3, 3, 4), padding=reader_padding, name="reader")
    else:
        reader = {"max": MaxPool2D, "average": AveragePool2D}[kind](
            name="reader", input="b", output="c", window=(3, 3), stride=(1, 1),
            padding=reader_padding,
        )  # fmt: skip
    return graph_of([pad, reader], {"a": (6, 6, 4), "b": (8, 8, 4), "c": (out, out, 4)})


@pytest.mark.parametrize("kind", ["conv", "max", "average"])
def test_a_pad_becomes_its_readers_padding(kind: str) -> None:
    program = compile_graph(padded((0, 0, 0, 0), kind), SMALL_VISION)
    assert names(program) == ["reader"]
    fields = instructions(program)[0]
    assert (fields["start_y"], fields["start_x"], fields["in_zero_point"]) == (-1, -1, 3)


def test_a_pad_adds_to_a_convolutions_padding() -> None:
    program = compile_graph(padded((1, 1, 1, 1), "conv"), SMALL_VISION)
    assert names(program) == ["reader"]
    assert instructions(program)[0]["start_y"] == -2


@pytest.mark.parametrize("kind", ["max", "average"])
def test_a_pool_cannot_read_two_kinds_of_padding(kind: str) -> None:
    """Its own padding is left out, the Pad's is the zero point."""
    assert names(compile_graph(padded((1, 1, 1, 1), kind), SMALL_VISION))[0] == "pad"


def test_a_pad_stays_where_one_reader_needs_the_map() -> None:
    pad = Pad(name="pad", input="a", output="b", padding=(1, 1, 1, 1))
    nodes = [
        pad,
        conv("b", "c", ones(2, 3, 3, 2), padding=(1, 1, 1, 1)),
        Add(name="add", input="b", other="c", output="d"),
    ]
    graph = graph_of(nodes, {name: (8 if name > "a" else 6,) * 2 + (2,) for name in "abcd"})
    assert names(compile_graph(graph, SMALL_VISION)) == ["pad", "b to c", "add"]


def test_a_pad_at_the_end_stays() -> None:
    pad = Pad(name="pad", input="a", output="b", padding=(1, 0, 2, 0))
    graph = graph_of([pad], {"a": (3, 3, 2), "b": (4, 5, 2)})
    fields = instructions(compile_graph(graph, SMALL_VISION))[0]
    assert fields["op"] == Op.MAX_POOL
    assert (fields["in_zero_point"], fields["passes"]) == (3, 1)


# Padded averages.


def test_a_padded_average_is_a_layer_for_each_divisor() -> None:
    pool = AveragePool2D(
        name="pool", input="a", output="b", window=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1)
    )
    graph = graph_of([pool], {"a": (7, 8, 4), "b": (7, 8, 4)})
    program = compile_graph(graph, SMALL_VISION)
    assert names(program) == [f"pool part {number}" for number in range(1, 10)]
    tensors = [layer.tensor for layer in program.manifest.layers]
    assert tensors == [None] * 8 + ["b"]


def test_one_divisor_is_one_layer() -> None:
    pool = AveragePool2D(name="pool", input="a", output="b", window=(2, 2), stride=(2, 2))
    graph = graph_of([pool], {"a": (6, 6, 4), "b": (3, 3, 4)})
    assert names(compile_graph(graph, SMALL_VISION)) == ["pool"]


# Layouts.


def test_operands_of_an_add_lie_alike() -> None:
    """Each alone would take another pitch: one is read by a 3 × 3, one by a strided 1 × 1."""
    rng = np.random.default_rng(1)
    weights = {size: rng.integers(-5, 5, (4, size, size, 4)) for size in (1, 3)}
    nodes = [
        conv("a", "b", weights[1]),
        conv("a", "c", weights[1]),
        conv("b", "d", weights[3]),
        conv("c", "e", weights[1], stride=(2, 2)),
        Add(name="add", input="b", other="c", output="f"),
        Mean(name="mean d", input="d", output="g"),
        Mean(name="mean e", input="e", output="h"),
        Mean(name="mean f", input="f", output="i"),
        Add(name="add 2", input="g", other="h", output="j"),
        Add(name="add 3", input="i", other="j", output="k"),
    ]
    shapes = dict.fromkeys("abcf", (10, 10, 4)) | {"d": (8, 8, 4), "e": (5, 5, 4)}
    shapes |= dict.fromkeys("ghijk", (1, 1, 4))
    graph = graph_of(nodes, {name: shapes[name] for name in sorted(shapes)})
    program = compile_graph(graph, SMALL_VISION, fold=False)
    maps = {layer.tensor: layer.map for layer in program.manifest.layers}
    assert maps["b"].pitch == maps["c"].pitch
    assert maps["b"].plane == maps["c"].plane
    fields = next(item for item in instructions(program) if item["op"] == Op.ADD)
    assert fields["in_base"] == maps["b"].base
    assert (fields["in_base"] + fields["in_plane"]) % SMALL_VISION.bank_words == maps["c"].base


def test_the_pitch_is_the_one_with_the_fewest_cycles() -> None:
    rng = np.random.default_rng(2)
    for case in range(40):
        width, other = (int(item) for item in rng.integers(4, 14, 2))
        stride = int(rng.integers(1, 4))
        columns = (width - 3) // stride + 1
        nodes = [
            depthwise("a", "b", rng.integers(-9, 9, (4, 3, 3)), padding=(1, 1, 1, 1)),
            conv("a", "c", rng.integers(-9, 9, (7, 3, 3, 4)), stride=(1, stride)),
            Mean(name="b to d", input="b", output="d"),
            Mean(name="c to e", input="c", output="e"),
            conv("d", "f", ones(7, 1, 1, 4)),
            Add(name="add", input="e", other="f", output="g"),
        ]
        shapes = {
            "a": (other, width, 4), "b": (other, width, 4), "c": (other - 2, columns, 7),
            "d": (1, 1, 4), "e": (1, 1, 7), "f": (1, 1, 7), "g": (1, 1, 7),
        }  # fmt: skip
        graph = graph_of(nodes, shapes)
        choices = plan(graph, SMALL_VISION)
        chosen = choose_layouts(choices, graph.tensors, SMALL_VISION)["a"].pitch
        readers = [choice for choice in choices if choice[0].inputs[0] == "a"]

        def cost(pitch: int, readers: list = readers) -> int:
            steps = [best(choice, pitch, SMALL_VISION) for choice in readers]
            return sum(step.array_cycles(pitch, SMALL_VISION) for step in steps)

        assert cost(chosen) == min(cost(pitch) for pitch in range(width, width + 3)), case


def test_a_depthwise_layer_leaves_its_unit_where_the_pitch_forbids_it() -> None:
    """With rows of a multiple of three words, three rows would be read from one bank."""
    graph = graph_of(
        [depthwise("a", "b", ones(4, 3, 3))], {"a": (6, 6, 4), "b": (4, 4, 4)}
    )  # fmt: skip
    (choice,) = plan(graph, SMALL_VISION)
    assert best(choice, 6, SMALL_VISION).shape.op is Op.CONV
    assert best(choice, 7, SMALL_VISION).shape.op is Op.DEPTHWISE
    assert choose_layouts([choice], graph.tensors, SMALL_VISION)["a"].pitch % 3 != 0


# Refusals: one sentence with figures, the layer by its name.


def test_maps_that_do_not_fit_name_the_layer() -> None:
    nodes = [conv("a", "b", ones(8, 1, 1, 4)), conv("b", "c", ones(4, 1, 1, 8), name="too much")]
    graph = graph_of(nodes, {"a": (30, 30, 4), "b": (30, 30, 8), "c": (30, 30, 4)})
    with pytest.raises(
        CompileError,
        match=r"^The maps that live at layer 'a to b' need 10\.5 KiB of activation memory as "
        r"laid out \(10\.5 KiB of values\), the engine has 6\.0 KiB$",
    ):
        compile_graph(graph, replace(SMALL_VISION, bank_words=512))
    compile_graph(graph, SMALL_VISION)


def test_an_adds_operands_live_until_it_has_run() -> None:
    """Without the add the first map would be free when the second convolution runs."""
    weights = np.random.default_rng(1).integers(-9, 9, (4, 1, 1, 4))
    nodes = [conv("a", "b", weights), conv("b", "c", weights), conv("c", "d", weights)]
    shapes = dict.fromkeys("abcd", (20, 30, 4))
    small = replace(SMALL_VISION, bank_words=512)
    compile_graph(graph_of(nodes, shapes), small)
    nodes.append(Add(name="add", input="d", other="b", output="e"))
    with pytest.raises(CompileError, match=r"at layer '(c to d|add)' need 7\.0 KiB of activ"):
        compile_graph(graph_of(nodes, dict.fromkeys("abcde", (20, 30, 4))), small)


def test_weights_that_do_not_fit_name_the_layer() -> None:
    weights = np.random.default_rng(1).integers(-9, 9, (40, 3, 3, 20))
    nodes = [conv("a", "b", weights[:20]), conv("b", "c", weights, name="too much")]
    graph = graph_of(nodes, {"a": (8, 8, 20), "b": (6, 6, 20), "c": (4, 4, 40)})
    with pytest.raises(
        CompileError,
        match=r"^The network needs 10\.5 KiB of weights as packed for this array \(675 rows; "
        r"10\.5 KiB unpacked\), the engine has 8\.0 KiB \(512 rows\): layer 'too much' needs 450 "
        r"rows where 287 are left$",
    ):
        compile_graph(graph, SMALL_VISION)


def test_parameters_that_do_not_fit_name_the_layer() -> None:
    weights = np.random.default_rng(1).integers(-9, 9, (100, 1, 1, 1))
    nodes = [
        conv("a", "b", weights),
        *(depthwise(*pair, np.broadcast_to(weights, (100, 1, 1, 1))[..., 0]) for pair in
          ("bc", "cd", "de", "ef", "fg")),
    ]  # fmt: skip
    graph = graph_of(nodes, {"a": (2, 2, 1)} | dict.fromkeys("bcdefg", (2, 2, 100)))
    with pytest.raises(
        CompileError,
        match=r"needs 9\.4 KiB of requantisation parameters \(300 rows\), the engine has 8\.0 KiB "
        r"\(256 rows\): layer 'f to g' needs 50 rows where 6 are left$",
    ):
        compile_graph(graph, SMALL_VISION)


def test_too_many_layers() -> None:
    tensors = [f"t{number}" for number in range(65)]
    nodes = [
        MaxPool2D(name=target, input=source, output=target, window=(1, 1), stride=(1, 1))
        for source, target in itertools.pairwise(tensors)
    ]
    graph = graph_of(nodes, dict.fromkeys(tensors, (1, 1, 1)))
    with pytest.raises(CompileError, match=r"has 64 layers, the engine takes 63 \(1024 words of"):
        compile_graph(graph, SMALL_VISION)


def test_a_stride_beyond_the_field() -> None:
    graph = graph_of(
        [conv("a", "b", ones(1, 1, 1, 1), stride=(1, 16))], {"a": (1, 40, 1), "b": (1, 3, 1)}
    )
    with pytest.raises(
        CompileError, match="'a to b': 16 horizontal stride, the engine takes at most 15"
    ):
        compile_graph(graph, DEFAULT_VISION)


def test_the_pictures_place_is_free_again_as_soon_as_it_can_be() -> None:
    """192 words for each of three maps, then 48, 12 and 12, in banks of 512."""
    sizes = (24, 24, 24, 12, 6, 6)
    tensors = {f"t{i}": Tensor(f"t{i}", (size, size, 4), 0.1, 0) for i, size in enumerate(sizes)}
    nodes = [
        MaxPool2D(
            name=f"pool{i}",
            input=f"t{i}",
            output=f"t{i + 1}",
            window=(1, 1),
            stride=(size // after, size // after),
        )
        for i, (size, after) in enumerate(itertools.pairwise(sizes))
    ]
    graph = Graph(name="narrowing", tensors=tensors, nodes=tuple(nodes), input="t0", output="t5")
    program = compile_graph(graph, replace(SMALL_VISION, bank_words=512))
    released = [fields["release_input"] for fields in instructions(program)[:-1]]
    assert released == [0, 0, 1, 0, 0], "the third map must share it, later ones need not"

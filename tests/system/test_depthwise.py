"""Depthwise layers on the depthwise unit: equal to the reference, in the cycles of the model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.simulated.memory import INFINITE
from drivers.simulated.vision import vision_board
from drivers.vision import VisionEngine
from eyas.compiler import compile_graph
from eyas.interfaces.vision.config import SMALL_VISION, VisionConfig
from eyas.interfaces.vision.isa import INSTRUCTION, Op
from eyas.interfaces.vision.program_file import Program
from eyas.interfaces.vision.records import HEADER
from models.vision.graph import Conv2D, DepthwiseConv2D, Graph, MaxPool2D, Node, Tensor
from tests.models.random_graphs import linear_values, multipliers, seeds, zero_points
from tests.system.test_random_networks import EXAMPLES, check, random_networks

SHAPES = {
    # Three banks; a tile's weights take three rows.
    "4x4x3": SMALL_VISION,
    # Five banks, two rows.
    "8x2x5": replace(
        SMALL_VISION, output_channels=8, input_channels=2, pixels=5, requantize_channels=1
    ),
    # A word takes four cycles of requantisation: at stride 1 longer than a group's columns.
    "8x8x3": replace(SMALL_VISION, output_channels=8, input_channels=8, requantize_channels=2),
}
NIGHTLY = {"8x8x3"}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(config, id=name, marks=[pytest.mark.nightly] * (name in NIGHTLY))
        for name, config in SHAPES.items()
    ],
)
def depthwise_engine(request: pytest.FixtureRequest):
    config: VisionConfig = request.param
    with vision_board(config, memory=INFINITE) as board, VisionEngine(board) as engine:
        yield engine


@st.composite
def chains(draw: st.DrawFn) -> Graph:
    """One to three depthwise layers of kernels up to 3 × 3, between them now and then another."""
    size = draw(st.integers(1, 11)), draw(st.integers(1, 11)), draw(st.integers(1, 9))
    tensors = [Tensor("t0", size, 0.05, draw(zero_points))]
    nodes: list[Node] = []
    for kind in draw(
        st.lists(
            st.sampled_from(["depthwise", "depthwise", "conv", "pool"]), min_size=1, max_size=3
        )
    ):
        source = tensors[-1]
        names = {
            "name": f"n{len(nodes)}",
            "input": source.name,
            "output": f"t{len(tensors)}",
            "activation_min": draw(st.sampled_from([-128, -20])),
        }
        if kind == "pool":
            nodes.append(MaxPool2D(window=(1, 1), stride=(1, 1), **names))
            tensors.append(replace(source, name=names["output"]))
            continue
        sides = [_side(draw, length) for length in source.shape[:2]]
        outputs = source.shape[2]
        if kind == "conv":
            outputs = draw(st.integers(1, 9))
            kernel = (outputs, 1, 1, source.shape[2])
            shape, extra = source.shape[:2], {}
        else:
            kernel = (outputs, sides[0][0], sides[1][0])
            shape = sides[0][3], sides[1][3]
            extra = {
                "stride": (sides[0][1], sides[1][1]),
                "padding": (*sides[0][2], *sides[1][2]),
            }
        target = Tensor(names["output"], (*shape, outputs), 0.07, draw(zero_points))
        rng = np.random.default_rng(draw(seeds))
        weights = rng.choice([-128, 127], kernel) if draw(st.booleans()) else None
        weights = rng.integers(-128, 128, kernel) if weights is None else weights
        taps = int(np.prod(kernel[1:]))
        values = linear_values(rng, draw(multipliers), outputs, taps, target.scale / source.scale)
        layer = Conv2D if kind == "conv" else DepthwiseConv2D
        nodes.append(layer(weights=weights, **values, **names, **extra))
        tensors.append(target)
    return Graph(
        name="depthwise",
        tensors={tensor.name: tensor for tensor in tensors},
        nodes=tuple(nodes),
        input="t0",
        output=tensors[-1].name,
    )


def _side(draw: st.DrawFn, size: int) -> tuple[int, int, tuple[int, int], int]:
    """Kernel, stride, padding and output of one dimension."""
    kernel = draw(st.sampled_from([3, 3, 3, 2, 1]))
    least = max(0, kernel - size)
    before = draw(st.integers(min(least, kernel - 1), kernel - 1))
    after = draw(st.integers(max(0, least - before), max(kernel - 1, least - before)))
    stride = draw(st.sampled_from([1, 1, 2, 2, 3]))
    return kernel, stride, (before, after), (size + before + after - kernel) // stride + 1


def operations(program: Program) -> list[int]:
    """The operations of the program's layers."""
    size = INSTRUCTION.width // 8
    start = HEADER.width // 8
    return [
        INSTRUCTION.unpack_bytes(program.image[offset : offset + size])["op"]
        for offset in range(start, start + size * len(program.manifest.layers), size)
    ]


@settings(random_networks, max_examples=max(20, EXAMPLES // 2))
@given(graph=chains())
def test_chains(depthwise_engine: VisionEngine, graph: Graph) -> None:
    check(depthwise_engine, graph, fold=False)


def one_layer(
    size: tuple[int, int, int], stride: tuple[int, int], padding: tuple[int, int, int, int]
) -> Graph:
    """A depthwise layer of random weights."""
    rng = np.random.default_rng(7)
    height, width, channels = size
    out = (
        (height + padding[0] + padding[1] - 3) // stride[0] + 1,
        (width + padding[2] + padding[3] - 3) // stride[1] + 1,
    )
    node = DepthwiseConv2D(
        name="depthwise", input="in", output="out", stride=stride, padding=padding,
        weights=rng.integers(-128, 128, (channels, 3, 3)),
        bias=rng.integers(-500, 500, channels), weight_scales=np.full(channels, 0.003),
    )  # fmt: skip
    tensors = Tensor("in", size, 0.05, 83), Tensor("out", (*out, channels), 0.06, -3)
    return Graph(
        name="one",
        tensors={tensor.name: tensor for tensor in tensors},
        nodes=(node,),
        input="in",
        output="out",
    )


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 1)])
def test_the_unit_computes_it(depthwise_engine: VisionEngine, stride: tuple[int, int]) -> None:
    """Every width of an output row up to two groups and a pixel."""
    config = depthwise_engine.config
    for width in range(1, 2 * config.pixels + 2):
        graph = one_layer((5, (width - 1) * stride[1] + 1, 9), stride, (1, 1, 1, 1))
        program = compile_graph(graph, config)
        fast = config.pixels * stride[1] >= config.drains_per_word
        assert operations(program) == [Op.DEPTHWISE if fast else Op.CONV]
        check(depthwise_engine, graph, fold=False)


def test_every_padding(depthwise_engine: VisionEngine) -> None:
    for padding in ((0, 0, 0, 0), (2, 2, 2, 2), (0, 1, 2, 0), (2, 0, 0, 2), (1, 2, 1, 2)):
        check(depthwise_engine, one_layer((4, 5, 3), (2, 2), padding), fold=False)


def test_one_bank_has_no_unit() -> None:
    config = replace(
        SMALL_VISION, output_channels=16, input_channels=16, pixels=1, requantize_channels=8
    )
    program = compile_graph(one_layer((4, 5, 3), (1, 1), (1, 1, 1, 1)), config)
    assert operations(program) == [Op.CONV]

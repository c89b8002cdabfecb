"""Residual adds through the RTL: every value of both inputs, chains of adds, waits for tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.vision import VisionEngine
from eyas.compiler import compile_graph
from hdl.vision.datapath.add_tables import AddTables
from models.vision import reference
from models.vision.graph import Add, Conv2D, Graph, MaxPool2D, Tensor
from tests.models.random_graphs import pictures_of, scales, seeds, zero_points
from tests.models.tflite_writer import ACTIVATIONS, activation_range
from tests.system.test_random_networks import random_networks

FIRST, SECOND = Tensor("in", (16, 16, 1), 0.05, 4), Tensor("other", (16, 16, 1), 0.03, -7)


def graph_of(nodes: tuple, *tensors: Tensor) -> Graph:
    """A graph from ``in`` to what the last node writes."""
    return Graph(
        name="adds",
        tensors={tensor.name: tensor for tensor in tensors},
        nodes=nodes,
        input="in",
        output=nodes[-1].output,
    )


def check(engine: VisionEngine, graph: Graph, pictures: np.ndarray) -> dict[str, int]:
    """Every map equals the reference's; cycles each layer waited for its tables, by its name."""
    program = compile_graph(graph, engine.config)
    engine.unload()
    engine.load(program)
    result = engine.infer(pictures)
    expected = reference.run_layers(graph, pictures)
    np.testing.assert_array_equal(result.outputs, expected[graph.output])
    layers = program.manifest.layers
    counters = engine.layer_counters()
    for entry, counted in zip(layers, counters, strict=True):
        assert counted.cycles == entry.cycles, entry.name
    for number, entry in enumerate(layers):
        np.testing.assert_array_equal(
            engine.probe(pictures[-1], number), expected[entry.tensor][-1], entry.name
        )
    return {
        entry.name: counted.table_cycles for entry, counted in zip(layers, counters, strict=True)
    }


@pytest.mark.parametrize("zero_points", [(0, 0), (-128, 127), (83, -1)])
@pytest.mark.parametrize("ratio", [1.0, 0.5, 0.75, 2.0**-7, 3.1e-10])
def test_every_value_of_the_first_input(engine, ratio, zero_points):
    """A picture with every value; the other input is the same picture, mirrored."""
    first, second = zero_points
    source = Tensor("in", (16, 16, 1), 0.05, first)
    other = Tensor("other", (16, 16, 1), 0.05 * ratio, second)
    target = Tensor("out", (16, 16, 1), 0.06, 5)
    turned = Conv2D(
        name="turned", input="in", output="other", weights=np.full((1, 1, 1, 1), -1),
        bias=np.array([first + 1]), weight_scales=np.array([ratio], np.float32),
    )  # fmt: skip
    every = np.arange(-128, 128).astype(np.int8).reshape(1, 16, 16, 1)
    for inputs in (("in", "other"), ("other", "in")):
        node = Add(name="add", input=inputs[0], other=inputs[1], output="out")
        check(engine, graph_of((turned, node), source, other, target), every)


def test_adds_in_a_row_wait_for_their_tables(engine):
    """An add behind an add fills its tables when the first has ended; behind a long layer none."""
    tensors = [Tensor(name, (7, 7, 3), 0.05, 4) for name in ("in", "a", "b", "c", "d", "e")]
    weights = np.random.default_rng(1).integers(-128, 128, (3, 5, 5, 3))
    long = Conv2D(
        name="long", input="b", output="c", weights=weights, bias=np.zeros(3, int),
        weight_scales=np.full(3, 0.002), padding=(2, 2, 2, 2),
    )  # fmt: skip
    short = MaxPool2D(name="short", input="d", output="e", window=(1, 1), stride=(1, 1))
    nodes = (
        Add(name="first", input="in", other="in", output="a"),
        Add(name="second", input="a", other="in", output="b"),
        long,
        Add(name="third", input="c", other="b", output="d"),
        short,
    )
    graph = graph_of(nodes, *tensors)
    waited = check(engine, graph, pictures_of(graph, 3, seed=7))
    # The tables of the first begin with its fetch, of the second behind the end of the first.
    assert waited["first"] == AddTables.latency
    assert waited["second"] == AddTables.latency
    assert waited["third"] == waited["long"] == waited["short"] == 0


def test_tables_begun_for_another_program(engine):
    """A probe ends before an add whose tables have been begun; the next program has its own."""
    tensors = [Tensor(name, (4, 4, 3), 0.05, 4) for name in ("in", "a")]
    pool = MaxPool2D(name="pool", input="in", output="a", window=(1, 1), stride=(1, 1))
    programs = [
        graph_of(
            (pool, Add(name="add", input="a", other="in", output="out")),
            *tensors, Tensor("out", (4, 4, 3), 0.08, zero_point),
        )
        for zero_point in (-20, 11)
    ]  # fmt: skip
    pictures = pictures_of(programs[0], 2, seed=9)
    compiled = [compile_graph(graph, engine.config) for graph in programs]
    for graph, program in zip(programs * 2, compiled * 2, strict=True):
        engine.load(program)
        engine.probe(pictures[0], 0)
        expected = reference.run(graph, pictures)
        np.testing.assert_array_equal(engine.infer(pictures).outputs, expected)


@st.composite
def residuals(draw: st.DrawFn) -> Graph:
    """Convolutions with adds around them; channels, scales and zero points at random."""
    channels = draw(st.integers(1, 9))
    size = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    rng = np.random.default_rng(draw(seeds))
    tensors = [Tensor("in", (*size, channels), draw(scales), draw(zero_points))]
    nodes: list = []
    for number in range(draw(st.integers(1, 4))):
        target = Tensor(f"map{number}", (*size, channels), draw(scales), draw(zero_points))
        source = tensors[-1]
        if draw(st.booleans()) or not nodes:
            spread = target.scale / source.scale / (74 * np.sqrt(9 * channels))
            nodes.append(Conv2D(
                name=f"node{number}", input=source.name, output=target.name,
                weights=rng.integers(-128, 128, (channels, 3, 3, channels)),
                bias=rng.integers(-2000, 2000, channels),
                weight_scales=np.full(channels, spread, np.float32), padding=(1, 1, 1, 1),
            ))  # fmt: skip
        else:
            low, high = activation_range(draw(st.sampled_from(ACTIVATIONS)), target)
            nodes.append(Add(
                name=f"node{number}", input=source.name, output=target.name,
                other=draw(st.sampled_from([tensor.name for tensor in tensors])),
                activation_min=low, activation_max=high,
            ))  # fmt: skip
        tensors.append(target)
    last = Tensor("out", (*size, channels), draw(scales), draw(zero_points))
    other = draw(st.sampled_from([tensor.name for tensor in tensors]))
    nodes.append(Add(name="last", input=tensors[-1].name, other=other, output="out"))
    return graph_of(tuple(nodes), *tensors, last)


@settings(random_networks)
@given(graph=residuals())
def test_residual_networks(engine: VisionEngine, graph: Graph) -> None:
    check(engine, graph, pictures_of(graph, 3, seed=5))

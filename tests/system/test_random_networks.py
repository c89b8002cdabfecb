"""Random networks through the RTL: every layer's map equals the reference's, bit for bit."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.vision import VisionEngine
from eyas.compiler import compile_graph
from models.vision import reference
from models.vision.graph import Graph
from tests.models.random_graphs import convolutions, fully_connecteds, pictures_of, pools
from tests.system.random_networks import networks

EXAMPLES = int(os.environ.get("EYAS_EXAMPLES", "60"))
"""Networks of each kind."""
NIGHTLY_EXAMPLES = max(EXAMPLES, 3000)

random_networks = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES <= 100,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def check(engine: VisionEngine, graph: Graph, count: int = 4, fold: bool = True) -> None:
    """Outputs of ``count`` pictures, and all maps of the last one, equal the reference's; each
    layer takes the cycles that the compiler says."""
    program = compile_graph(graph, engine.config, fold=fold)
    engine.unload()
    engine.load(program)
    pictures = pictures_of(graph, count, seed=5)
    result = engine.infer(pictures)
    expected = reference.run_layers(graph, pictures)
    for number, entry in enumerate(program.manifest.layers):
        if entry.tensor is None:
            continue  # the next layers complete the map
        actual = engine.probe(pictures[-1], number)
        wanted = expected[entry.tensor][-1]
        if entry.channels is not None:
            wanted = wanted[..., entry.channels]
        np.testing.assert_array_equal(actual, wanted, err_msg=f"layer {entry.name}")
    np.testing.assert_array_equal(result.logits, expected[graph.output], err_msg="output")
    np.testing.assert_array_equal(
        result.outputs, reference.answers(graph, expected[graph.output]), err_msg="answer"
    )
    engine.infer(pictures[:1])
    for entry, counters in zip(program.manifest.layers, engine.layer_counters(), strict=True):
        assert counters.cycles == entry.cycles, entry.name


@settings(random_networks, max_examples=3 * EXAMPLES)
@given(graph=networks(), fold=st.booleans())
def test_networks(engine: VisionEngine, graph: Graph, fold: bool) -> None:
    check(engine, graph, fold=fold)


@pytest.mark.nightly
@settings(random_networks, max_examples=NIGHTLY_EXAMPLES, derandomize=False)
@given(graph=networks(), fold=st.booleans())
def test_thousands_of_networks(engine: VisionEngine, graph: Graph, fold: bool) -> None:
    check(engine, graph, fold=fold)


@random_networks
@given(graph=networks(kinds=("add", "add", "conv", "depthwise", "requantize", "max", "pad")))
def test_residual_networks(engine: VisionEngine, graph: Graph) -> None:
    check(engine, graph)


@random_networks
@given(graph=networks(most=2, first=("conv", "conv", "pad"), channels=3))
def test_pictures_of_few_channels(engine: VisionEngine, graph: Graph) -> None:
    check(engine, graph)


@random_networks
@given(graph=convolutions())
def test_convolutions(engine: VisionEngine, graph: Graph) -> None:
    check(engine, graph)


@random_networks
@given(graph=fully_connecteds())
def test_fully_connecteds(engine: VisionEngine, graph: Graph) -> None:
    check(engine, graph)


@random_networks
@given(graph=pools())
def test_pools(engine: VisionEngine, graph: Graph) -> None:
    check(engine, graph)

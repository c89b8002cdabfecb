"""Random networks through the RTL: every layer's map equals the reference's, bit for bit."""

from __future__ import annotations

import os

import numpy as np
from hypothesis import HealthCheck, event, given, settings

from drivers.vision import VisionEngine
from eyas.compiler import CompileError, compile_graph
from models.vision import reference
from models.vision.graph import Graph
from tests.models.random_graphs import convolutions, fully_connecteds, pictures_of, pools
from tests.system.random_networks import chains

EXAMPLES = int(os.environ.get("EYAS_EXAMPLES", "60"))
"""Networks of each kind; the nightly session sets it to thousands."""

random_networks = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES <= 100,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def check(engine: VisionEngine, graph: Graph, count: int = 4) -> None:
    """Outputs of ``count`` pictures, and all maps of the last one, equal the reference's."""
    try:
        program = compile_graph(graph, engine.config)
    except CompileError as error:
        # What the engine does not promise: three pixels of one bank; a fully connected layer whose
        # sums, near 2^31, leave no fractional bits to tell a tie from what is almost one.
        if not any(text in str(error) for text in ("meet in one bank", "no parameters round")):
            raise
        event(str(error).split(":")[-1])
        return
    engine.unload()
    engine.load(program)
    pictures = pictures_of(graph, count, seed=5)
    result = engine.infer(pictures)
    expected = reference.run_layers(graph, pictures)
    for number, entry in enumerate(program.manifest["layers"]):
        if entry["tensor"] is None:
            continue  # the next layers complete the map
        actual = engine.probe(pictures[-1], number)
        wanted = expected[entry["tensor"]][-1]
        if entry["channels"] is not None:
            wanted = wanted[..., entry["channels"]]
        np.testing.assert_array_equal(actual, wanted, err_msg=f"layer {entry['name']}")
    np.testing.assert_array_equal(result.outputs, expected[graph.output], err_msg="output")
    engine.infer(pictures[:1])
    for entry, counters in zip(program.manifest["layers"], engine.layer_counters(), strict=True):
        assert counters.cycles == entry["cycles"], entry["name"]


@random_networks
@given(graph=chains())
def test_chains(engine: VisionEngine, graph: Graph) -> None:
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

"""Folding constant channels: exact for every input, and as much as can be known."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from eyas.compiler import compile_graph
from eyas.compiler.lowering.folding import fold
from eyas.compiler.lowering.ranges import ranges_of
from eyas.interfaces.vision.config import SMALL_VISION
from eyas.interfaces.vision.manifest import Folded
from models.vision import reference
from models.vision.graph import Add, AveragePool2D, FullyConnected, Graph, MaxPool2D, Mean, Pad
from tests.compiler.small_graphs import SCALE, conv, depthwise, graph_of
from tests.models.random_graphs import pictures_of
from tests.system.random_networks import networks

EXAMPLES = int(os.environ.get("EYAS_EXAMPLES", "80"))


def check_exact(graph: Graph) -> None:
    """Every channel that is left has the values it had."""
    folding = fold(graph)
    pictures = pictures_of(graph, 4, seed=11)
    before = reference.run_layers(graph, pictures)
    after = reference.run_layers(folding.graph, pictures)
    for name, values in before.items():
        kept = folding.kept.get(name, list(range(values.shape[-1])))
        np.testing.assert_array_equal(after[name], values[..., kept], err_msg=name)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES <= 100,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(graph=networks())
def test_folding_is_exact(graph: Graph) -> None:
    check_exact(graph)
    # What no picture can reach: every value that does occur lies in its range.
    ranges = ranges_of(graph)
    for name, values in reference.run_layers(graph, pictures_of(graph, 4, seed=3)).items():
        flat = values.reshape(-1, values.shape[-1])
        assert (flat.min(0) >= ranges[name].low).all(), name
        assert (flat.max(0) <= ranges[name].high).all(), name


def dense(rng: np.random.Generator, *shape: int, zero: tuple[int, ...] = ()) -> np.ndarray:
    """Random weights; the filters ``zero`` are all zero."""
    weights = rng.integers(-128, 128, shape)
    weights[list(zero)] = 0
    return weights


def test_zero_filters_go_through_everything() -> None:
    rng = np.random.default_rng(1)
    graph = graph_of(
        [
            conv("a", "b", dense(rng, 6, 1, 1, 3, zero=(1, 4)), bias=np.arange(6) * 40),
            depthwise("b", "c", dense(rng, 6, 3, 3)),
            MaxPool2D(name="max", input="c", output="d", window=(2, 2), stride=(1, 1)),
            AveragePool2D(
                name="average", input="d", output="e", window=(3, 3), stride=(1, 1),
                padding=(1, 1, 1, 1),
            ),
            Mean(name="mean", input="e", output="f"),
            conv("f", "g", dense(rng, 5, 1, 1, 6)),
        ],
        {
            "a": (7, 7, 3), "b": (7, 7, 6), "c": (5, 5, 6), "d": (4, 4, 6), "e": (4, 4, 6),
            "f": (1, 1, 6), "g": (1, 1, 5),
        },
    )  # fmt: skip
    folding = fold(graph)
    assert folding.kept == {name: [0, 2, 3, 5] for name in "bcdef"}
    assert folding.removed == 10
    check_exact(graph)


@pytest.mark.parametrize(("bias", "removed"), [(0, 1), (64, 0)])
def test_padding_needs_the_zero_point(bias: int, removed: int) -> None:
    """A bias of 0 makes a constant of the zero point, which is what padding reads as."""
    rng = np.random.default_rng(2)
    graph = graph_of(
        [
            conv("a", "b", dense(rng, 4, 1, 1, 2, zero=(2,)), bias=np.array([1, 2, bias, 3])),
            conv("b", "c", dense(rng, 3, 3, 3, 4), padding=(1, 1, 1, 1)),
        ],
        {"a": (4, 4, 2), "b": (4, 4, 4), "c": (4, 4, 3)},
    )
    assert fold(graph).removed == removed
    check_exact(graph)


def test_a_filter_that_the_activation_silences_is_constant() -> None:
    weights = np.ones((2, 1, 1, 1), np.int64)
    graph = graph_of(
        [
            # The second channel's sums stay far below the activation's lower end.
            conv("a", "b", weights, bias=np.array([0, -(2**20)]), activation_min=3),
            conv("b", "c", np.full((1, 1, 1, 2), 50)),
        ],
        {"a": (2, 2, 1), "b": (2, 2, 2), "c": (2, 2, 1)},
    )
    assert fold(graph).kept == {"b": [0]}
    check_exact(graph)


def test_a_channel_that_nothing_reads_is_not_computed() -> None:
    rng = np.random.default_rng(3)
    last = dense(rng, 3, 1, 1, 4)
    last[..., 1] = 0
    graph = graph_of(
        [
            conv("a", "b", dense(rng, 4, 1, 1, 2)),
            depthwise("b", "c", dense(rng, 4, 3, 3), padding=(1, 1, 1, 1)),
            conv("c", "d", last),
        ],
        {"a": (4, 4, 2), "b": (4, 4, 4), "c": (4, 4, 4), "d": (4, 4, 3)},
    )
    assert fold(graph).kept == {name: [0, 2, 3] for name in "bc"}
    check_exact(graph)


def test_a_residual_add_needs_both_constants() -> None:
    rng = np.random.default_rng(4)
    graph = graph_of(
        [
            conv("a", "b", dense(rng, 4, 1, 1, 2, zero=(0, 1))),
            conv("a", "c", dense(rng, 4, 1, 1, 2, zero=(1, 2))) ,
            Add(name="add", input="b", other="c", output="d"),
            conv("d", "e", dense(rng, 2, 1, 1, 4)),
        ],
        {"a": (3, 3, 2), "b": (3, 3, 4), "c": (3, 3, 4), "d": (3, 3, 4), "e": (3, 3, 2)},
    )  # fmt: skip
    assert fold(graph).kept == {name: [0, 2, 3] for name in "bcd"}
    check_exact(graph)


def test_a_depthwise_multiplier_keeps_its_groups_whole() -> None:
    rng = np.random.default_rng(5)
    graph = graph_of(
        [
            conv("a", "b", dense(rng, 3, 1, 1, 2, zero=(1,))),
            # Channel 0's first output is constant, its second is not.
            depthwise("b", "c", dense(rng, 6, 2, 2, zero=(0,)), multiplier=2),
            conv("c", "d", dense(rng, 2, 1, 1, 6)),
        ],
        {"a": (4, 4, 2), "b": (4, 4, 3), "c": (3, 3, 6), "d": (3, 3, 2)},
    )
    assert fold(graph).kept == {"b": [0, 2], "c": [0, 1, 4, 5]}
    check_exact(graph)


def test_input_output_and_one_channel_stay() -> None:
    zeros = np.zeros((4, 1, 1, 3), np.int64)
    graph = graph_of(
        [conv("a", "b", zeros), conv("b", "c", np.zeros((5, 1, 1, 4), np.int64))],
        {"a": (2, 2, 3), "b": (2, 2, 4), "c": (2, 2, 5)},
    )
    assert fold(graph).kept == {"b": [0]}
    check_exact(graph)


def test_a_bias_that_wraps_is_exact() -> None:
    """The accumulator counts modulo 2^32, and so does what is folded into the bias."""
    rng = np.random.default_rng(6)
    graph = graph_of(
        [
            conv("a", "b", dense(rng, 3, 1, 1, 2, zero=(1,)), bias=np.array([0, 2**20, 0])),
            conv("b", "c", np.full((2, 1, 1, 3), 127), bias=np.array([2**31 - 1, -(2**31)])),
        ],
        {"a": (3, 3, 2), "b": (3, 3, 3), "c": (3, 3, 2)},
    )
    folding = fold(graph)
    assert folding.graph.nodes[1].bias[0] < 0 < graph.nodes[1].bias[0]
    check_exact(graph)


def test_a_fully_connected_layer_loses_its_columns() -> None:
    rng = np.random.default_rng(7)
    graph = graph_of(
        [
            conv("a", "b", dense(rng, 4, 1, 1, 2, zero=(3,)), bias=np.array([0, 0, 0, 900])),
            Pad(name="pad", input="b", output="c", padding=(0, 0, 0, 0)),
            FullyConnected(
                name="full", input="c", output="d", weights=dense(rng, 3, 2 * 2 * 4),
                bias=np.arange(3), weight_scales=np.full(3, SCALE / 8),
            ),
        ],
        {"a": (2, 2, 2), "b": (2, 2, 4), "c": (2, 2, 4), "d": (1, 1, 3)},
    )  # fmt: skip
    assert fold(graph).kept == {name: [0, 1, 2] for name in "bc"}
    check_exact(graph)


def test_the_manifest_says_what_was_folded() -> None:
    rng = np.random.default_rng(8)
    graph = graph_of(
        [
            conv("a", "b", dense(rng, 8, 1, 1, 3, zero=(0, 1, 2, 5))),
            conv("b", "c", dense(rng, 4, 1, 1, 8)),
        ],
        {"a": (4, 4, 3), "b": (4, 4, 8), "c": (4, 4, 4)},
    )
    folded = compile_graph(graph, SMALL_VISION).manifest
    whole = compile_graph(graph, SMALL_VISION, fold=False).manifest
    assert folded.folded == Folded(channels=4, macs_before=16 * (24 + 32))
    assert folded.macs == 16 * (12 + 16)
    assert whole.folded == Folded(channels=0, macs_before=whole.macs)
    assert [layer.channels for layer in folded.layers] == [(3, 4, 6, 7), None]
    assert [layer.channels for layer in whole.layers] == [None, None]
    assert folded.sizes.weight_rows < whole.sizes.weight_rows
    assert sum(item.cycles for item in folded.layers) < sum(item.cycles for item in whole.layers)

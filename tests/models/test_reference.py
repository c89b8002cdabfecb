"""The integer reference against LiteRT's reference kernels, layer by layer and bit for bit."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings

from models.vision.graph import (
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    MaxPool2D,
    Mean,
    Pad,
    Requantize,
    Tensor,
    quantize,
)
from models.vision.reference import answers, run, run_layers
from tests.models.litert import run_file, run_graph
from tests.models.random_graphs import convolutions, fully_connecteds, pictures_of, pools, seeds
from tests.models.random_layers import (
    additions,
    average_pools,
    depthwise_convolutions,
    means,
    pads,
    requantizations,
)
from tests.models.tflite_writer import TfliteWriter

# Derandomised: the same examples in every run.
fixed = settings(derandomize=True, deadline=None, max_examples=150)


def check(graph: Graph, count: int = 8, seed: int = 5) -> None:
    pictures = pictures_of(graph, count, seed)
    expected = run_graph(graph, pictures)
    actual = run_layers(graph, pictures)
    assert set(actual) == set(graph.tensors)
    for name in graph.tensors:
        assert actual[name].dtype == np.int8
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)


@fixed
@given(convolutions())
def test_convolution(graph: Graph) -> None:
    check(graph)


@fixed
@given(fully_connecteds())
def test_fully_connected(graph: Graph) -> None:
    check(graph, 32)


@fixed
@given(pools())
def test_pools(graph: Graph) -> None:
    check(graph)


@fixed
@given(depthwise_convolutions())
def test_depthwise_convolution(graph: Graph) -> None:
    check(graph)


@fixed
@given(average_pools())
def test_average_pools_with_padding(graph: Graph) -> None:
    check(graph)


@fixed
@given(additions())
def test_addition(graph: Graph) -> None:
    check(graph, 16)


@settings(fixed, max_examples=40)
@given(pads())
def test_pads(graph: Graph) -> None:
    check(graph, 3)


@settings(fixed, max_examples=250)
@given(requantizations())
def test_requantization(graph: Graph) -> None:
    pictures = np.arange(-128, 128).astype(np.int8).reshape(1, *graph.input_tensor.shape)
    expected = run_graph(graph, pictures)["out"]
    np.testing.assert_array_equal(run(graph, pictures), expected)


@fixed
@given(means(), seeds)
def test_mean(graph: Graph, seed: int) -> None:
    """Channels of little spread, around means that are anything."""
    rng = np.random.default_rng(seed)
    shape = graph.input_tensor.shape
    middles = rng.integers(-128, 128, (12, 1, 1, shape[2]))
    pictures = middles + rng.integers(-30, 30, (12, *shape)) // rng.integers(1, 30)
    pictures = pictures.clip(-128, 127).astype(np.int8)
    expected = run_graph(graph, pictures)["out"]
    np.testing.assert_array_equal(run(graph, pictures), expected)


def test_average_pool_of_any_padding() -> None:
    """TFLite has no such pool: by definition, in exact fractions."""
    rng = np.random.default_rng(3)
    pictures = rng.integers(-128, 128, (4, 5, 6, 3)).astype(np.int8)
    window, stride, padding = (3, 4), (2, 3), (2, 1, 0, 3)
    tensors = {
        "in": Tensor("in", (5, 6, 3), 0.1, 7),
        "out": Tensor("out", (3, 2, 3), 0.1, 7),
    }
    node = AveragePool2D(
        name="pool", input="in", output="out", window=window, stride=stride, padding=padding,
        activation_min=-20,
    )  # fmt: skip
    graph = Graph(name="x", tensors=tensors, nodes=(node,), input="in", output="out")
    actual = run(graph, pictures)
    for picture, y, x, channel in np.ndindex(actual.shape):
        top, left = y * stride[0] - padding[0], x * stride[1] - padding[2]
        rows = slice(max(top, 0), top + window[0])
        columns = slice(max(left, 0), left + window[1])
        taps = pictures[picture, rows, columns, channel].astype(int)
        mean = Fraction(int(taps.sum()), taps.size)
        expected = math.floor(abs(mean) + Fraction(1, 2)) * (1 if mean >= 0 else -1)
        assert actual[picture, y, x, channel] == max(expected, -20)


@pytest.mark.parametrize("size", [(96, 96), (128, 64), (1, 49)])
@pytest.mark.parametrize("gain", [1.0, 0.013, 37.0, 2.0**-29, 2.0**-31, 2.0**-45])
def test_mean_of_large_maps(size: tuple[int, int], gain: float) -> None:
    source = Tensor("in", (*size, 16), 0.1, -128)
    target = Tensor("out", (1, 1, 16), 0.1 / gain, -3)
    node = Mean(name="mean", input="in", output="out")
    check(
        Graph(name="x", tensors={"in": source, "out": target}, nodes=(node,), input="in",
              output="out"),
    )  # fmt: skip


@pytest.mark.parametrize("kind", [Conv2D, DepthwiseConv2D, FullyConnected])
def test_one_scale_for_all_channels(kind: type) -> None:
    """LiteRT has kernels of its own for weights of one scale; ratios with ties among them."""
    seed = 9
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    for index in range(40):
        source = Tensor("in", (1, 1, 8), 2.0 ** rng.uniform(-7, 1), int(rng.integers(-128, 128)))
        target = Tensor("out", (1, 1, 8), 2.0 ** rng.uniform(-7, 1), int(rng.integers(-128, 128)))
        ratio = 2.0**-7 if index % 4 == 0 else 2.0 ** rng.uniform(-9, -6)
        shape = {Conv2D: (8, 1, 1, 8), DepthwiseConv2D: (8, 1, 1), FullyConnected: (8, 8)}[kind]
        node = kind(
            name="layer", input="in", output="out", weights=rng.integers(-128, 128, shape),
            bias=rng.integers(-3000, 3000, 8),
            weight_scales=np.full(8, ratio * target.scale / source.scale),
        )  # fmt: skip
        tensors = {"in": source, "out": target}
        check(Graph(name="x", tensors=tensors, nodes=(node,), input="in", output="out"), 100)


def test_fully_connected_rounds_once() -> None:
    """What tells the two kernels apart: the same values as a 1×1 convolution differ at ties."""
    count = 60_000
    tensors = {
        "in": Tensor("in", (1, 1, 1), 0.05, 0),
        "out": Tensor("out", (1, 1, count), 0.1, 0),
    }
    values = {
        "input": "in",
        "output": "out",
        "bias": np.arange(-count // 2, count // 2),
        "weight_scales": np.full(count, 0.0079),
    }
    weights = np.zeros((count, 1, 1, 1), dtype=np.int8)
    dense = FullyConnected(name="dense", weights=weights.reshape(count, 1), **values)
    conv = Conv2D(name="conv", weights=weights, **values)
    picture = np.zeros((1, 1, 1, 1), dtype=np.int8)
    outputs = []
    for node in (dense, conv):
        graph = Graph(name="x", tensors=tensors, nodes=(node,), input="in", output="out")
        outputs.append(run(graph, picture))
        np.testing.assert_array_equal(outputs[-1], run_graph(graph, picture)["out"])
    assert 20 < (outputs[0] != outputs[1]).sum() < 500


def test_quantize() -> None:
    """Pictures become int8 as LiteRT's QUANTIZE makes them, exact ties among them."""
    seed = 11
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    for scale, zero_point in ((1 / 255, -128), (0.5, 3), (0.0321, 127), (2.0**-8, -7)):
        values = rng.uniform(-300 * scale, 300 * scale, 4000).astype(np.float32)
        values[:1000] = (np.arange(1000) / 2 - 250) * scale
        writer = TfliteWriter()
        source = writer.tensor("in", (1, 1, 1, len(values)), dtype="FLOAT32")
        target = writer.tensor("out", (1, 1, 1, len(values)), scale, zero_point)
        writer.operator("QUANTIZE", [source], [target], "QuantizeOptions")
        expected = run_file(writer.finish([source], [target]), values.reshape(1, 1, 1, -1))["out"]
        np.testing.assert_array_equal(quantize(values, scale, zero_point), expected.ravel())


def small_network(seed: int) -> Graph:
    """Convolution, maximum pool, convolution, average pool, fully connected."""
    rng = np.random.default_rng(seed)
    tensors = {
        tensor.name: tensor
        for tensor in (
            Tensor("picture", (12, 12, 3), 1 / 255, -128),
            Tensor("a", (12, 12, 8), 0.02, -128),
            Tensor("b", (6, 6, 8), 0.02, -128),
            Tensor("c", (3, 3, 16), 0.04, -17),
            Tensor("d", (1, 1, 16), 0.04, -17),
            Tensor("logits", (1, 1, 10), 0.1, 12),
        )
    }
    nodes = (
        Conv2D(
            name="conv1", input="picture", output="a", padding=(1, 1, 1, 1), activation_min=-128,
            weights=rng.integers(-128, 128, (8, 3, 3, 3)), bias=rng.integers(-3000, 3000, 8),
            weight_scales=rng.uniform(0.005, 0.01, 8),
        ),
        MaxPool2D(name="pool1", input="a", output="b", window=(2, 2), stride=(2, 2)),
        Conv2D(
            name="conv2", input="b", output="c", stride=(2, 2), padding=(0, 1, 0, 1),
            activation_min=-17, weights=rng.integers(-128, 128, (16, 3, 3, 8)),
            bias=rng.integers(-3000, 3000, 16), weight_scales=rng.uniform(0.002, 0.004, 16),
        ),
        AveragePool2D(name="pool2", input="c", output="d", window=(3, 3), stride=(1, 1)),
        FullyConnected(
            name="dense", input="d", output="logits", weights=rng.integers(-128, 128, (10, 16)),
            bias=rng.integers(-300, 300, 10), weight_scales=rng.uniform(0.01, 0.02, 10),
        ),
    )  # fmt: skip
    return Graph(name="small", tensors=tensors, nodes=nodes, input="picture", output="logits")


def test_network() -> None:
    graph = small_network(1)
    check(graph, 40)
    logits = run(graph, pictures_of(graph, 40, 5))
    assert len(np.unique(logits)) > 50  # not saturated away


def residual_network(seed: int) -> Graph:
    """Every node without dense weights between a convolution and a softmax."""
    rng = np.random.default_rng(seed)
    parts = {
        "picture": ((11, 9, 2), 1 / 255, -128),
        "conv": ((11, 9, 4), 0.05, 3),
        "relu": ((11, 9, 4), 0.03, -128),
        "depthwise": ((11, 9, 4), 0.04, 12),
        "sum": ((11, 9, 4), 0.06, -5),
        "padded": ((12, 10, 4), 0.06, -5),
        "pool": ((6, 5, 4), 0.06, -5),
        "doubled": ((6, 5, 12), 0.05, 0),
        "mean": ((1, 1, 12), 0.004, 9),
        "logits": ((1, 1, 5), 0.01, 2),
    }

    def values(channels: int) -> dict[str, np.ndarray]:
        return {
            "bias": rng.integers(-300, 300, channels),
            "weight_scales": rng.uniform(0.004, 0.008, channels),
        }

    def weights(*shape: int) -> np.ndarray:
        return rng.integers(-128, 128, shape)

    nodes = (
        Conv2D(name="conv", input="picture", output="conv", padding=(1, 1, 1, 1),
               weights=weights(4, 3, 3, 2), **values(4)),
        Requantize(name="relu", input="conv", output="relu", float32_ratio=True),
        DepthwiseConv2D(name="depthwise", input="relu", output="depthwise", padding=(1, 1, 1, 1),
                        weights=weights(4, 3, 3), **values(4)),
        Add(name="sum", input="depthwise", other="conv", output="sum", activation_min=-5),
        Pad(name="padded", input="sum", output="padded", padding=(1, 0, 0, 1)),
        AveragePool2D(name="pool", input="padded", output="pool", window=(3, 3), stride=(2, 2),
                      padding=(0, 1, 0, 1)),
        DepthwiseConv2D(name="doubled", input="pool", output="doubled", padding=(1, 1, 1, 1),
                        multiplier=3, weights=weights(12, 3, 3), **values(12)),
        Mean(name="mean", input="doubled", output="mean"),
        FullyConnected(name="logits", input="mean", output="logits", weights=weights(5, 12),
                       **values(5)),
    )  # fmt: skip
    return Graph(
        name="residual", nodes=nodes, input="picture", output="logits",
        tensors={name: Tensor(name, *values) for name, values in parts.items()},
        softmax=Tensor("probabilities", (1, 1, 5), 1 / 256, -128), softmax_beta=7.5,
    )  # fmt: skip


def test_network_with_a_branch_and_a_softmax() -> None:
    graph = residual_network(6)
    check(graph, 40)
    pictures = pictures_of(graph, 40, 8)
    logits = run(graph, pictures)
    assert len(np.unique(logits)) > 50
    actual = answers(graph, logits)
    np.testing.assert_array_equal(actual, run_graph(graph, pictures)["probabilities"])
    assert len(np.unique(actual)) > 50
    np.testing.assert_array_equal(answers(small_network(1), logits), logits)


def test_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = small_network(2)
    pictures = pictures_of(graph, 23, 6)
    whole = run_layers(graph, pictures)
    monkeypatch.setattr("models.vision.reference.BATCH_BYTES", 5 * 12 * 12 * 27 * 8)
    for name, values in run_layers(graph, pictures).items():
        np.testing.assert_array_equal(values, whole[name])
    np.testing.assert_array_equal(run(graph, pictures), whole["logits"])


def test_no_pictures() -> None:
    graph = small_network(3)
    assert run(graph, np.empty((0, 12, 12, 3), dtype=np.int8)).shape == (0, 1, 1, 10)
    assert run_layers(graph, np.empty((0, 12, 12, 3), dtype=np.int8))["b"].shape == (0, 6, 6, 8)


def test_input_is_left_alone() -> None:
    graph = small_network(4)
    pictures = pictures_of(graph, 3, 7)
    before = pictures.copy()
    run(graph, pictures)
    np.testing.assert_array_equal(pictures, before)


def test_refuses_other_pictures() -> None:
    graph = small_network(5)
    with pytest.raises(TypeError, match="Pictures must be int8, not uint8"):
        run(graph, np.zeros((1, 12, 12, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"N × 12 × 12 × 3, not 1 × 3 × 12 × 12"):
        run(graph, np.zeros((1, 3, 12, 12), dtype=np.int8))

"""Requantisation parameters: a lane that has them gives what LiteRT's kernels compute."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eyas.compiler.errors import CompileError
from eyas.compiler.lowering.lane import ChannelParameters, mantissa, requantized, scaling
from eyas.compiler.lowering.requantization import of_fully_connected
from hdl.vision.datapath.requantize import requantize
from models.vision.graph import FullyConnected, Graph, Tensor
from tests.models.random_graphs import fully_connecteds

SEED = 17
INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1


def rounded(value: float) -> int:
    """To nearest, halves away from zero, as ``std::round``."""
    whole = math.trunc(value)
    return whole + int(math.copysign(abs(value - whole) >= 0.5, value))


def layer(ratio: float, bias: int, inputs: int = 4) -> Graph:
    """A fully connected layer with weights of −127, its sums multiplied by ``ratio``."""
    source, target = Tensor("in", (1, 1, inputs), 1.0, 0), Tensor("out", (1, 1, 1), 1.0 / ratio, 0)
    node = FullyConnected(
        name="dense", input="in", output="out", weights=np.full((1, inputs), -127),
        bias=np.array([bias]), weight_scales=np.ones(1, np.float32),
    )  # fmt: skip
    tensors = {"in": source, "out": target}
    return Graph(name="one layer", tensors=tensors, nodes=(node,), input="in", output="out")


def sums_of(node: FullyConnected, source: Tensor, channel: int) -> range:
    """From the least sum to the greatest, before it wraps at 32 bits."""
    weights = node.weights[channel].astype(int)
    ends = np.stack([weights * (end - source.zero_point) for end in (-128, 127)])
    bias = int(node.bias[channel])
    return range(int(ends.min(0).sum()) + bias, int(ends.max(0).sum()) + bias + 1)


def around_the_steps(ratio: float, sums: range) -> Iterator[int]:
    """The sums' ends and, where there are sums, those on both sides of each step of the output."""
    yield from {sums.start, sums.stop - 1}
    for step in range(257):
        size = math.ceil((step + 0.5) / ratio)
        yield from (
            total for near in (-1, 0, 1) for total in (size + near, -size - near) if total in sums
        )


def check(graph: Graph) -> int:
    """Every channel's lane against the double product; how many outputs were compared."""
    node = graph.nodes[0]
    assert isinstance(node, FullyConnected)
    source, target = graph.tensors["in"], graph.tensors["out"]
    compared = 0
    for channel, parameters in enumerate(of_fully_connected(node, source, target)):
        ratio = source.scale * float(node.weight_scales[channel]) / target.scale
        folded = int(node.bias[channel]) - source.zero_point * int(node.weights[channel].sum())
        for total in around_the_steps(ratio, sums_of(node, source, channel)):
            wrapped = (total - INT32_MIN) % (1 << 32) + INT32_MIN
            zero_point = -128 if wrapped > 0 else 127  # every step is seen
            expected = max(-128, min(127, rounded(wrapped * ratio) + zero_point))
            value = requantized(total - folded, parameters, zero_point, -128, 127)
            assert value == expected, (channel, total, ratio, parameters)
            compared += 1
    return compared


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graph=fully_connecteds())
def test_fully_connected_rounds_once(graph: Graph) -> None:
    assert check(graph)


@settings(max_examples=30, deadline=None)
@given(
    ratio=st.floats(2.0**-14, 0.9),
    bias=st.sampled_from([0, 1 << 20, -(1 << 28), INT32_MAX - (1 << 20), INT32_MIN + (1 << 20)]),
)
def test_any_bias(ratio: float, bias: int) -> None:
    """Up to the ends of 32 bits, where two roundings would have no bit to spare."""
    assert check(layer(ratio, bias))


@pytest.mark.parametrize("bias", [(1 << 25) - 50_000, 50_000 - (1 << 25)])
def test_saturated_sums_do_not_wrap(bias: int) -> None:
    """Shifted left, as a ratio above 1 needs, these sums would be beyond 32 bits."""
    graph = layer(60.0, bias)
    assert check(graph)
    (parameters,) = of_fully_connected(graph.nodes[0], *graph.tensors.values())
    assert abs(parameters.bias) < abs(bias)


def test_sums_that_would_wrap_are_refused() -> None:
    graph = layer(30_000.0, 0, inputs=400)
    with pytest.raises(CompileError, match="channel 0 is multiplied by 30000"):
        of_fully_connected(graph.nodes[0], *graph.tensors.values())


def test_litert_contradicts_itself() -> None:
    """As doubles, 49 / 98 is less than a half and 245 / 98 is two and a half."""
    graph = layer(1 / 98, 0)
    with pytest.raises(CompileError, match="no multiplier of 31 bits rounds channel 0's sums"):
        of_fully_connected(graph.nodes[0], *graph.tensors.values())


def test_the_lane_of_the_compiler_is_the_hardware_s() -> None:
    """Both spell the arithmetic in plain integers; neither knows the other."""
    rng = np.random.default_rng(SEED)
    for _ in range(20_000):
        length = int(rng.integers(1, 32))
        total, bias = (int(item) for item in rng.integers(-(1 << length), 1 << length, 2))
        channel = ChannelParameters(
            bias=bias,
            multiplier=int(rng.choice([0, rng.integers(1 << 30, 1 << 31)])),
            shift=int(rng.integers(0, 32)),
            pre_shift=int(rng.integers(0, 16)),
            rounds_once=bool(rng.integers(2)),
        )
        zero_point, low, high = (int(item) for item in rng.integers(-128, 128, 3))
        limits = min(low, high), max(low, high)
        assert requantized(total, channel, zero_point, *limits) == requantize(
            total, bias, channel.multiplier, channel.shift, channel.pre_shift, zero_point, *limits,
            channel.rounds_once,
        )  # fmt: skip


def test_what_would_be_shifted_out_is_0() -> None:
    assert scaling(1 << 30, -31, 5) == ChannelParameters(5, 1 << 30, 31, 0)
    assert scaling(1 << 30, -32, 5) == ChannelParameters(5)
    assert scaling(*mantissa(0.0)) == ChannelParameters()
    with pytest.raises(ValueError, match="at most 15, not 16"):
        scaling(1 << 30, 16)

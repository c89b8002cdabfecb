"""The quantised graph: what it refuses, and its file."""

import io
import json
import math
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.vision.graph import (
    NODE_TYPES,
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    GraphError,
    MaxPool2D,
    Mean,
    Node,
    Pad,
    Requantize,
    Tensor,
    quantize,
    quantize_input,
)

TENSORS = {
    tensor.name: tensor
    for tensor in (
        Tensor("picture", (9, 8, 2), 0.1, 3),
        Tensor("maps", (5, 4, 6), 0.2, -128),
        Tensor("pooled", (2, 2, 6), 0.2, -128),
        Tensor("logits", (1, 1, 10), 0.3, 0),
    )
}


def conv(**changes: object) -> Conv2D:
    values: dict[str, object] = {
        "name": "conv",
        "input": "picture",
        "output": "maps",
        "weights": np.arange(-54, 54).reshape(6, 3, 3, 2),
        "bias": np.arange(6),
        "weight_scales": np.full(6, 0.01),
        "stride": (2, 2),
        "padding": (1, 1, 0, 1),
    }
    return Conv2D(**{**values, **changes})


def pool(**changes: object) -> MaxPool2D:
    values: dict[str, object] = {
        "name": "pool", "input": "maps", "output": "pooled", "window": (2, 2), "stride": (2, 2),
    }  # fmt: skip
    return MaxPool2D(**{**values, **changes})


def dense(**changes: object) -> FullyConnected:
    values: dict[str, object] = {
        "name": "dense",
        "input": "pooled",
        "output": "logits",
        "weights": np.ones((10, 24), dtype=np.int8),
        "bias": np.zeros(10, dtype=np.int32),
        "weight_scales": np.full(10, 0.02),
    }
    return FullyConnected(**{**values, **changes})


def graph(*nodes: Node, **changes: object) -> Graph:
    values: dict[str, object] = {
        "name": "small",
        "tensors": TENSORS,
        "nodes": nodes or (conv(), pool(), dense()),
        "input": "picture",
        "output": "logits",
    }
    return Graph(**{**values, **changes})


def depthwise(**changes: object) -> DepthwiseConv2D:
    values: dict[str, object] = {
        "name": "depthwise",
        "input": "picture",
        "output": "maps",
        "weights": np.arange(-27, 27).reshape(6, 3, 3),
        "bias": np.arange(6),
        "weight_scales": np.full(6, 0.01),
        "stride": (2, 2),
        "padding": (1, 1, 0, 1),
        "multiplier": 3,
    }
    return DepthwiseConv2D(**{**values, **changes})


def residual(*nodes: Node, **changes: object) -> Graph:
    """Every node without weights, and a softmax."""
    maps = {
        tensor.name: tensor
        for tensor in (
            Tensor("picture", (4, 4, 2), 0.1, 3),
            Tensor("branch", (4, 4, 2), 0.2, -128),
            Tensor("sum", (4, 4, 2), 0.3, 5),
            Tensor("wide", (6, 7, 2), 0.3, 5),
            Tensor("logits", (1, 1, 2), 0.1, 0),
        )
    }
    values: dict[str, object] = {
        "name": "residual",
        "tensors": maps,
        "nodes": nodes or (relu(), add(), pad(), mean()),
        "input": "picture",
        "output": "logits",
        "softmax": Tensor("probabilities", (1, 1, 2), 1 / 256, -128),
        "softmax_beta": 0.7,
    }
    return Graph(**{**values, **changes})


def relu(**changes: object) -> Requantize:
    values = {"name": "relu", "input": "picture", "output": "branch", "float32_ratio": True}
    return Requantize(**{**values, **changes})


def add(**changes: object) -> Add:
    values = {"name": "add", "input": "picture", "other": "branch", "output": "sum"}
    return Add(**{**values, **changes})


def pad(**changes: object) -> Pad:
    values = {"name": "pad", "input": "sum", "output": "wide", "padding": (2, 0, 1, 2)}
    return Pad(**{**values, **changes})


def mean(**changes: object) -> Mean:
    return Mean(**{"name": "mean", "input": "wide", "output": "logits", **changes})


def with_tensor(name: str, **changes: object) -> Graph:
    """:func:`residual` with one tensor changed."""
    maps = residual().tensors
    return residual(tensors={**maps, name: replace(maps[name], **changes)})


def tensors(**changes: Tensor) -> dict[str, Tensor]:
    return {**TENSORS, **changes}


def test_macs() -> None:
    separate = graph(depthwise(), pool(), dense())
    assert separate.macs(separate.nodes[0]) == 5 * 4 * 6 * 9
    assert residual().macs() == 0
    small = graph()
    assert [small.macs(node) for node in small.nodes] == [5 * 4 * 6 * 18, 0, 240]
    assert small.macs() == 5 * 4 * 6 * 18 + 240


def test_arrays_are_copies_and_constant() -> None:
    weights = np.zeros((6, 3, 3, 2), dtype=np.int8)
    node = conv(weights=weights)
    weights[0] = 5
    assert not node.weights.any()
    with pytest.raises(ValueError, match="read-only"):
        node.weights[0] = 1
    assert node.weights.dtype == np.int8
    assert node.bias.dtype == np.int32
    assert node.weight_scales.dtype == np.float32


def test_scale_is_a_float32() -> None:
    assert Tensor("x", (1, 1, 1), 0.1, 0).scale == float(np.float32(0.1)) != 0.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Tensor("x", (1, 1), 0.1, 0), "Tensor 'x': shape must be 3 integers of at least 1"),
        (lambda: Tensor("x", (1, 0, 3), 0.1, 0), "shape must be 3 integers of at least 1"),
        (lambda: Tensor("x", (1, 1, 1), 0.0, 0), "scale must be a positive finite float32, not 0"),
        (lambda: Tensor("x", (1, 1, 1), -1.0, 0), "scale must be a positive finite float32"),
        (lambda: Tensor("x", (1, 1, 1), float("nan"), 0), "scale must be a positive finite"),
        (lambda: Tensor("x", (1, 1, 1), 1e39, 0), "scale must be a positive finite float32"),
        (lambda: Tensor("x", (1, 1, 1), 1e-46, 0), "scale must be a positive finite float32"),
        (lambda: Tensor("x", (1, 1, 1), 0.1, 128), "zero_point must be an integer from -128 to"),
        (lambda: Tensor("x", (1, 1, 1), 0.1, 1.5), "zero_point must be an integer"),
        (lambda: Tensor("", (1, 1, 1), 0.1, 0), "A tensor needs a name"),
        (lambda: conv(name=""), "A node needs a name"),
        (lambda: conv(weights=np.full((6, 3, 3, 2), 128)), "Conv2D 'conv': weights must fit in i"),
        (lambda: conv(weights=np.zeros((6, 3, 3, 2))), "weights must be integers, not float64"),
        (lambda: conv(weights=np.zeros((6, 3, 3), int)), "weights must have 4 dimensions, not 3"),
        (lambda: conv(weights=np.zeros((0, 3, 3, 2), int)), r"\(0, 3, 3, 2\) are empty"),
        (lambda: conv(bias=np.full(6, 2**31)), "bias must fit in int32"),
        (lambda: conv(bias=np.zeros(5, int)), "6 output channels, but 5 biases"),
        (lambda: conv(weight_scales=np.full(6, -1)), "weight_scales must be finite .* 0 or more"),
        (lambda: conv(weight_scales=np.full(6, np.inf)), "weight_scales must be finite float32"),
        (lambda: conv(weight_scales=np.full(6, np.nan)), "weight_scales must be finite float32"),
        (lambda: conv(weight_scales=np.ones(1)), r"weight_scales must have the shape \(6,\)"),
        (lambda: conv(stride=(0, 1)), "stride must be 2 integers of at least 1"),
        (lambda: conv(stride=2), "stride must be 2 integers"),
        (lambda: conv(padding=(0, 0, -1, 0)), "padding must be 4 integers of at least 0"),
        (lambda: conv(activation_min=-129), "activation_min must be an integer from -128"),
        (lambda: conv(activation_min=5, activation_max=4), "activation_min 5 is above"),
        (lambda: graph(conv(padding=(3, 0, 0, 0))), "must be smaller than the window"),
        (
            lambda: graph(conv(weights=np.ones((6, 12, 3, 2), int))),
            r"window \(12, 3\) is larger than its padded input of 11 × 9",
        ),
        (lambda: graph(conv(stride=(1, 2))), r"gives shape \(9, 4, 6\), but tensor 'maps' has \(5"),
        (
            lambda: graph(conv(weights=np.ones((6, 3, 3, 1), int))),
            "weights for 1 input channels, but tensor 'picture' has 2",
        ),
        (
            lambda: graph(conv(), pool(), dense(weights=np.ones((10, 23), int))),
            "weights for 23 inputs, but tensor 'pooled' has 24 values",
        ),
        (
            lambda: graph(tensors=tensors(pooled=Tensor("pooled", (2, 2, 6), 0.2, -127))),
            "MaxPool2D 'pool': tensors 'maps' and 'pooled' must have the same scale and zero point",
        ),
        (lambda: graph(conv(weight_scales=np.full(6, 1e30)), pool(), dense()), "less than 2"),
        (lambda: graph(pool(), conv(), dense()), "reads 'maps' before any node has written it"),
        (lambda: graph(conv(), pool(input="nowhere"), dense()), "there is no tensor 'nowhere'"),
        (lambda: graph(conv(), conv(), pool(), dense()), "Two nodes are named 'conv'"),
        (
            lambda: graph(conv(), conv(name="again"), pool(), dense()),
            "'maps' has a value already",
        ),
        (lambda: graph(conv(), pool()), "Tensor 'logits' is written by no node"),
        (
            lambda: graph(tensors=tensors(other=Tensor("other", (1, 1, 1), 1.0, 0))),
            "Tensor 'other' is written by no node",
        ),
        (lambda: graph(output="pooled"), "'logits' is read by no node and is not the output"),
        (lambda: graph(input="nothing"), "The graph's input 'nothing' is not among its tensors"),
        (lambda: graph(tensors=tensors(other=TENSORS["maps"])), "'maps' is entered as 'other'"),
        (lambda: graph(nodes=()), "Graph 'small' has no nodes"),
        (lambda: graph(labels=("cat", "dog")), "2 labels were given for 10 output channels"),
        (lambda: graph(preprocess=(float("nan"), 0)), "preprocess must be a finite scale and"),
        (lambda: depthwise(weights=np.zeros((6, 3, 3, 1), int)), "must have 3 dimensions, not 4"),
        (lambda: depthwise(weights=np.zeros((6, 0, 3), int)), r"\(6, 0, 3\) are empty"),
        (lambda: depthwise(multiplier=0), "multiplier must be 1 integers of at least 1, not"),
        (lambda: depthwise(bias=np.zeros(2, int)), "6 output channels, but 2 biases"),
        (
            lambda: graph(depthwise(multiplier=2), pool(), dense()),
            "6 output channels, but tensor 'picture' has 2 channels and the multiplier is 2",
        ),
        (lambda: graph(depthwise(stride=(1, 1))), "gives shape"),
        (lambda: graph(depthwise(padding=(0, 0, 0, 3))), "must be smaller than the window"),
        (lambda: graph(depthwise(weight_scales=np.full(6, 1e30))), "less than 2\\^30"),
        (lambda: residual(relu(), add(other="nowhere")), "Add 'add': there is no tensor 'nowhere'"),
        (lambda: residual(add(), relu()), "Add 'add': reads 'branch' before any node has written"),
        (
            lambda: with_tensor("branch", shape=(4, 4, 1)),
            r"gives shape \(4, 4, 2\), but tensor 'branch' has",
        ),
        (
            lambda: residual(
                relu(), pad(input="branch"), add(other="wide"), mean(input="sum"),
                tensors={**residual().tensors, "wide": Tensor("wide", (6, 7, 2), 0.2, -128)},
            ),
            "tensors 'picture' and 'wide' must have the same shape",
        ),
        (
            lambda: with_tensor("sum", scale=0.4 * 2**-20),
            r"input scale / output scale must be less than 2\^19",
        ),
        (lambda: with_tensor("sum", shape=(4, 3, 2)), r"Add 'add': gives shape \(4, 4, 2\)"),
        (lambda: with_tensor("wide", shape=(6, 6, 2)), r"Pad 'pad': gives shape \(6, 7, 2\)"),
        (lambda: with_tensor("wide", zero_point=4), "'sum' and 'wide' must have the same scale"),
        (lambda: pad(padding=(1, 1)), "Pad 'pad': padding must be 4 integers of at least 0"),
        (lambda: pad(activation_min=0), "Pad 'pad': has no activation, so its range must be -128"),
        (lambda: mean(activation_max=9), "Mean 'mean': has no activation"),
        (lambda: with_tensor("logits", shape=(1, 1, 3)), r"Mean 'mean': gives shape \(1, 1, 2\)"),
        (lambda: with_tensor("logits", scale=1e-38), "input scale / output scale must be less"),
        (lambda: with_tensor("branch", scale=1e-38), "input scale / output scale must be less"),
        (lambda: relu(float32_ratio=1), "float32_ratio must be True or False, not 1"),
        (
            lambda: residual(softmax=Tensor("sum", (1, 1, 2), 1 / 256, -128)),
            "The softmax's tensor 'sum' is written by a node as well",
        ),
        (
            lambda: residual(softmax=Tensor("p", (1, 1, 3), 1 / 256, -128)),
            r"the output has shape \(1, 1, 2\), the probabilities \(1, 1, 3\)",
        ),
        (
            lambda: residual(softmax=Tensor("p", (1, 1, 2), 1 / 255, -128)),
            "probabilities must have scale 1/256 and zero point -128, not 0.0039",
        ),
        (
            lambda: residual(softmax=Tensor("p", (1, 1, 2), 1 / 256, 0)),
            "probabilities must have scale 1/256 and zero point -128",
        ),
        (lambda: residual(softmax_beta=0.0), "softmax_beta times the output's scale must be"),
        (lambda: residual(softmax_beta=math.inf), "must be finite and more than 2"),
    ],
)  # fmt: skip
def test_refuses(make: object, message: str) -> None:
    with pytest.raises(GraphError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_ratio_of_the_scales() -> None:
    """A float32 ratio may be a tie where the float64 one is none."""
    maps = {"in": Tensor("in", (1, 1, 1), 0.15, 0), "out": Tensor("out", (1, 1, 1), 0.1, 0)}
    values = {"name": "x", "input": "in", "output": "out"}
    assert Requantize(float32_ratio=True, **values).ratio(maps) == 1.5
    ratio = Requantize(**values).ratio(maps)
    assert ratio != 1.5
    assert ratio == float(np.float32(0.15)) / float(np.float32(0.1))


def test_a_branch_must_be_joined() -> None:
    branched = tensors(
        other=Tensor("other", (2, 2, 6), 0.2, -128), pooled=replace(TENSORS["pooled"])
    )
    nodes = conv(), pool(), dense(), pool(name="second", output="other")
    with pytest.raises(GraphError, match="'other' is read by no node and is not the output"):
        graph(*nodes, tensors=branched)


def assert_equal(one: Graph, other: Graph) -> None:
    assert one.to_bytes() == other.to_bytes()
    assert one.tensors == other.tensors
    for left, right in zip(one.nodes, other.nodes, strict=True):
        assert type(left) is type(right)
        for name, value in vars(left).items():
            np.testing.assert_array_equal(getattr(right, name), value)
    for name in (
        "name", "input", "output", "labels", "preprocess", "softmax", "softmax_beta",
    ):  # fmt: skip
        assert getattr(one, name) == getattr(other, name)


def test_file(tmp_path: Path) -> None:
    original = graph(labels=tuple("abcdefghij"), preprocess=(1 / 16, -0.5))
    path = tmp_path / "small.qgraph"
    original.save(path)
    assert [item.name for item in tmp_path.iterdir()] == ["small.qgraph"]
    assert_equal(Graph.load(path), original)
    changed = graph(conv(bias=np.arange(6) + 1), pool(), dense())
    changed.save(path)
    assert_equal(Graph.load(path), changed)
    assert changed.to_bytes() != original.to_bytes()


def test_every_node_type_survives_its_file() -> None:
    average = AveragePool2D(
        name="pool", input="maps", output="pooled", window=(4, 3), stride=(2, 2),
        padding=(0, 1, 1, 0),
    )  # fmt: skip
    originals = graph(), graph(depthwise(), average, dense()), residual()
    kinds = set()
    for original in originals:
        again = Graph.from_bytes(original.to_bytes())
        assert_equal(again, original)
        kinds |= {type(node) for node in again.nodes}
    assert kinds == set(NODE_TYPES.values())


def test_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "small.qgraph"
    graph().save(path)
    before = path.read_bytes()

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as stream:
            stream.write(data[:100])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        graph(name="other").save(path)
    assert [item.name for item in tmp_path.iterdir()] == ["small.qgraph"]
    assert path.read_bytes() == before


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    seed = 7
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    data = graph().to_bytes()
    path = tmp_path / "bad.qgraph"
    for size in [0, 1, len(data) - 1, *rng.integers(2, len(data) - 1, 60)]:
        path.write_bytes(data[:size])
        with pytest.raises(GraphError, match=r"bad.qgraph: This is not a quantised graph, or it"):
            Graph.load(path)
    for _ in range(500):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        assert read_or_none(bytes(damaged)) in (None, data)  # some flips hit nothing that matters


def read_or_none(data: bytes) -> bytes | None:
    try:
        return Graph.from_bytes(data).to_bytes()
    except GraphError:
        return None


def rewritten(change: object) -> bytes:
    """A sound archive whose header was changed by ``change``."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(graph().to_bytes())) as old,
        zipfile.ZipFile(target, "w") as new,
    ):
        for name in old.namelist():
            content = old.read(name)
            if name == "graph.json":
                header = json.loads(content)
                change(header)
                content = json.dumps(header).encode()
            new.writestr(name, content)
    return target.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(format="other"), "This is not a quantised graph"),
        (lambda h: h.update(version=1), "has format version 1, this release reads 2"),
        (lambda h: h["nodes"][0].update(op="conv3d"), "holds an unknown operation, 'conv3d'"),
        (lambda h: h.pop("nodes"), "The quantised graph is damaged: KeyError"),
        (lambda h: h["nodes"][0].pop("bias"), "The quantised graph is damaged: TypeError"),
        (lambda h: h["nodes"][0]["bias"].update(array="gone.npy"), "is damaged: KeyError"),
        (lambda h: h["nodes"][0].update(stride=[2, 3]), "gives shape"),
        (lambda h: h["tensors"][0].update(scale="large"), "is damaged|scale must"),
        (lambda h: h.update(nodes=[]), "has no nodes"),
    ],
)
def test_foreign_headers_are_refused(change: object, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        Graph.from_bytes(rewritten(change))


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    np.savez(path, images=np.zeros(3))
    with pytest.raises(GraphError, match="This is not a quantised graph"):
        Graph.load(path)
    with pytest.raises(FileNotFoundError):
        Graph.load(tmp_path / "missing.qgraph")


def test_quantize() -> None:
    values = [0.0, 0.5, -0.5, 1.5, 2.5, 0.49999997, -0.49999997, 200, -200, np.inf, -np.inf]
    expected = [10, 11, 9, 12, 13, 10, 10, 127, -128, 127, -128]
    actual = quantize(np.array(values), 1.0, 10)
    assert actual.dtype == np.int8
    assert actual.tolist() == expected
    with pytest.raises(ValueError, match="not NaN"):
        quantize(np.array([np.nan]), 1.0, 0)


def test_quantize_input() -> None:
    small = graph(preprocess=(1 / 16, -0.5))
    raw = np.random.default_rng(1).integers(0, 256, (5, 9, 8, 2)).astype(np.uint8)
    real = raw / 16 - 0.5
    expected = quantize(real, small.input_tensor.scale, small.input_tensor.zero_point)
    np.testing.assert_array_equal(quantize_input(small, raw), expected)
    np.testing.assert_array_equal(quantize_input(small, real), expected)
    np.testing.assert_array_equal(quantize_input(small, real.astype(np.float32)), expected)
    np.testing.assert_array_equal(quantize_input(small, expected), expected)
    assert quantize_input(small, raw).flags.writeable


def test_quantize_input_of_grey_pictures() -> None:
    grey = {**TENSORS, "picture": replace(TENSORS["picture"], shape=(9, 8, 1))}
    small = graph(conv(weights=np.ones((6, 3, 3, 1), dtype=np.int8)), pool(), dense(), tensors=grey)
    raw = np.random.default_rng(1).integers(0, 256, (5, 9, 8)).astype(np.uint8)
    np.testing.assert_array_equal(quantize_input(small, raw), quantize_input(small, raw[..., None]))


@pytest.mark.parametrize(
    ("pictures", "error", "message"),
    [
        (np.zeros((5, 9, 8), np.uint8), ValueError, "N × 9 × 8 × 2, not 5 × 9 × 8"),
        (np.zeros((5, 2, 9, 8), np.uint8), ValueError, "N × 9 × 8 × 2, not 5 × 2 × 9 × 8"),
        (np.zeros((9, 8, 2), np.uint8), ValueError, "N × 9 × 8 × 2, not 9 × 8 × 2"),
        (np.zeros((5, 9, 8, 2), int), TypeError, "must be uint8, int8 or floating, not int64"),
    ],
)
def test_quantize_input_refuses(pictures: np.ndarray, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        quantize_input(graph(), pictures)


def test_loads_without_torch() -> None:
    code = "import sys, models.vision.graph; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout == "False\n"


def test_pictures_in_the_shape_that_the_file_declares() -> None:
    flat = replace(graph(), declared_shape=[graph().input_tensor.size])
    assert Graph.from_bytes(flat.to_bytes()).declared_shape == flat.declared_shape
    assert "declared_shape" not in _header(graph().to_bytes()), "files without it stay as they were"
    shape = flat.input_tensor.shape
    pictures = np.random.default_rng(1).integers(-128, 128, (3, *shape)).astype(np.int8)
    np.testing.assert_array_equal(quantize_input(flat, pictures.reshape(3, -1)), pictures)
    np.testing.assert_array_equal(quantize_input(flat, pictures), pictures)
    with pytest.raises(ValueError, match="Pictures must have the shape N × "):
        quantize_input(graph(), pictures.reshape(3, -1))
    with pytest.raises(GraphError, match=r"declared_shape \(7,\) must hold \d+ values"):
        replace(graph(), declared_shape=(7,))


def _header(data: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read("graph.json").decode()

"""The builder's files: what LiteRT makes of them, and that they are the published shapes."""

from pathlib import Path

import numpy as np
import pytest

from eyas.compiler.importers.tflite_file import FileModel
from eyas.compiler.importers.tflite_import import import_tflite
from eyas.compiler.importers.tflite_reader import read_file
from models.vision.graph import Graph
from models.vision.reference import answers, run_layers
from tests.data import data_file
from tests.models.litert import run_file
from tests.tflite_builder import NETWORKS, random_network

SEED = 41
MACS = {"resnet8": 12_501_632, "vww": 7_489_664, "kws": 2_656_768}
PUBLISHED = {
    "resnet8": "mlperf_tiny/pretrainedResnet_quant.tflite",
    "vww": "mlperf_tiny/vww_96_int8.tflite",
    "kws": "mlperf_tiny/kws_ref_model.tflite",
}
RANDOM_NETWORKS = 60


def pictures_of(graph: Graph, count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(-128, 128, (count, *graph.input_tensor.shape)).astype(np.int8)


def compare(data: bytes, name: str, count: int) -> tuple[Graph, dict[str, np.ndarray]]:
    """Every map of the imported graph in the reference is LiteRT's; returns the maps."""
    graph = import_tflite(data, name)
    pictures = pictures_of(graph, count, SEED)
    maps = run_layers(graph, pictures)
    for index in range(count):
        expected = run_file(data, pictures[index : index + 1])
        for tensor, values in maps.items():
            np.testing.assert_array_equal(
                values[index].ravel(), expected[tensor].ravel(), err_msg=f"{name}: {tensor}"
            )
        if graph.softmax is not None:
            np.testing.assert_array_equal(
                answers(graph, maps[graph.output])[index].ravel(),
                expected[graph.softmax.name].ravel(),
                err_msg=f"{name}: probabilities",
            )
    return graph, maps


@pytest.fixture(scope="module", params=NETWORKS)
def built(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    return request.param, NETWORKS[request.param](SEED)


def test_every_map_is_litert_s(built: tuple[str, bytes]) -> None:
    name, data = built
    graph, maps = compare(data, name, 2)
    assert graph.macs() == MACS[name]
    for tensor in [node.output for node in graph.nodes if node.op != "fully_connected"]:
        values = maps[tensor]
        # A map of constants, or one at its limits, would hide faults.
        assert len(np.unique(values)) > 20, f"{tensor} takes few values"
        assert (values == 127).mean() < 0.1, f"{tensor} saturates"
        assert (values == -128).mean() < 0.7, f"{tensor} is mostly zero"


def test_the_same_seed_gives_the_same_file() -> None:
    assert NETWORKS["kws"](3) == NETWORKS["kws"](3) != NETWORKS["kws"](4)
    assert random_network(3) == random_network(3) != random_network(4)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_shapes_are_the_published_ones(name: str) -> None:
    """Operators, versions, options, shapes and constants, but for values, names and numbers."""
    ours = _structure(read_file(NETWORKS[name](SEED)))
    theirs = _structure(read_file(data_file(PUBLISHED[name]).read_bytes()))
    assert ours == theirs


def _structure(model: FileModel) -> list[object]:
    """What the file computes: operators with what they read, by where that comes from."""
    written = {model.input: "picture"}
    found: list[object] = [model.tensors[model.input].shape]
    for index, operator in enumerate(model.operators):
        found.append(
            (
                operator.code,
                operator.version,
                sorted(operator.options.items()),
                [
                    (written.get(number, "constant"), model.tensors[number].shape)
                    for number in operator.inputs
                ],
                [model.tensors[number].dtype for number in operator.inputs],
                [len(model.tensors[number].scales) for number in operator.inputs[1:2]],
                [model.tensors[number].shape for number in operator.outputs],
            )
        )
        written.update((number, f"operator {index}") for number in operator.outputs)
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_the_published_networks_are_litert_s(name: str) -> None:
    data = Path(data_file(PUBLISHED[name])).read_bytes()
    graph, _ = compare(data, name, 2)
    assert graph.macs() == MACS[name]
    assert graph.softmax is not None


def test_random_networks_are_litert_s() -> None:
    print(f"seeds {SEED} to {SEED + RANDOM_NETWORKS - 1}")
    operations: set[str] = set()
    for seed in range(SEED, SEED + RANDOM_NETWORKS):
        graph, _ = compare(random_network(seed), f"seed {seed}", 2)
        operations |= {node.op for node in graph.nodes}
    assert operations == {
        "add", "average_pool2d", "conv2d", "depthwise_conv2d", "fully_connected", "max_pool2d",
        "mean", "pad", "requantize",
    }  # fmt: skip

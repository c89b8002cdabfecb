"""The published networks: every map of the reference is the one that LiteRT's kernels compute.

The files are read by the importer, so that it is judged as well; nothing is folded.
"""

import math

import numpy as np
import pytest

from eyas.compiler.importers.tflite_import import import_tflite
from models.vision.graph import Graph
from models.vision.reference import answers, run_layers
from tests.data import data_file
from tests.models.litert import run_files_pictures

SEED = 20240611
NETWORKS = {
    "resnet8": ("mlperf_tiny/pretrainedResnet_quant.tflite", 14, 12_501_632),
    "vww": ("mlperf_tiny/vww_96_int8.tflite", 29, 7_489_664),
    "kws": ("mlperf_tiny/kws_ref_model.tflite", 11, 2_656_768),
}
"""File, operations of the engine, multiply-accumulates."""


def scenes(rng: np.random.Generator, count: int, shape: tuple[int, int, int]) -> np.ndarray:
    """What a camera or a microphone might give: smooth fields, a lit rectangle, a little noise."""
    height, width, channels = shape
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    pictures = np.zeros((count, *shape))
    for picture in pictures:
        for _ in range(4):
            phase, (down, across) = rng.uniform(0, 2 * math.pi), rng.normal(0, 9, 2)
            wave = np.sin(phase + down * rows + across * columns)
            picture += wave[..., np.newaxis] * rng.uniform(-25, 25, channels)
        top, left = rng.integers(0, height), rng.integers(0, width)
        area = slice(top, top + rng.integers(1, height)), slice(left, left + rng.integers(1, width))
        picture[area] += rng.uniform(-80, 80, channels)
        picture += rng.normal(rng.uniform(-60, 60), rng.uniform(0, 8), shape)
    return pictures.round().clip(-128, 127).astype(np.int8)


def inputs(graph: Graph, scene_count: int, noise_count: int) -> np.ndarray:
    """Scenes, noise, the least and the greatest picture, and the one of zeros."""
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    shape = graph.input_tensor.shape
    noise = rng.integers(-128, 128, (noise_count, *shape)).astype(np.int8)
    levels = np.array([-128, 127, graph.input_tensor.zero_point], dtype=np.int8)
    flat = np.broadcast_to(levels[:, None, None, None], (3, *shape))
    return np.concatenate([scenes(rng, scene_count, shape), noise, flat])


def check(name: str, scene_count: int, noise_count: int) -> None:
    file, operations, macs = NETWORKS[name]
    data = data_file(file).read_bytes()
    graph = import_tflite(data, name)
    assert (len(graph.nodes), graph.macs()) == (operations, macs)
    assert graph.softmax is not None
    pictures = inputs(graph, scene_count, noise_count)
    expected = run_files_pictures(data, np.split(pictures, len(pictures)))
    actual = run_layers(graph, pictures)
    actual[graph.softmax.name] = answers(graph, actual[graph.output])
    assert len(actual) == operations + 2
    for tensor, values in actual.items():
        theirs = expected[tensor].reshape(values.shape)
        np.testing.assert_array_equal(values, theirs, err_msg=tensor)
        # The pictures must reach every layer, and tell one from the other.
        assert len(np.unique(values)) > 20, tensor
        assert len(np.unique(values, axis=0)) > 10, tensor


@pytest.mark.parametrize("name", NETWORKS)
def test_every_map_equals_litert(name: str) -> None:
    check(name, 40, 12)


@pytest.mark.nightly
@pytest.mark.parametrize("name", NETWORKS)
def test_every_map_equals_litert_at_length(name: str) -> None:
    check(name, 900, 100)

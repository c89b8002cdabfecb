"""Averages over a whole map: the pixel lanes share the one window."""

import numpy as np
import pytest

from drivers.vision import VisionEngine
from eyas.compiler import compile_graph
from models.vision import reference
from models.vision.graph import AveragePool2D, Graph, Mean, Node, Tensor

SEED = 1


@pytest.mark.parametrize("height", [1, 2, 7])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8, 13])
@pytest.mark.parametrize("kind", [AveragePool2D, Mean])
def test_average_of_the_whole_map(
    engine: VisionEngine, kind: type[Node], width: int, height: int
) -> None:
    channels = 9
    source = Tensor("map", (height, width, channels), 0.1, 5)
    same = kind is AveragePool2D
    target = Tensor("average", (1, 1, channels), 0.1 if same else 0.07, 5 if same else -20)
    values = {"window": (height, width), "stride": (1, 1)} if same else {}
    node = kind(name="pool", input="map", output="average", **values)
    graph = Graph(
        name="whole", tensors={"map": source, "average": target}, nodes=(node,),
        input="map", output="average",
    )  # fmt: skip
    program = compile_graph(graph, engine.config)
    rng = np.random.default_rng(SEED)
    pictures = rng.integers(-128, 128, (6, height, width, channels), dtype=np.int8)
    pictures[0], pictures[1] = -128, 127
    engine.unload()
    engine.load(program)
    found = engine.infer(pictures).outputs
    np.testing.assert_array_equal(found, reference.run(graph, pictures))
    engine.infer(pictures[:1])
    (layer,) = engine.layer_counters()
    blocks = -(-channels // engine.config.input_channels)
    passes = height * -(-width // engine.config.pixels)
    assert layer.array_cycles == blocks * passes
    assert layer.cycles == program.manifest.layers[0].cycles

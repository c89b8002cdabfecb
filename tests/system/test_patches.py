"""First layers over patches, through compiler, driver and RTL: equal to the reference."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.vision import VisionEngine
from eyas.compiler import compile_graph
from eyas.compiler.lowering.patches import use_patches
from eyas.interfaces.vision.config import DEFAULT_VISION, SMALL_VISION
from eyas.interfaces.vision.records import HEADER, PATCH_LINE_BYTES, PATCH_MARGIN
from models.vision.graph import Add, Conv2D, Graph, MaxPool2D, Pad, Tensor
from tests.system.test_random_networks import check

SEED = 20250612


def network(
    size: tuple[int, int] = (9, 11),
    channels: int = 3,
    kernel: tuple[int, int] = (3, 3),
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (1, 1, 1, 1),
    outputs: int = 5,
    margin: tuple[int, int, int, int] | None = None,
    readers: int = 1,
) -> Graph:
    """A first convolution of this geometry, perhaps behind a Pad, with a layer behind it; or two
    convolutions of the same picture."""
    rng = np.random.default_rng(SEED)
    shapes = {"picture": (*size, channels)}
    nodes: list[Conv2D | MaxPool2D | Pad | Add] = []
    source = "picture"
    if margin is not None:
        size = (size[0] + margin[0] + margin[1], size[1] + margin[2] + margin[3])
        shapes["wide"] = (*size, channels)
        nodes.append(Pad(name="margin", input="picture", output="wide", padding=margin))
        source = "wide"
    map_shape = (
        (size[0] + padding[0] + padding[1] - kernel[0]) // stride[0] + 1,
        (size[1] + padding[2] + padding[3] - kernel[1]) // stride[1] + 1,
        outputs,
    )
    scales = rng.uniform(0.5, 2, outputs) / (40 * np.sqrt(kernel[0] * kernel[1] * channels))
    made = [f"map{number}" for number in range(readers)]
    for output in made:
        nodes.append(
            Conv2D(
                name=f"make {output}",
                input=source,
                output=output,
                weights=rng.integers(-128, 128, (outputs, *kernel, channels)).astype(np.int8),
                bias=rng.integers(-2000, 2000, outputs).astype(np.int32),
                weight_scales=scales.astype(np.float32),
                stride=stride,
                padding=padding,
            )
        )
    if readers == 1:
        nodes.append(
            MaxPool2D(name="end", input="map0", output="end", window=(1, 1), stride=(1, 1))
        )
    else:
        nodes.append(Add(name="end", input="map0", other="map1", output="end"))
    shapes |= dict.fromkeys((*made, "end"), map_shape)
    quantisation = {"picture": (0.02, -9), "wide": (0.02, -9)}
    return Graph(
        name="patches",
        tensors={
            name: Tensor(name, shape, *quantisation.get(name, (0.05, 3)))
            for name, shape in shapes.items()
        },
        nodes=tuple(nodes),
        input="picture",
        output="end",
    )


GEOMETRIES = {
    "3x3": {},
    "3x3, stride 2, SAME of an even size": {
        "size": (10, 12), "stride": (2, 2), "padding": (0, 1, 0, 1),
    },
    "one channel": {"channels": 1},
    "10x4 of one channel": {
        "size": (25, 10), "channels": 1, "kernel": (10, 4), "stride": (2, 2),
        "padding": (4, 5, 1, 1),
    },
    "11x11, stride 4": {
        "size": (23, 27), "kernel": (11, 11), "stride": (4, 4), "padding": (2, 2, 2, 2),
    },
    "1x7 of two channels, stride 3": {
        "channels": 2, "kernel": (1, 7), "stride": (2, 3), "padding": (0, 0, 6, 1),
    },
    "5x1 of five channels": {
        "size": (12, 3), "channels": 5, "kernel": (5, 1), "padding": (4, 0, 0, 0),
    },
    "behind a Pad": {"margin": (1, 0, 0, 2), "padding": (0, 1, 1, 0)},
    "behind a Pad, nothing else padded": {"margin": (2, 2, 2, 2), "padding": (0, 0, 0, 0)},
    "many outputs": {"outputs": 19},
}  # fmt: skip


@pytest.mark.parametrize("name", GEOMETRIES)
def test_first_layer_equals_the_reference(engine: VisionEngine, name: str) -> None:
    graph = network(**GEOMETRIES[name])
    header = HEADER.unpack_bytes(compile_graph(graph, SMALL_VISION).image)
    assert header["patch_kernel_rows"], "compiled without patches"
    check(engine, graph)


@pytest.mark.parametrize(
    "geometry",
    [
        {"kernel": (1, 1), "padding": (0, 0, 0, 0)},
        {"channels": 8},
        {"readers": 2},
        # A patch beyond the picture; the loader takes that for a mistake.
        {"margin": (0, 4, 0, 0)},
        {"margin": (0, 0, 0, 4)},
    ],
)
def test_plain_where_patches_gain_nothing_or_cannot_be(geometry: dict) -> None:
    graph = network(**geometry)
    assert use_patches(graph, DEFAULT_VISION) is None
    assert not HEADER.unpack_bytes(compile_graph(graph).image)["patch_kernel_rows"]


def test_plain_where_lines_or_map_do_not_fit() -> None:
    # Kernel rows of the picture as wide as the loader's lines hold, and a column more.
    width = (PATCH_LINE_BYTES - PATCH_MARGIN) // 11
    for columns, fits in ((width, True), (width + 1, False)):
        graph = network(
            (12, columns), 1, kernel=(11, 11), stride=(4, 4), padding=(0, 0, 0, 0), outputs=8
        )
        assert (use_patches(graph, DEFAULT_VISION) is not None) == fits
    # 27 bytes a pixel instead of three.
    graph = network((64, 64), outputs=4)
    assert use_patches(graph, DEFAULT_VISION) is not None
    assert not HEADER.unpack_bytes(compile_graph(graph).image)["patch_kernel_rows"]


def test_layers_keep_their_names_and_macs_and_the_picture_its_shape() -> None:
    graph = network(margin=(1, 1, 1, 1))
    manifest = compile_graph(graph).manifest
    assert manifest.input.shape == (9, 11, 3)
    assert manifest.macs == graph.macs()
    assert [layer.name for layer in manifest.layers] == ["make map0", "end"]
    assert manifest.layers[0].macs == graph.macs()
    assert manifest.layers[0].op == "conv2d"

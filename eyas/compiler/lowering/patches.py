"""First layers with few channels: the input loader makes patches, the layer becomes 1 × 1.

A plain convolution over one or three channels leaves most of the array's input lanes idle.  Where
the loader lays out each window of the picture as one pixel of its map (``patch_…`` in
:data:`eyas.interfaces.vision.records.HEADER`), the same sums take far fewer passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.records import HEADER, PATCH_LINE_BYTES, PATCH_MARGIN
from models.vision.graph import Conv2D, Graph, Pad

__all__ = ["Patches", "use_patches"]

BEAT = 8
"""Bytes to whose multiple a patch is filled up."""
MAX_CHANNELS = 7
"""With more the lanes are full already."""


@dataclass(frozen=True)
class Patches:
    """How the input map differs from the picture.

    Parameters
    ----------
    picture_bytes : int
        Bytes of the dense picture.
    header : dict of str to int
        The fields ``patch_…`` of the program header.
    """

    picture_bytes: int
    header: Mapping[str, int]


def use_patches(graph: Graph, config: VisionConfig) -> tuple[Graph, Patches] | None:
    """``graph`` with its first convolution as a 1 × 1 convolution over patches.

    In the graph that is returned the picture's tensor has the patches' shape, a Pad in front of the
    convolution is gone, and every other node and tensor is as it was; the results are the same.
    None where it cannot be done or makes the layer no faster.  Whether the larger map fits in the
    activation memory is for the allocation to say.
    """
    found = _first_convolution(graph)
    if found is None:
        return None
    node, padding, removed = found
    picture, target = graph.tensors[graph.input], graph.tensors[node.output]
    rows, columns = node.window
    channels = picture.shape[2]
    patch = -(-rows * columns * channels // BEAT) * BEAT
    blocks = -(-patch // config.input_channels)
    plain_blocks = -(-channels // config.input_channels)
    drain = (
        -(-min(target.shape[2], config.output_channels) // config.input_channels)
        * config.drains_per_word
    )
    row_bytes = picture.shape[1] * channels
    header = {
        "patch_kernel_rows": rows,
        "patch_run_bytes": columns * channels,
        "patch_pixel_step": node.stride[1] * channels,
        "patch_row_bytes": row_bytes,
        "patch_row_step": node.stride[0] * row_bytes,
        "patch_start_byte": -padding[2] * channels,
        "patch_start": -padding[0] * row_bytes,
        "patch_zero_point": picture.zero_point,
        "patch_picture_bytes": picture.shape[0] * row_bytes,
        "input_blocks": blocks,
    }
    if (
        channels > MAX_CHANNELS
        or max(blocks, drain) >= max(rows * columns * plain_blocks, drain)
        or rows * row_bytes > PATCH_LINE_BYTES - PATCH_MARGIN
        or picture.shape[0] * row_bytes > config.activation_bytes
        or any(
            (target.shape[axis] - 1) * node.stride[axis] - padding[2 * axis] >= picture.shape[axis]
            for axis in (0, 1)
        )
        or any(
            not HEADER.by_name[name].minimum <= value <= HEADER.by_name[name].maximum
            for name, value in header.items()
        )
    ):
        return None
    del header["input_blocks"]

    weights = np.zeros((len(node.weights), 1, 1, patch), np.int8)
    weights[:, 0, 0, : rows * columns * channels] = node.weights.reshape(len(node.weights), -1)
    changed = replace(node, input=graph.input, weights=weights, stride=(1, 1), padding=(0, 0, 0, 0))
    tensors = {name: tensor for name, tensor in graph.tensors.items() if name not in removed}
    tensors[graph.input] = replace(picture, shape=(*target.shape[:2], patch))
    nodes = [
        changed if item is node else item for item in graph.nodes if item.output not in removed
    ]
    return (
        replace(graph, tensors=tensors, nodes=tuple(nodes), declared_shape=None),
        Patches(picture.shape[0] * row_bytes, header),
    )


def _first_convolution(graph: Graph) -> tuple[Conv2D, list[int], set[str]] | None:
    """The convolution that alone reads the picture, its padding, the tensors between the two."""
    padding = [0, 0, 0, 0]
    removed: set[str] = set()
    name = graph.input
    while True:
        readers = [node for node in graph.nodes if name in node.inputs]
        if len(readers) != 1 or name == graph.output:
            return None
        (node,) = readers
        if not isinstance(node, (Conv2D, Pad)):
            return None
        padding = [a + b for a, b in zip(padding, node.padding, strict=True)]
        if isinstance(node, Conv2D):
            return node, padding, removed
        name = node.output
        removed.add(name)

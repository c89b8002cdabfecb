"""From layers to the image that the overlay loads."""

from __future__ import annotations

import zlib

import numpy as np

from eyas.compiler.emission.layers import Layer
from eyas.compiler.lowering.patches import Patches
from eyas.compiler.maps import MapLayout
from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import INSTRUCTION, PARAMETER, Op
from eyas.interfaces.vision.records import HEADER, PROGRAM_MAGIC, PROGRAM_VERSION

__all__ = ["emit"]


def emit(
    layers: list[Layer],
    picture: MapLayout,
    output: MapLayout,
    config: VisionConfig,
    patches: Patches | None = None,
) -> bytes:
    """The program image of ``layers``.

    Parameters
    ----------
    layers : list of Layer
        What runs.
    picture, output : MapLayout
        The map that the loader fills, and the one that is written to DRAM.
    patches : Patches or None
        How the loader makes ``picture`` of the dense picture; None where it is the picture.

    What they take must fit (:mod:`eyas.compiler.emission.sizes`).
    """
    instructions = b""
    weight_row = parameter_row = 0
    for layer in layers:
        instructions += INSTRUCTION.pack_bytes(
            layer.fields, weight_base=weight_row, parameter_base=parameter_row
        )
        weight_row += len(layer.step.weights)
        parameter_row += len(layer.step.parameters)
    instructions += INSTRUCTION.pack_bytes(op=Op.END, layer=len(layers) - 1)

    weights = b"".join(_weight_bytes(layer, config) for layer in layers)
    parameters = b"".join(
        PARAMETER.pack_bytes(vars(channel))
        for layer in layers
        for row in layer.step.parameters
        for channel in row
    )
    # From a row's last pixel to the next row's first.
    skip_q, skip_r = divmod(picture.pitch - picture.width + 1, config.pixels)
    picture_bytes = (
        patches.picture_bytes if patches else picture.height * picture.width * picture.channels
    )
    body = HEADER.width // 8 + len(instructions) + len(weights) + len(parameters)
    header = HEADER.pack_bytes(
        patches.header if patches else None,
        magic=PROGRAM_MAGIC,
        version=PROGRAM_VERSION,
        output_channels=config.output_channels,
        input_channels=config.input_channels,
        pixels=config.pixels,
        requantize_channels=config.requantize_channels,
        instruction_words=len(instructions) // 8,
        weight_rows=weight_row,
        parameter_rows=parameter_row,
        layers=len(layers),
        input_base=picture.base,
        input_plane=picture.plane,
        input_height=picture.height,
        input_width=picture.width,
        input_channels_count=picture.channels,
        input_blocks=picture.blocks,
        input_skip_q=skip_q,
        input_skip_r=skip_r,
        output_base=output.base,
        output_plane=output.plane,
        output_count=output.count,
        output_blocks=output.blocks,
        image_words=body // 8 + 1,
        source_words=-(-picture_bytes // 8),
    )
    image = header + instructions + weights + parameters
    return image + zlib.crc32(image).to_bytes(8, "little")


def _weight_bytes(layer: Layer, config: VisionConfig) -> bytes:
    """Each word on its own 64-bit words; a narrower one in the low bits."""
    words = layer.step.weights.reshape(-1, config.input_channels)
    size = 8 * config.beats_per_word
    if config.input_channels < size:
        words = np.pad(words, ((0, 0), (0, size - config.input_channels)))
    return words.tobytes()

"""From layers to the image that the overlay loads."""

from __future__ import annotations

import zlib

import numpy as np

from eyas.compiler.errors import CompileError
from eyas.compiler.lower import Layer
from eyas.compiler.maps import MapLayout
from eyas.interfaces.configs import VisionConfig
from eyas.interfaces.vision_isa import INSTRUCTION, PARAMETER, Op
from eyas.interfaces.vision_program import HEADER, PROGRAM_MAGIC, PROGRAM_VERSION

__all__ = ["emit"]


def emit(layers: list[Layer], picture: MapLayout, output: MapLayout, config: VisionConfig) -> bytes:
    """The program image of ``layers``.

    Raises
    ------
    CompileError
        When weights, parameters or instructions do not fit; with figures.
    """
    instructions = b""
    weight_row = parameter_row = 0
    for layer in layers:
        instructions += INSTRUCTION.pack_bytes(
            layer.fields, weight_base=weight_row, parameter_base=parameter_row
        )
        weight_row += len(layer.weights)
        parameter_row += len(layer.parameters)
        _check_rows(layers, weight_row, parameter_row, config)
    instructions += INSTRUCTION.pack_bytes(op=Op.END, layer=len(layers) - 1)
    if len(instructions) // 8 > config.instruction_words:
        raise CompileError(
            f"The network has {len(layers)} layers, the engine's instruction memory holds "
            f"{config.instruction_words // INSTRUCTION.word_count - 1}"
        )

    weights = b"".join(_weight_bytes(layer, config) for layer in layers)
    parameters = b"".join(
        PARAMETER.pack_bytes(vars(channel))
        for layer in layers
        for row in layer.parameters
        for channel in row
    )
    # From a row's last pixel to the next row's first.
    skip_q, skip_r = divmod(picture.pitch - picture.width + 1, config.pixels)
    body = HEADER.width // 8 + len(instructions) + len(weights) + len(parameters)
    header = HEADER.pack_bytes(
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
        source_words=-(-picture.height * picture.width * picture.channels // 8),
    )
    image = header + instructions + weights + parameters
    return image + zlib.crc32(image).to_bytes(8, "little")


def _check_rows(
    layers: list[Layer], weight_row: int, parameter_row: int, config: VisionConfig
) -> None:
    if weight_row > config.weight_rows:
        row_bytes = config.output_channels * config.input_channels
        total = sum(len(layer.weights) for layer in layers)
        raise CompileError(
            f"The network needs {total * row_bytes / 1024:.0f} KiB of weights ({total} rows), the "
            f"engine has {config.weight_bytes / 1024:.0f} KiB ({config.weight_rows} rows)"
        )
    if parameter_row > config.parameter_rows:
        total = sum(len(layer.parameters) for layer in layers)
        raise CompileError(
            f"The network needs {total} rows of requantisation parameters, the engine has "
            f"{config.parameter_rows}"
        )


def _weight_bytes(layer: Layer, config: VisionConfig) -> bytes:
    """Each word on its own 64-bit words; a narrower one in the low bits."""
    words = layer.weights.reshape(-1, config.input_channels)
    size = 8 * config.beats_per_word
    if config.input_channels < size:
        words = np.pad(words, ((0, 0), (0, size - config.input_channels)))
    return words.tobytes()

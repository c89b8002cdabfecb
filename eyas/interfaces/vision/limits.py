"""What a network may have: limits of an array, and those that all arrays share."""

from __future__ import annotations

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import INSTRUCTION, PARAMETER

__all__ = [
    "ADD_FRACTION_BITS",
    "MULTIPLIER_BITS",
    "POOL_VALUES",
    "SOFTMAX_CLASSES",
    "field_limit",
    "layers",
    "parameter_row_bytes",
    "weight_row_bytes",
]

POOL_VALUES = 4096
"""Values of the largest window that is pooled: what the pooling unit's sum holds."""

SOFTMAX_CLASSES = 4096
"""Classes of a softmax: the exponentials' sum has 12 bits before the point."""

MULTIPLIER_BITS = PARAMETER.by_name["pre_shift"].maximum
"""A sum is multiplied by less than 2 to this power when it is requantised."""

ADD_FRACTION_BITS = 20
"""Bits that an addition's tables have below a step of twice the greater input scale."""


def field_limit(name: str) -> int:
    """The greatest value of the instruction's field ``name``; of a signed one, the least's size."""
    field = INSTRUCTION.by_name[name]
    return -field.minimum if field.signed else field.maximum


def layers(config: VisionConfig) -> int:
    """Layers of a program: they have numbers, and an instruction each besides the one that ends."""
    return min(field_limit("layer") + 1, config.instruction_words // INSTRUCTION.word_count - 1)


def weight_row_bytes(config: VisionConfig) -> int:
    """Bytes of a row of weights."""
    return config.output_channels * config.input_channels


def parameter_row_bytes(config: VisionConfig) -> int:
    """Bytes of a row of requantisation parameters."""
    return config.requantize_channels * PARAMETER.width // 8

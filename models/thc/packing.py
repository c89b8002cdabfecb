"""Packs indices into bytes and unpacks them, on any device.

The format is :data:`eyas.interfaces.thc.formats.PACKING`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from eyas.interfaces.thc.formats import PACKING, packed_size

__all__ = ["pack", "unpack"]


def pack(indices: Tensor, bits: int) -> Tensor:
    """Indices (uint8) along the last axis as bytes."""
    size, shifts = packed_size(indices.shape[-1], bits), PACKING[bits]
    padding = size * len(shifts) - indices.shape[-1]
    padded = torch.nn.functional.pad(indices, (0, padding)) if padding else indices
    fields = padded.unflatten(-1, (size, len(shifts)))
    packed = fields[..., 0] << shifts[0]
    for place, shift in enumerate(shifts[1:], 1):
        packed |= fields[..., place] << shift
    return packed


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """The first ``count`` indices, along the last axis, of packed bytes."""
    size = packed_size(count, bits)
    if packed.shape[-1] != size:
        raise ValueError(
            f"{count} indices of {bits} bits take {size} bytes, not {packed.shape[-1]}"
        )
    fields = [(packed >> shift) & ((1 << bits) - 1) for shift in PACKING[bits]]
    return torch.stack(fields, dim=-1).flatten(-2)[..., :count]

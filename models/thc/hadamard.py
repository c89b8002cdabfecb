"""The randomised Hadamard transform: signs, then Walsh–Hadamard, over blocks or a whole vector.

It spreads every coordinate over its block, so that what is quantised is close to a normal
distribution whatever the gradient's was.  Signs are drawn anew for each step, alike on all workers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.thc.generator import sign_bits

__all__ = ["flip_signs", "hadamard"]

_CHUNK = 1 << 17
"""Coordinates transformed at once: both buffers stay in a processor's cache."""


def hadamard(x: Tensor) -> Tensor:
    """``H·x`` along the last axis, not normalised: H·H·x is d·x.

    Natural (Sylvester) order: H[j, i] = (−1)^popcount(i & j).  Adds and subtracts only, in one
    order: the same bits on every run, and exact for integers.

    Parameters
    ----------
    x : Tensor
        Last axis a power of two; any dtype that adds.
    """
    d = x.shape[-1] if x.ndim else 0
    if d < 1 or d & (d - 1):
        raise ValueError(f"A Hadamard transform has a power of two of coordinates, not {d}")
    if d == 1 or not x.numel():
        return x.clone()
    rows = x.reshape(-1, d)
    parts = [_transform(part) for part in rows.split(max(1, _CHUNK // d))]
    return (parts[0] if len(parts) == 1 else torch.cat(parts)).reshape(x.shape)


def _transform(rows: Tensor) -> Tensor:
    """The transform of a few rows.

    A coordinate's number is split in two halves, of which one and then the other leads, so that
    every butterfly adds long stretches of memory.
    """
    count, d = rows.shape
    inner = 1 << (d.bit_length() // 2)
    outer = d // inner
    by_inner = _butterflies(rows.view(count, outer, inner).permute(2, 0, 1).contiguous())
    by_outer = _butterflies(by_inner.permute(2, 0, 1).contiguous())
    return by_outer.permute(2, 0, 1).reshape(count, d).contiguous()


def _butterflies(x: Tensor) -> Tensor:
    """The transform along the first axis; overwrites ``x``."""
    other = torch.empty_like(x)
    half = 1
    while half < len(x):
        pairs, result = x.view(-1, 2, half, x[0].numel()), other.view(-1, 2, half, x[0].numel())
        torch.add(pairs[:, 0], pairs[:, 1], out=result[:, 0])
        torch.sub(pairs[:, 0], pairs[:, 1], out=result[:, 1])
        x, other = other, x
        half *= 2
    return x


def flip_signs(x: Tensor, *, seed: int, step: int, stream: int = 0) -> Tensor:
    """Negate, in place, the coordinates of float32 blocks ``x`` that the shared draws name."""
    bits = sign_bits(x.numel(), seed=seed, step=step, stream=stream, device=x.device)
    x.view(torch.int32).bitwise_xor_(bits.view_as(x) << 31)
    return x

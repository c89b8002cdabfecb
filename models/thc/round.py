"""A whole round of THC in one process: all workers' encoding, the sums, and the decoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from models.thc.aggregate import aggregate, lookup
from models.thc.codec import Codec
from models.thc.packing import pack

__all__ = ["mean"]


def mean(
    vectors: Sequence[Tensor] | Tensor,
    codec: Codec,
    *,
    step: int,
    stream: int = 0,
    form: Literal["float", "fixed"] = "float",
    included: Tensor | None = None,
    lane_bits: int = 16,
) -> Tensor:
    """The mean of one vector a worker, as each worker decodes it.

    Parameters
    ----------
    vectors : sequence of Tensor
        One for each worker, of one length.
    included : Tensor or None
        (workers, indices), truth values: which contributions reached the sum; all by default.
    """
    length = len(vectors[0])
    if any(len(vector) != length for vector in vectors):
        raise ValueError("All workers' vectors must have one length")
    norms = torch.stack([codec.norms(vector) for vector in vectors]).amax(dim=0)
    packed = [
        pack(
            codec.encode(vector, norms, step=step, worker=worker, stream=stream, form=form),
            codec.table.bits,
        )
        for worker, vector in enumerate(vectors)
    ]
    count = codec.padded(length)
    sums = aggregate(packed, codec.table, count, lane_bits)
    added: int | Tensor = len(packed)
    if included is not None:
        values = torch.stack([lookup(data, codec.table, count) for data in packed])
        sums = (values * included).sum(dim=0)
        added = included.sum(dim=0)
    return codec.decode(sums, norms, added=added, step=step, stream=stream, length=length)

"""What the aggregator computes: it looks packed indices up in the table and adds the entries."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from eyas.interfaces.thc.formats import (
    MAX_GRANULARITY,
    PACKING,
    LookupTable,
    check_sums,
    packed_size,
)

__all__ = ["add", "aggregate", "lookup"]


def lookup(packed: Tensor, table: LookupTable, count: int) -> Tensor:
    """T of the first ``count`` packed indices, along the last axis: int16."""
    size = packed_size(count, table.bits)
    if packed.dtype != torch.uint8 or packed.shape[-1] != size:
        raise ValueError(
            f"{count} indices of {table.bits} bits are {size} bytes (uint8), "
            f"not {packed.shape[-1]} of {packed.dtype}"
        )
    if table.granularity > MAX_GRANULARITY:
        raise ValueError(
            f"The aggregator's tables hold entries up to {MAX_GRANULARITY}, not {table.granularity}"
        )
    values = _byte_table(table, packed.device).index_select(0, packed.to(torch.int32).flatten())
    return values.view(torch.int16).view(*packed.shape[:-1], -1)[..., :count]


def add(sums: Tensor, packed: Tensor, table: LookupTable, lane_bits: int) -> Tensor:
    """``sums`` (int32) with one more contribution.

    A lane stops at its greatest value and never carries into its neighbour; in a job that
    :func:`eyas.interfaces.thc.formats.check_sums` lets pass it never gets there.
    """
    check_sums(table.granularity, 1, lane_bits)
    total = sums + lookup(packed, table, sums.shape[-1])
    return total.clamp_(max=(1 << lane_bits) - 1)


def aggregate(
    contributions: Sequence[Tensor] | Tensor, table: LookupTable, count: int, lane_bits: int = 8
) -> Tensor:
    """Sums (int32) of the first ``count`` indices over all workers' packed bytes.

    Refused with ValueError when so many contributions do not fit a lane.
    """
    check_sums(table.granularity, len(contributions), lane_bits)
    total = torch.zeros(count, dtype=torch.int32, device=contributions[0].device)
    for packed in contributions:
        total += lookup(packed, table, count)
    return total


def _byte_table(table: LookupTable, device: torch.device) -> Tensor:
    """For each byte the entries (int16) of all indices in it, as one integer: one look-up."""
    data = torch.arange(256, device=device)
    entries = torch.tensor(table.entries, dtype=torch.int16, device=device)
    mask = len(table.entries) - 1
    values = torch.stack([entries[(data >> shift) & mask] for shift in PACKING[table.bits]], dim=-1)
    return values.view(torch.int32 if values.shape[1] == 2 else torch.int64).flatten()

"""Stochastic rounding follows the stated count exactly, in both forms."""

import pytest
import torch

from models.thc.codec import round_float
from models.thc.fixed_point import round_positions
from models.thc.table import solve

TABLES = [(4, 30, 1 / 32), (4, 30, 1 / 512), (4, 15, 1 / 32), (3, 34, 1 / 32), (2, 34, 1 / 512)]


def stated(positions: torch.Tensor, entries: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """For positions in Q.11: the lower index, and how many of the 2^16 words emit the upper."""
    points = torch.tensor(entries)
    lower = (positions.unsqueeze(1) >= points * 2048).sum(dim=1) - 1
    gap = torch.cat([points.diff(), torch.ones(1, dtype=torch.int64)])[lower]
    distance = positions - points[lower] * 2048
    return lower, -(-distance * 32 // gap)


def rounded(form: str, positions: torch.Tensor, words: torch.Tensor, table) -> torch.Tensor:
    if form == "fixed":
        return round_positions(positions.to(torch.int32), words.to(torch.int32), table).long()
    return round_float(positions.to(torch.float32) / 2048, words.to(torch.int32), table).long()


@pytest.mark.parametrize("form", ["fixed", "float"])
@pytest.mark.parametrize(("bits", "granularity", "clamp"), TABLES)
def test_every_position_steps_up_at_its_count(form, bits, granularity, clamp) -> None:
    """The words below the count step up, the count itself and the greatest word do not."""
    table = solve(bits, granularity, clamp)
    positions = torch.arange(granularity * 2048 + 1)
    lower, count = stated(positions, table.entries)
    assert count.max() < 1 << 16
    below, at = (count - 1).clamp(min=0), count
    last = torch.full_like(count, (1 << 16) - 1)
    assert torch.equal(rounded(form, positions, below, table), lower + (count > 0))
    assert torch.equal(rounded(form, positions, at, table), lower)
    assert torch.equal(rounded(form, positions, last, table), lower)
    first = torch.zeros_like(count)
    assert torch.equal(rounded(form, positions, first, table), lower + (count > 0))


@pytest.mark.parametrize("form", ["fixed", "float"])
def test_counts_over_all_words(form) -> None:
    """Some positions in each gap of the default table, with every one of the 2^16 words."""
    table = solve(4, 30, 1 / 32)
    source = torch.Generator().manual_seed(4)
    places = torch.rand(15, 2, generator=source) * torch.tensor(table.gaps[:15]).unsqueeze(1)
    positions = ((torch.tensor(table.entries[:15]).unsqueeze(1) + places) * 2048).long().flatten()
    words = torch.arange(1 << 16).repeat(30, 1)
    lower, count = stated(positions, table.entries)
    found = rounded(form, positions.unsqueeze(1).expand_as(words), words, table)
    assert torch.equal((found - lower.unsqueeze(1)).sum(dim=1), count)
    assert torch.equal(found.min(dim=1).values, lower)


def test_the_bias_is_at_most_the_gap() -> None:
    """In units of 2^−16 of a point, as the contract says."""
    table = solve(4, 30, 1 / 32)
    positions = torch.arange(30 * 2048 + 1)
    lower, count = stated(positions, table.entries)
    points = torch.tensor(table.entries)
    gap = torch.tensor(table.gaps)[lower]
    bias = points[lower] * 65536 + gap * count - positions * 32
    assert bias.min() >= 0
    assert (bias <= gap).all()

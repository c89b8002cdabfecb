"""Formats and limits: tables that are refused, sums that do not fit, packed bytes."""

import numpy as np
import pytest
import torch

from eyas.interfaces.thc import formats as thc
from eyas.interfaces.thc.formats import LookupTable, check_sums, packed_size
from models.thc import packing
from models.thc.table import solve


@pytest.mark.parametrize(
    ("entries", "granularity", "message"),
    [
        ((0, 1, 2), None, "A table has 4, 8 or 16 entries .*, not 3"),
        ((0, 1, 5, 3), 3, "Table entry 2 is 5: entries must lie in 0 to 3"),
        ((0, -1, 4, 3), 3, "Table entry 1 is -1"),
        ((1, 1, 2, 3), None, "must run from 0 to its granularity 3, not from 1 to 3"),
        ((0, 1, 2, 3), 4, "must run from 0 to its granularity 4, not from 0 to 3"),
        ((0, 2, 1, 3), None, "Table entry 2 is 1, less than entry 1, 2"),
        ((0, 1, 3, 5), None, "Table entries 1 and 2 are 1 and 3: they must add up to .* 5"),
        ((0, 0, 0, 0), None, "Granularity must be 1 to 65535, not 0"),
    ],
)
def test_tables_that_break_a_rule_are_refused(entries, granularity, message) -> None:
    with pytest.raises(ValueError, match=message):
        LookupTable(entries, granularity)


@pytest.mark.parametrize("entries", [(0, 1.0, 2, 3), (0, True, 2, 3), ("0", 1, 2, 3)])
def test_entries_are_integers(entries) -> None:
    with pytest.raises(TypeError, match="A table entry must be an integer"):
        LookupTable(entries)


def test_what_follows_from_a_table() -> None:
    table = solve(4, 30, 1 / 32)
    assert table.bits == 4
    assert table.gaps == (3, 2, 2, 2, 2, 2, 1, 2, 1, 2, 2, 2, 2, 2, 3, 0)
    assert len(table.intervals) == 31
    assert table.intervals[:6] == (0, 0, 0, 1, 1, 2)
    assert table.intervals[-2:] == (14, 15)
    assert LookupTable(np.array(table.entries)) == table


@pytest.mark.parametrize(
    ("granularity", "workers", "lane", "message"),
    [
        (30, 9, 8, "sum up to 270, more than 8-bit lanes hold: use 16-bit lanes"),
        (255, 2, 8, "sum up to 510, .*: use 16-bit lanes"),
        (30, 256, 16, "Workers must be 1 to 255, not 256"),
        (30, 0, 8, "Workers must be 1 to 255, not 0"),
        (30, 4, 32, "A lane has 8 or 16 bits, not 32"),
        (256, 1, 16, "tables hold entries up to 255, not 256"),
    ],
)
def test_sums_that_do_not_fit_are_refused(granularity, workers, lane, message) -> None:
    with pytest.raises(ValueError, match=message):
        check_sums(granularity, workers, lane)


def test_sums_that_fit() -> None:
    for granularity, workers, lane in ((30, 8, 8), (255, 1, 8), (1, 255, 8), (255, 255, 16)):
        check_sums(granularity, workers, lane)


@pytest.mark.parametrize(
    ("bits", "indices", "expected"),
    [
        (4, [1, 2, 3], "1230"),
        (4, [15, 0, 0, 15], "f00f"),
        (3, [1, 7, 5], "1750"),
        (2, [1, 2, 3, 0, 3], "6cc0"),
    ],
)
def test_packing_written_out(bits: int, indices: list[int], expected: str) -> None:
    given = np.array(indices, np.uint8)
    assert thc.pack(given, bits).tobytes().hex() == expected
    assert bytes(packing.pack(torch.from_numpy(given), bits).tolist()).hex() == expected


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 64, 1023])
def test_packing_there_and_back(bits: int, count: int) -> None:
    source = np.random.default_rng(bits * 10000 + count)
    given = source.integers(0, 1 << bits, (3, count), np.uint8)
    packed = thc.pack(given, bits)
    assert packed.shape == (3, packed_size(count, bits))
    assert np.array_equal(packing.pack(torch.from_numpy(given), bits).numpy(), packed)
    assert np.array_equal(thc.unpack(packed, bits, count), given)
    again = packing.unpack(torch.from_numpy(packed), bits, count)
    assert np.array_equal(again.numpy(), given)


def test_bad_packing_is_refused() -> None:
    with pytest.raises(ValueError, match="An index of 3 bits is 0 to 7"):
        thc.pack(np.array([8]), 3)
    for unpack, data in (
        (thc.unpack, np.zeros(2, np.uint8)),
        (packing.unpack, torch.zeros(2, dtype=torch.uint8)),
    ):
        with pytest.raises(ValueError, match="5 indices of 4 bits take 3 bytes, not 2"):
            unpack(data, 4, 5)
    with pytest.raises(ValueError, match="An index has 2, 3 or 4 bits, not 5"):
        packed_size(1, 5)

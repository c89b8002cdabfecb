"""Looking up and adding packed indices."""

import numpy as np
import pytest
import torch

from eyas.interfaces.thc import formats as thc
from models.thc.aggregate import add, aggregate, lookup
from models.thc.table import Quantizer, solve

DEFAULT = solve(4, 30, 1 / 32)


@pytest.mark.parametrize(
    ("byte", "pair"), [(0x01, 0x0300), (0x10, 0x0003), (0xFF, 0x1E1E), (0x7F, 0x1E0E)]
)
def test_check_values_of_a_byte(byte: int, pair: int) -> None:
    """Of the authors' server: 16 bits, the even coordinate in the low byte."""
    even, odd = lookup(torch.tensor([byte], dtype=torch.uint8), DEFAULT, 2).tolist()
    assert odd << 8 | even == pair


@pytest.mark.parametrize("table", [DEFAULT, solve(3, 16, 0.1), solve(2, 34, 0.1)])
@pytest.mark.parametrize(("workers", "lane"), [(1, 8), (5, 8), (9, 16), (255, 16)])
@pytest.mark.parametrize("count", [1, 7, 1024])
def test_sums_are_those_of_the_entries(table, workers: int, lane: int, count: int) -> None:
    source = np.random.default_rng(workers * 100 + count)
    indices = source.integers(0, 1 << table.bits, (workers, count), np.uint8)
    indices[:, 0] = (1 << table.bits) - 1  # the greatest sum there is
    packed = torch.from_numpy(thc.pack(indices, table.bits))
    expected = np.array(table.entries)[indices].sum(axis=0)
    sums = aggregate(packed, table, count, lane)
    assert np.array_equal(sums.numpy(), expected)
    one_by_one = torch.zeros(count, dtype=torch.int32)
    for data in packed:
        one_by_one = add(one_by_one, data, table, lane)
    assert torch.equal(one_by_one, sums)


def test_a_full_lane_stays_full_and_leaves_its_neighbour_alone() -> None:
    sums = torch.tensor([250, 0], dtype=torch.int32)
    data = torch.tensor([0xF0], dtype=torch.uint8)
    assert add(sums, data, DEFAULT, 8).tolist() == [255, 0]
    assert add(sums, data, DEFAULT, 16).tolist() == [280, 0]
    assert add(torch.tensor([65530, 3]), data, DEFAULT, 16).tolist() == [65535, 3]


def test_bad_input_is_refused() -> None:
    data = torch.zeros(9, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match="9 workers with granularity 30 sum up to 270"):
        aggregate(data, DEFAULT, 8)
    with pytest.raises(ValueError, match="9 indices of 4 bits are 5 bytes"):
        lookup(data[0], DEFAULT, 9)
    with pytest.raises(ValueError, match=r"8 indices of 4 bits are 4 bytes \(uint8\)"):
        lookup(data[0].float(), DEFAULT, 8)
    with pytest.raises(ValueError, match="Workers must be 1 to 255, not 0"):
        aggregate([], DEFAULT, 8)
    big = Quantizer.optimal(4, 300).table
    with pytest.raises(ValueError, match="entries up to 255, not 300"):
        lookup(data[0], big, 8)

"""The simulated board's allocator."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.allocator import ALIGNMENT, Allocator
from drivers.errors import OutOfMemory

BASE, PAGES = 0x1000_0000, 64


def test_first_fit():
    allocator = Allocator(BASE, PAGES * ALIGNMENT)
    first = allocator.allocate(1)
    second = allocator.allocate(ALIGNMENT + 1)
    third = allocator.allocate(ALIGNMENT)
    assert [first, second, third] == [BASE + n * ALIGNMENT for n in (0, 1, 3)]
    allocator.free(second)
    assert allocator.allocate(3 * ALIGNMENT) == BASE + 4 * ALIGNMENT
    assert allocator.allocate(2 * ALIGNMENT) == second


def test_figures_of_a_full_memory():
    allocator = Allocator(BASE, 4 * ALIGNMENT)
    regions = [allocator.allocate(ALIGNMENT) for _ in range(4)]
    allocator.free(regions[0])
    allocator.free(regions[2])
    with pytest.raises(OutOfMemory, match=r"5000 bytes.* 8192 of 16384 .* largest gap has 4096"):
        allocator.allocate(5000)
    assert allocator.allocate(4096) == regions[0]


def test_only_what_was_given_can_be_freed():
    allocator = Allocator(BASE, PAGES * ALIGNMENT)
    region = allocator.allocate(10)
    with pytest.raises(ValueError, match="No region starts at 0x10000004"):
        allocator.free(region + 4)
    allocator.free(region)
    with pytest.raises(ValueError, match="No region starts at 0x10000000"):
        allocator.free(region)


@settings(derandomize=True, max_examples=200)
@given(
    st.lists(st.one_of(st.integers(1, 9 * ALIGNMENT), st.floats(0, 0.999)), min_size=1, max_size=60)
)
def test_regions_never_overlap(actions):
    """An integer allocates so many bytes; a fraction frees one of the regions held."""
    allocator = Allocator(BASE, PAGES * ALIGNMENT)
    held = {}
    for action in actions:
        if isinstance(action, float):
            if held:
                region = sorted(held)[int(action * len(held))]
                allocator.free(region)
                del held[region]
            continue
        try:
            region = allocator.allocate(action)
        except OutOfMemory:
            used = sorted((start, start + size) for start, size in held.items())
            edges = [BASE, *(edge for pair in used for edge in pair), BASE + PAGES * ALIGNMENT]
            gaps = [
                end // ALIGNMENT * ALIGNMENT - -(-start // ALIGNMENT) * ALIGNMENT
                for start, end in zip(edges[::2], edges[1::2], strict=True)
            ]
            assert max(gaps) < action, "refused although a gap was large enough"
            continue
        assert region % ALIGNMENT == 0
        assert region >= BASE
        assert region + action <= BASE + PAGES * ALIGNMENT
        for start, size in held.items():
            assert region + action <= start or start + size <= region
        held[region] = action
    for region in held:
        allocator.free(region)
    assert allocator.allocate(PAGES * ALIGNMENT) == BASE

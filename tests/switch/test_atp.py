"""ATP: the hash of its public code, and what its aggregators do, as vectors of our own."""

import pytest

from eyas.interfaces.switch.packet import PacketKind
from eyas.interfaces.switch.states import Outcome, Policy, SlotState
from models.switch.hashing import atp_index, shared_slot
from tests.switch.packets import Bench, colliding, data, result


@pytest.mark.parametrize(
    ("app", "index", "slot"),
    [(1, 0, 4230), (1, 1, 13603), (1, 2, 4621), (2, 0, 13960), (2, 1, 4813)],
)
def test_hash_check_values(app: int, index: int, slot: int) -> None:
    assert atp_index(app, index, 0, 20_000) == slot


def test_keys_that_differ_in_the_low_bits_alone_never_meet() -> None:
    for log2 in range(1, 9):
        size = 1 << log2
        for job, start, salt in ((0, 0, 0), (3, 0x5A00, 7), (31, 0xFF00, 0xFFFF)):
            slots = {shared_slot(job, start + seq, salt, size) for seq in range(size)}
            assert len(slots) == size


def test_claim_use_and_the_sum_goes_to_the_server() -> None:
    bench = Bench(Policy.ATP)
    assert bench.send(data(0, 5, (1, 2))) is None
    assert bench.outcome is Outcome.CLAIMED
    leaves = bench.send(data(1, 5, (10, -20)))
    assert bench.outcome is Outcome.COMPLETED
    assert leaves is not None
    assert (leaves.kind, leaves.bitmap) == (PacketKind.PARTIAL, 0b11)
    assert leaves.sums().tolist() == [11, -18]


def test_a_slot_is_freed_by_the_servers_result_alone() -> None:
    bench = Bench(Policy.ATP)
    slot = bench.switch.slot_of(0, 5)
    bench.send(data(0, 5, (1,)))
    bench.send(data(1, 5, (2,)))
    assert bench.switch.records[slot].state is SlotState.BUSY
    other = colliding(bench, 5, 0, 1)
    assert bench.send(data(0, other, (3,), job=1)) == data(0, other, (3,), job=1)
    assert bench.outcome is Outcome.PASSED
    passing = result(5, 2, (3,))
    assert bench.send(passing) == passing
    assert bench.switch.records[slot].state is SlotState.DONE
    assert bench.send(data(0, other, (3,), job=1)) is None
    assert bench.outcome is Outcome.CLAIMED


def test_a_result_of_another_key_frees_nothing() -> None:
    bench = Bench(Policy.ATP)
    bench.send(data(0, 5, (1,)))
    other = colliding(bench, 5, 0, 1)
    bench.send(result(other, 2, (9,), job=1))
    assert bench.switch.records[bench.switch.slot_of(0, 5)].state is SlotState.BUSY


def test_a_collision_goes_to_the_server_whatever_its_priority() -> None:
    bench = Bench(Policy.ATP)
    bench.send(data(0, 5, (1,), priority=1))
    other = colliding(bench, 5, 0, 1)
    late = data(1, other, (7,), job=1, priority=255)
    assert bench.send(late) == late
    leaves = bench.send(data(1, 5, (2,)))
    assert leaves is not None
    assert leaves.sums().tolist() == [3]


def test_a_duplicate_after_completion_is_answered_with_the_sum() -> None:
    bench = Bench(Policy.ATP)
    bench.send(data(0, 5, (1,)))
    first = bench.send(data(1, 5, (2,)))
    again = bench.send(data(0, 5, (1,)))
    assert bench.outcome is Outcome.DUPLICATE
    assert again == first


def test_a_duplicate_before_completion_is_dropped() -> None:
    bench = Bench(Policy.ATP, workers=3)
    bench.send(data(0, 5, (1,)))
    assert bench.send(data(0, 5, (1,))) is None
    assert bench.outcome is Outcome.DUPLICATE
    assert bench.switch.sums(bench.switch.slot_of(0, 5)).tolist() == [1]


def test_a_resend_goes_to_the_server_and_claims_nothing() -> None:
    bench = Bench(Policy.ATP)
    again = data(0, 5, (1,), kind=PacketKind.RESEND)
    assert bench.send(again) == again
    assert bench.outcome is Outcome.UPSTREAM
    assert bench.switch.records[bench.switch.slot_of(0, 5)].state is SlotState.EMPTY


@pytest.mark.parametrize(
    ("values", "expected"),
    [((2**31 - 1, 1), 2**31 - 1), ((-(2**31), -1), -(2**31)), ((2**31 - 1, -(2**31)), -1)],
)
def test_lanes_saturate(values: tuple[int, int], expected: int) -> None:
    bench = Bench(Policy.ATP)
    bench.send(data(0, 5, (values[0], 1)))
    leaves = bench.send(data(1, 5, (values[1], 1)))
    assert leaves is not None
    assert leaves.sums().tolist() == [expected, 2]

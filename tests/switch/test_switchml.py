"""SwitchML: the ten situations that its public tests name, as vectors of our own.

A job has 4 slots of its own, so two sets of 2: sequence numbers 0 and 1 use one set, 2 and 3 the
other, 4 and 5 the first again.
"""

from eyas.interfaces.switch.packet import Packet, PacketFault, PacketKind
from eyas.interfaces.switch.states import Outcome, Policy, SlotState
from tests.switch.packets import Bench, data

RESEND = PacketKind.RESEND


def reduced(bench: Bench, seq: int, values: tuple[int, int] = (1, 10), job: int = 0) -> Packet:
    """Both workers' contributions of a key; the result that leaves."""
    assert bench.send(data(0, seq, (values[0],), job=job)) is None
    leaves = bench.send(data(1, seq, (values[1],), job=job))
    assert leaves is not None
    return leaves


def test_basic_reduction() -> None:
    bench = Bench(Policy.SWITCHML)
    leaves = reduced(bench, 0)
    assert leaves.kind is PacketKind.RESULT
    assert (leaves.bitmap, leaves.destinations, leaves.from_server) == (0b11, 0b11, 0)
    assert leaves.sums().tolist() == [11]


def test_retransmission_after_reduction_is_answered_to_its_sender() -> None:
    bench = Bench(Policy.SWITCHML)
    reduced(bench, 0)
    again = bench.send(data(1, 0, (10,), kind=RESEND))
    assert bench.outcome is Outcome.ANSWERED
    assert again is not None
    assert (again.kind, again.destinations) == (PacketKind.RESULT, 0b10)
    assert again.sums().tolist() == [11]


def test_the_other_set() -> None:
    bench = Bench(Policy.SWITCHML)
    assert reduced(bench, 2).sums().tolist() == [11]
    assert bench.switch.event is not None
    assert bench.switch.event.slot == 2


def test_both_sets() -> None:
    bench = Bench(Policy.SWITCHML)
    bench.send(data(0, 0, (1,)))
    bench.send(data(0, 2, (2,)))
    second = bench.send(data(1, 2, (20,)))
    first = bench.send(data(1, 0, (10,)))
    assert second is not None
    assert first is not None
    assert (first.seq, first.sums().tolist()) == (0, [11])
    assert (second.seq, second.sums().tolist()) == (2, [22])


def test_slot_reuse() -> None:
    bench = Bench(Policy.SWITCHML)
    for seq in range(24):
        leaves = reduced(bench, seq, (seq, 100))
        assert (leaves.seq, leaves.sums().tolist()) == (seq, [seq + 100])


def test_slots_are_used_again_where_numbers_wrap() -> None:
    bench = Bench(Policy.SWITCHML)
    for number in range((1 << 32) - 6, (1 << 32) + 6):
        assert reduced(bench, number % (1 << 32)).sums().tolist() == [11]


def test_retransmissions_of_what_is_counted_are_ignored() -> None:
    bench = Bench(Policy.SWITCHML)
    bench.send(data(0, 0, (1,)))
    for kind in (RESEND, PacketKind.DATA, RESEND):
        assert bench.send(data(0, 0, (1,), kind=kind)) is None
        assert bench.outcome is Outcome.DUPLICATE
    leaves = bench.send(data(1, 0, (10,), kind=RESEND))
    assert leaves is not None
    assert leaves.sums().tolist() == [11]


def test_retransmission_from_the_previous_slot() -> None:
    bench = Bench(Policy.SWITCHML)
    reduced(bench, 0, (1, 10))
    bench.send(data(0, 2, (2,)))  # worker 0 is in the other set; worker 1 lost its result
    again = bench.send(data(1, 0, (10,), kind=RESEND))
    assert again is not None
    assert again.sums().tolist() == [11]
    leaves = bench.send(data(1, 2, (20,)))
    assert leaves is not None
    assert leaves.sums().tolist() == [22]


def test_a_slot_used_again_and_a_retransmission() -> None:
    bench = Bench(Policy.SWITCHML)
    for seq in (0, 2):
        reduced(bench, seq)
    bench.send(data(0, 4, (5,)))
    late = data(0, 0, (1,), kind=RESEND)
    assert bench.send(late) is None  # a copy that wandered: its slot is another key's by now
    assert bench.outcome is Outcome.DUPLICATE
    leaves = bench.send(data(1, 4, (50,), kind=RESEND))
    assert leaves is not None
    assert leaves.sums().tolist() == [55]
    assert bench.send(late) is None  # and does not take a done slot from a newer key
    assert bench.switch.records[0].seq == 4
    assert bench.switch.records[0].state is SlotState.DONE


def test_packets_of_other_protocols_disturb_nothing() -> None:
    bench = Bench(Policy.SWITCHML)
    bench.send(data(0, 0, (1,)))
    frame = bytearray(data(1, 0, (10,)).to_bytes())
    frame[0] ^= 0xFF
    assert bench.switch.receive(bytes(frame)) == []
    assert bench.switch.faults == {PacketFault.FOREIGN: 1}
    leaves = bench.send(data(1, 0, (10,)))
    assert leaves is not None
    assert leaves.sums().tolist() == [11]


def test_different_jobs_have_different_slots() -> None:
    """SwitchML's different ports; here the packet's job tells who belongs together."""
    bench = Bench(Policy.SWITCHML)
    bench.send(data(0, 0, (1,), job=0))
    bench.send(data(0, 0, (2,), job=1))
    second = bench.send(data(1, 0, (20,), job=1))
    first = bench.send(data(1, 0, (10,), job=0))
    assert first is not None
    assert second is not None
    assert (first.job, first.sums().tolist()) == (0, [11])
    assert (second.job, second.sums().tolist()) == (1, [22])

"""The aggregation service: its rules, its stream, and workers that train through it."""

import pytest
import torch

from eyas.interfaces.switch.packet import Lanes, Packet, PacketKind
from eyas.interfaces.thc.formats import LookupTable, pack, unpack
from eyas.services.aggregation.sums import LEAD, WINDOW, JobSums
from eyas.services.aggregation.training_job import TrainingJob
from eyas.services.aggregation.units import ModelUnit
from eyas.services.aggregation.wire import Frames, line
from tests.services import jobs
from tests.services.ranks import Failed, Ranks

TABLE = LookupTable([0, 3, 5, 7, 9, 11, 13, 14, 16, 17, 19, 21, 23, 25, 27, 30])
SEED = 5


def job(workers: int = 3, quorum: int | None = None) -> JobSums:
    described = TrainingJob(TABLE, workers, 8)
    unit = ModelUnit()
    unit.configure(described)
    return JobSums(described, unit, quorum, patience=1.0)


def data(worker: int, seq: int, count: int = 5, kind=PacketKind.DATA, base: int = 0) -> Packet:
    source = torch.Generator().manual_seed(SEED + 100 * seq + worker)
    indices = torch.randint(0, 16, (count,), generator=source).numpy()
    payload = pack(indices, 4).tobytes()
    return Packet(
        kind, 0, 0, seq=seq, worker=worker, base=base, bitmap=1 << worker, count=1,
        coordinates=count, payload=payload,
    )  # fmt: skip


def entries(packet: Packet) -> torch.Tensor:
    payload = torch.frombuffer(bytearray(packet.payload), dtype=torch.uint8).numpy()
    return torch.tensor(TABLE.entries)[unpack(payload, 4, packet.coordinates).astype(int)]


def test_a_sum_goes_to_all_when_all_are_in() -> None:
    rules = job()
    for seq in (0, 1):
        for worker in range(3):
            assert rules.take(data(worker, seq), 0) == []
            # Neither a copy nor a resend is added again.
            assert rules.take(data(worker, seq, kind=PacketKind.RESEND), 0) == []
    out = rules.finish(0)
    assert sorted((worker, packet.seq) for worker, packet in out) == [
        (worker, seq) for worker in range(3) for seq in (0, 1)
    ]
    for _, packet in out:
        assert (packet.kind, packet.bitmap, packet.count) == (PacketKind.RESULT, 0b111, 3)
        expected = sum(entries(data(worker, packet.seq)) for worker in range(3))
        assert packet.sums().tolist() == expected.tolist()
    assert rules.finish(0) == []


def test_a_lost_result_is_sent_again_until_all_are_past_it() -> None:
    rules = job(2)
    for worker in range(2):
        rules.take(data(worker, 0), 0)
    ((_, result), _) = rules.finish(0)
    assert rules.take(data(1, 0, kind=PacketKind.RESEND), 0) == [(1, result)]
    rules.take(data(0, 1, base=1), 0)
    assert rules.take(data(1, 0, kind=PacketKind.RESEND), 0) == [(1, result)]
    rules.take(data(1, 1, base=1), 0)
    assert rules.take(data(1, 0, kind=PacketKind.RESEND), 0) == []
    assert [packet.seq for _, packet in rules.finish(0)] == [1, 1]


def test_numbers_wrap() -> None:
    rules = job(2)
    last = (1 << 32) - 1
    rules._bases, rules._least = [last - 1] * 2, last - 1  # a job that has come so far
    for worker in range(2):
        rules.take(data(worker, last - 1, base=last - 1), 0)
        rules.take(data(worker, 0, base=last), 0)
    assert [packet.seq for _, packet in rules.finish(0)] == [last - 1, last - 1, 0, 0]
    for worker in range(2):
        rules.take(data(worker, 1, base=1), 0)
    assert rules.take(data(0, 0, kind=PacketKind.RESEND, base=1), 0) == []


def test_a_quorum_waits_and_then_does_without() -> None:
    rules = job(3, quorum=2)
    rules.take(data(0, 0), 0.0)
    assert rules.finish(5.0) == []
    rules.take(data(2, 0), 0.5)
    assert rules.finish(0.9) == []
    out = rules.finish(1.0)
    assert [worker for worker, _ in out] == [0, 1, 2]
    result = out[0][1]
    assert (result.bitmap, result.count) == (0b101, 2)
    assert result.sums().tolist() == (entries(data(0, 0)) + entries(data(2, 0))).tolist()
    # Who comes late gets the same result.
    assert rules.take(data(1, 0), 2.0) == [(1, result)]
    assert rules.finish(9.0) == []


def test_nobody_gets_far_ahead_of_the_slowest_of_a_quorum() -> None:
    """What is beyond the lead counts as lost; memory stays within it."""
    rules, most = job(3, quorum=2), 0
    for seq in range(3 * LEAD):
        for worker in range(2):
            base = min(seq, LEAD)  # results of what is beyond never come
            if seq < base + WINDOW:
                assert rules.take(data(worker, seq, base=base), 0.0) == []
        assert len(rules.finish(9.0)) == (6 // 2 * (seq < LEAD))
        most = max(most, rules.buffered_bytes)
    assert most == 5 * LEAD
    # The slowest comes: it is answered, and the others go on.
    for seq in range(LEAD):
        base = max(0, seq - 1)
        ((worker, result),) = rules.take(data(2, seq, base=base), 9.0)
        assert (worker, result.seq, result.bitmap) == (2, seq, 0b011)
    again = [rules.take(data(worker, LEAD, base=LEAD), 10.0) for worker in range(2)]
    assert again == [[], []]
    assert len(rules.finish(19.0)) == 3
    assert rules.buffered_bytes < 5 * 4


def test_the_missing_are_named() -> None:
    rules = job(3)
    rules.take(data(1, 7), 0.0)
    assert list(rules.overdue(1.0, 2.0)) == []
    assert list(rules.overdue(2.5, 2.0)) == [(7, [0, 2])]


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        (data(2, 0).with_changes(worker=2, bitmap=4), "an unexpected DATA of worker 2"),
        (data(1, 0, count=4), "worker 1 has 4 coordinates in packet 0, another one 5"),
        (data(1, 0).with_changes(lanes=Lanes.UINT16), "lanes UINT16, where the job has UINT8"),
        (Packet(PacketKind.REMINDER, 0, 0), "an unexpected REMINDER"),
    ],
)
def test_packets_that_break_the_rules_are_refused(packet: Packet, message: str) -> None:
    rules = job(2)
    rules.take(data(0, 0), 0)
    with pytest.raises(ValueError, match=message):
        rules.take(packet, 0)


def test_a_quorum_beyond_the_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="A quorum of 3 workers is 1 to that, not 4"):
        job(3, quorum=4)


@pytest.mark.parametrize("cut", [1, 2, 31, 33, 1000])
def test_frames_come_out_as_they_went_in_however_cut(cut: int) -> None:
    sent = [{"worker": 1}, data(0, 3, 7), data(1, 2), {"error": "a\nb"}, data(2, 1)]
    stream = b"".join(
        line(frame) if isinstance(frame, dict) else frame.to_bytes() for frame in sent
    )
    frames, found = Frames(), []
    for start in range(0, len(stream), cut):
        found += frames.feed(stream[start : start + cut])
    assert found == sent


@pytest.mark.parametrize("junk", [b"GET / HTTP", b"EX", b"{" + b"x" * 5000])
def test_other_streams_are_refused(junk: bytes) -> None:
    with pytest.raises(ValueError, match=r"the stream holds neither|does not end within"):
        list(Frames().feed(junk))


@pytest.fixture(scope="module")
def reference(ranks: Ranks) -> torch.Tensor:
    return ranks.run(jobs.by_reference, 6)[0][0]


@pytest.mark.parametrize("loss_rate", [0.0, 0.1])
def test_weights_through_the_service_are_the_references(
    ranks: Ranks, reference: torch.Tensor, loss_rate: float
) -> None:
    """Packets that are lost are sent again: not a bit changes."""
    for weights, traffic in ranks.run(jobs.by_service, 6, {"loss_rate": loss_rate}):
        assert torch.equal(weights, reference)
        # A busy machine may be slow enough that packets are sent again for nothing.
        assert traffic["resent_up"] > 0 or not loss_rate


def test_16_bit_lanes_through_the_service(ranks: Ranks, reference: torch.Tensor) -> None:
    for weights, _ in ranks.run(jobs.by_service, 6, {}, 16):
        assert torch.equal(weights, reference)


def test_a_quorum_keeps_replicas_equal(ranks: Ranks, reference: torch.Tensor) -> None:
    found = ranks.run(jobs.by_service, 6, {"loss_rate": 0.2, "quorum": 2})
    assert all(torch.equal(weights, found[0][0]) for weights, _ in found)
    assert not torch.equal(found[0][0], reference)
    start = jobs.weights(jobs.model())
    assert (found[0][0] - reference).norm() < 0.5 * (reference - start).norm()


def test_a_dead_service_is_named(ranks: Ranks) -> None:
    for waited, message in ranks.run(jobs.kill_service):
        assert message.startswith("the aggregator at 127.0.0.1:")
        assert (
            "closed the connection" in message
            or "does not take packets" in message
            or ("broke the connection" in message)
        )
        assert waited < 5


def test_nobody_listening_is_said(ranks: Ranks) -> None:
    for answer in ranks.run(jobs.by_service, 1, {"address": "127.0.0.1:9"}):
        assert isinstance(answer, Failed)
        assert answer.kind == "AggregatorError"
        assert "the aggregator at 127.0.0.1:9 cannot be reached" in answer.message


def test_a_service_that_cannot_start_is_said_on_all_ranks(ranks: Ranks) -> None:
    for answer in ranks.run(jobs.by_service, 1, {"loss_rate": 1.5}):
        assert isinstance(answer, Failed)
        assert "A loss rate is from 0 to less than 1, not 1.5" in answer.message


def test_workers_that_disagree_with_the_service_are_refused(ranks: Ranks) -> None:
    for rank, answer in enumerate(ranks.run(jobs.mismatched_service)):
        assert isinstance(answer, Failed) == (rank == 1), answer
        if rank == 1:
            assert "Worker 1 has another lane_bits than the service's job" in answer.message

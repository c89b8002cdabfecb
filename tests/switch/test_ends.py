"""Server and worker alone: timers, quorums, refusals, and how jobs end."""

import numpy as np
import pytest

from eyas.interfaces.switch.packet import Lanes, Packet, PacketKind
from eyas.interfaces.switch.states import Policy
from models.switch.golden import GoldenSwitch, SwitchSettings
from models.switch.network import Fate, LossyNetwork
from models.switch.records import JobEntry
from models.switch.server import Server
from models.switch.system import Contribution, Job, Stuck, System
from models.switch.terms import JobTerms, serial_distance
from models.switch.worker import Worker
from tests.switch.packets import CONFIG

EPOCH = 3


def terms(workers: int = 2, needed: int | None = None, **changes) -> JobTerms:
    entry = JobEntry(
        epoch=EPOCH, workers=workers, needed=needed or workers, lanes=Lanes.INT32, size=4
    )
    return JobTerms(0, entry, **({"window": 2, "timeout": 10.0, "dead": 500.0} | changes))


def payload(value: int) -> bytes:
    return np.array([value], "<i4").tobytes()


def parsed(out: list[bytes]) -> list[Packet]:
    return [Packet.from_bytes(data) for data in out]


def kinds(out: list[bytes]) -> list[str]:
    return [packet.kind.name for packet in parsed(out)]


def result(number: int, bitmap: int = 0b11, value: int = 5, *, destinations: int = 0b11) -> bytes:
    return Packet(
        PacketKind.RESULT, 0, EPOCH, number, lanes=Lanes.INT32, bitmap=bitmap,
        destinations=destinations, count=bin(bitmap).count("1"), coordinates=1,
        payload=payload(value),
    ).to_bytes()  # fmt: skip


def contribution(
    worker: int, number: int, value: int, base: int = 0, kind=PacketKind.DATA
) -> bytes:
    return Packet(
        kind, 0, EPOCH, number, worker, base, lanes=Lanes.INT32, bitmap=1 << worker, count=1,
        coordinates=1, payload=payload(value),
    ).to_bytes()  # fmt: skip


def ready(worker: Worker, packets: int) -> Worker:
    for number in range(packets):
        worker.submit(payload(number), 1)
    return worker


def test_a_worker_keeps_to_its_window_and_sends_again_ever_later() -> None:
    worker = ready(Worker(terms(), 0), 4)
    assert [packet.seq for packet in parsed(worker.poll(0.0))] == [0, 1]
    times = []
    for _ in range(6):
        due = worker.deadline
        assert due is not None
        assert worker.poll(due - 0.1) == []
        assert kinds(worker.poll(due)) == ["RESEND", "RESEND"]
        times.append(due)
    # 10, then waits of 20, 40, 80, 80, 80: doubled up to eight times.
    assert times == [10.0, 30.0, 70.0, 150.0, 230.0, 310.0]
    assert worker.resends == 12
    (sent,) = parsed(worker.receive(result(0), 311.0))
    assert (sent.kind, sent.seq, sent.base) == (PacketKind.DATA, 2, 1)
    assert worker.receive(result(0), 312.0) == []
    assert [delivery.number for delivery in worker.deliveries] == [0]


def test_a_worker_answers_queries_by_what_it_knows() -> None:
    worker = ready(Worker(terms(), 1), 6)
    worker.poll(0.0)

    def query(number: int) -> list[Packet]:
        data = Packet(PacketKind.QUERY, 0, EPOCH, number, worker=1).to_bytes()
        return parsed(worker.receive(data, 1.0))

    assert [packet.kind for packet in query(1)] == [PacketKind.RESEND]
    assert query(5) == []  # not sent yet
    for number in (1, 0, 2, 3):
        worker.receive(result(number, value=number + 40), 2.0)
    (answer,) = query(3)
    assert (answer.kind, answer.worker, answer.sums().tolist()) == (PacketKind.ANSWER, 1, [43])
    assert len(query(2)) == 1  # base − W
    assert query(1) == []  # past it


def test_a_worker_ignores_strangers() -> None:
    worker = ready(Worker(terms(), 0), 1)
    worker.poll(0.0)
    good = Packet.from_bytes(result(0))
    for strange in (good.with_changes(epoch=EPOCH + 1), good.with_changes(job=1)):
        assert worker.receive(strange.to_bytes(), 1.0) == []
    assert worker.receive(b"nonsense", 1.0) == []
    assert worker.base == 0


def test_a_left_out_worker_is_told_even_before_it_has_submitted() -> None:
    worker = Worker(terms(3, needed=2), 2)
    worker.receive(result(0, 0b011, destinations=0b111), 1.0)
    (delivery,) = worker.deliveries
    assert not delivery.included
    assert worker.submit(payload(9), 1) == 0
    worker.submit(payload(8), 1)
    assert [packet.seq for packet in parsed(worker.poll(2.0))] == [1]


def test_what_a_worker_refuses() -> None:
    worker = Worker(terms(), 0)
    with pytest.raises(ValueError, match="priority is 1 to 255, not 0"):
        worker.submit(payload(1), 1, 0)
    with pytest.raises(ValueError, match="with 2 workers the greatest is 1073741823; scale down"):
        worker.submit(payload(1 << 30), 1)
    worker.close()
    with pytest.raises(ValueError, match="is closed"):
        worker.submit(payload(1), 1)
    with pytest.raises(ValueError, match="workers are 0 to 1, not 2"):
        Worker(terms(), 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": 33}, "1 to 32 workers, not 33"),
        ({"workers": 2, "needed": 3}, "A quorum is 1 to 2 workers, not 3"),
        ({"window": 0}, "at least one packet, not 0"),
        ({"first": 1 << 32}, "32 bits, unlike 4294967296"),
        ({"timeout": 10.0, "dead": 15.0}, "they are 10.0 and 15.0"),
        ({"policy": Policy.SWITCHML, "window": 3}, "half of the job's 4 slots, not 3"),
        ({"workers": 2, "needed": 1, "policy": Policy.SWITCHML}, "there is no quorum"),
    ],
)
def test_terms_that_cannot_be(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        terms(**changes)


def test_numbers_wrap() -> None:
    assert serial_distance(2, (1 << 32) - 3) == 5
    assert serial_distance((1 << 32) - 3, 2) == -5
    assert serial_distance((1 << 31) - 1, 0) == (1 << 31) - 1
    there = terms(first=(1 << 32) - 2)
    assert [there.seq(number) for number in range(4)] == [(1 << 32) - 2, (1 << 32) - 1, 0, 1]
    assert there.number(1, 100) == 3
    assert there.number((1 << 32) - 2, 3) == 0


def test_the_server_adds_disjoint_takes_supersets_and_leaves_the_rest() -> None:
    server = Server(terms(3))

    def partial(bitmap: int, value: int) -> list[bytes]:
        packet = Packet(
            PacketKind.PARTIAL, 0, EPOCH, 0, lanes=Lanes.INT32, bitmap=bitmap,
            count=bin(bitmap).count("1"), coordinates=1, payload=payload(value),
        )  # fmt: skip
        return server.receive(packet.to_bytes(), 0.0)

    assert server.receive(contribution(0, 0, 1), 0.0) == []
    assert partial(0b011, 21) == []  # takes its place
    assert server.counters["discarded"] == 0
    assert partial(0b110, 320) == []  # overlaps
    assert partial(0b001, 1) == []  # is in
    assert server.counters["discarded"] == 2
    (final,) = parsed(server.receive(contribution(2, 0, 300), 0.0))
    assert (final.kind, final.from_server, final.destinations) == (PacketKind.RESULT, 1, 0b111)
    assert final.sums().tolist() == [321]
    (again,) = parsed(server.receive(contribution(1, 0, 20, kind=PacketKind.RESEND), 0.0))
    assert (again.destinations, again.sums().tolist()) == (0b010, [321])
    assert partial(0b111, 321) == []


def test_the_server_reminds_then_asks_ever_later() -> None:
    server = Server(terms(3))
    server.receive(contribution(1, 0, 1), 0.0)
    said = []
    for _ in range(5):
        due = server.deadline
        assert due is not None
        assert server.poll(due - 0.1) == []
        said.append((due, kinds(server.poll(due))))
    both = ["REMINDER", "QUERY", "QUERY"]
    # T_rem is 5: the second look asks, and from there on waits double up to eight times.
    assert said == [
        (5.0, ["REMINDER"]), (10.0, both), (20.0, both), (40.0, both), (80.0, both),
    ]  # fmt: skip
    assert server.deadline == 120.0


def test_the_server_adopts_a_copy_and_tells_all() -> None:
    server = Server(terms(2))
    server.receive(contribution(1, 0, 1), 0.0)
    answer = Packet.from_bytes(result(0, value=77)).with_changes(
        kind=PacketKind.ANSWER, destinations=0
    )
    (final,) = parsed(server.receive(answer.to_bytes(), 1.0))
    assert (final.kind, final.destinations, final.sums().tolist()) == (
        PacketKind.RESULT, 0b11, [77],
    )  # fmt: skip
    assert server.receive(result(1), 2.0) == []  # the switch's copy, nothing was held
    assert server.deadline is None


def test_the_server_forgets_what_all_must_have() -> None:
    server = Server(terms(2, window=2))
    for number in range(6):
        server.receive(result(number), 0.0)
    # Newest 5, W 2: what is up to 5 − 4 is past.
    for number in (0, 1):
        assert server.receive(contribution(0, number, 1), 1.0) == []
    assert kinds(server.receive(contribution(0, 2, 1), 1.0)) == ["RESULT"]


def test_a_quorum_waits_for_a_worker_that_is_far_behind() -> None:
    there = terms(3, needed=2, window=1)
    server = Server(there)
    for number in range(4):
        out = server.receive(contribution(0, number, 1, base=number), 0.0)
        out += server.receive(contribution(1, number, 2, base=number), 0.0)
        assert kinds(out) == ["RESULT"]
    # 4 W ahead of worker 2, of whom nothing was heard.
    server.receive(contribution(0, 4, 1, base=4), 0.0)
    assert server.receive(contribution(1, 4, 2, base=4), 0.0) == []
    out = server.receive(contribution(2, 1, 9, base=1, kind=PacketKind.RESEND), 1.0)
    found = [(packet.seq, packet.destinations, packet.bitmap) for packet in parsed(out)]
    assert found == [(1, 0b100, 0b011), (4, 0b111, 0b011)]


def system(
    network: LossyNetwork, there: JobTerms, packets: int = 5, **options
) -> tuple[System, Job]:
    switch = GoldenSwitch(CONFIG, SwitchSettings(there.policy, age_limit=4))
    built = System(switch, CONFIG.slots, network, scan_period=4.0, **options)
    items = [Contribution(payload(number), 1) for number in range(packets)]
    job = Job(there, [items] * there.entry.workers)
    return built, job


def test_a_dead_worker_is_named_to_all_others() -> None:
    built, job = system(LossyNetwork(1), terms(3, timeout=16.0))
    job.starts = (0.0, 1e9, 0.0)
    built.add(job)
    built.advance(5000.0)
    for number in (0, 2):
        ended = job.workers[number].ended
        assert ended is not None
        assert str(ended) == (
            "job 0 ended: no progress at sequence number 0, which waits for worker 1"
        )
    assert job.server.ended == job.workers[0].ended


def test_a_worker_that_dies_before_saying_bye_is_named() -> None:
    server = Server(terms(2))
    bye = Packet(PacketKind.BYE, 0, EPOCH, 4, worker=0, base=4).to_bytes()
    assert server.receive(bye, 0.0) == []
    assert server.deadline == 500.0
    out = parsed(server.poll(500.0))
    assert [(packet.kind, packet.worker, packet.destinations) for packet in out] == [
        (PacketKind.BYE_ACK, 0, 0b10),
        (PacketKind.BYE_ACK, 1, 0b10),
    ]
    assert server.deadline is None
    # Whoever missed it is told again.
    assert kinds(server.receive(contribution(1, 0, 1), 600.0)) == ["BYE_ACK"]


def test_a_silent_server_is_noticed_by_the_worker() -> None:
    worker = ready(Worker(terms(), 0), 1)
    now = 0.0
    worker.poll(now)
    while worker.ended is None:
        now = worker.deadline or 0.0
        worker.poll(now)
    assert "nothing heard from the server" in str(worker.ended)
    assert 1000.0 <= now < 1100.0
    assert worker.deadline is None
    assert worker.poll(now + 1) == []


def test_lost_goodbyes_are_said_again() -> None:
    network = LossyNetwork(1)
    built, job = system(network, terms(2, timeout=16.0), packets=1)
    dropped = []

    def tap(now: float, hop: object, packet: Packet) -> None:
        if packet.kind is PacketKind.BYE_ACK and len(dropped) < 4:
            dropped.append(now)
            network._fates = iter([Fate.LOST])

    built._tap = tap
    built.add(job)
    built.run(5000.0)
    assert len(dropped) == 4
    assert all(worker.finished for worker in job.workers)


def test_jobs_that_do_not_end_are_named() -> None:
    built, job = system(LossyNetwork(1, loss=1.0), terms(2, dead=1e9))
    built.add(job)
    with pytest.raises(Stuck, match="after 300 units of time these jobs are not over: 0"):
        built.run(300.0)
    with pytest.raises(ValueError, match="Job 0 is running"):
        built.add(job)
    with pytest.raises(ValueError, match="its epoch must change from 3"):
        built.replace(job)


def test_a_network_of_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Loss is a share from 0 to 1, not 1\.5"):
        LossyNetwork(loss=1.5)
    with pytest.raises(ValueError, match="together are at most 1"):
        LossyNetwork(loss=0.5, duplication=0.4, reorder=0.2)

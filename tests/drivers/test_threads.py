"""Threads that share a driver, and drivers that share a board: every answer is its own call's."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from benchmarks.driver_overhead import instant_thc, instant_vision
from drivers.board import Board
from drivers.errors import DriverClosed
from drivers.overlay import DriverReplaced
from drivers.real.pynq_ip import DRIVERS
from drivers.simulated.thc import thc_board
from drivers.simulated.vision import vision_board
from drivers.switch import Switch
from drivers.thc import ThcAggregator, ThcEncoder
from drivers.vision import VisionEngine
from eyas.compiler import compile_graph
from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.packet import Packet, PacketKind
from eyas.interfaces.thc.formats import LookupTable, pack
from eyas.interfaces.vision.config import SMALL_VISION
from tests.drivers.golden_board import GoldenBoard
from tests.small_network import small_network

SEED = 405
THREADS = 4
LIMIT_S = 120
TABLE = LookupTable(range(16))
SWITCH = SwitchConfig(slots=16, slot_bytes=64, jobs=8, ingress_beats=64, egress_rows=16)
UNITS = [*DRIVERS.values(), ThcEncoder]
FREE = {"program", "jobs"}
"""Properties that tell what the driver remembers."""


@pytest.fixture(autouse=True)
def hurried() -> Iterator[None]:
    """Threads take turns every few instructions: what can meet does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(*actions: Callable[[], None]) -> None:
    """Run each action in a thread of its own; raise what the first of them met."""
    met: list[BaseException] = []
    start = threading.Barrier(len(actions))

    def run(action: Callable[[], None]) -> None:
        try:
            start.wait(LIMIT_S)
            action()
        except BaseException as error:
            met.append(error)

    threads = [threading.Thread(target=run, args=(action,), daemon=True) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
        assert not thread.is_alive(), "a thread hangs"
    if met:
        raise met[0]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.__name__)
def test_every_public_method_of_a_driver_holds_the_boards_lock(unit: type) -> None:
    found = set()
    for name, member in inspect.getmembers(unit):
        function = member.fget if isinstance(member, property) else member
        if name.startswith("_") or name in FREE or not inspect.isfunction(function):
            continue
        found.add(name)
        assert hasattr(function, "__wrapped__"), f"{unit.__name__}.{name} takes no lock"
    assert {"close", "counters"} <= found


def test_pictures_of_many_threads() -> None:
    print(f"seed {SEED}")
    program = compile_graph(small_network(np.random.default_rng(SEED)), SMALL_VISION)
    shape = program.manifest.input.shape
    pictures = np.random.default_rng(SEED).integers(-128, 128, (THREADS, 3, *shape)).astype(np.int8)
    with vision_board(SMALL_VISION) as board, VisionEngine(board) as engine:
        engine.load(program)
        expected = [engine.infer(part).logits for part in pictures]

        def infer(number: int) -> None:
            for _ in range(5):
                found = engine.infer(pictures[number]).logits
                np.testing.assert_array_equal(found, expected[number])
                assert engine.counters()["jobs_done"] > 0

        at_once(*[lambda number=number: infer(number) for number in range(THREADS)])


def test_two_programs_of_two_threads() -> None:
    """What belongs together stands under the board's lock."""
    networks = [small_network(np.random.default_rng(SEED + number)) for number in range(2)]
    programs = [compile_graph(network, SMALL_VISION) for network in networks]
    shape = programs[0].manifest.input.shape
    with vision_board(SMALL_VISION) as board, VisionEngine(board) as engine:

        def run(program) -> None:
            for _ in range(10):
                with board.lock:
                    engine.load(program)
                    engine.infer(np.zeros((1, *shape), np.int8))
                    assert engine.program is program

        at_once(*[lambda program=program: run(program) for program in programs])


def test_aggregators_and_an_encoder_on_one_board() -> None:
    print(f"seed {SEED}")
    random = np.random.default_rng(SEED)
    with (
        thc_board() as board,
        ThcAggregator(board) as first,
        ThcAggregator(board) as second,
        ThcEncoder(board) as encoder,
    ):
        units = [first, second]
        for job, unit in enumerate(units):
            unit.open(TABLE, 4, job=job)
        indices = random.integers(0, 16, (2, 4, 512))
        packed = [np.stack([pack(row, 4) for row in part]) for part in indices]
        words = random.integers(-3000, 3000, (2, 1024)).astype(np.int16)
        factors = np.array([70, 900])
        seeds = {"seed": 1, "step": 2, "worker": 3}
        expected = encoder.encode(words, factors, TABLE, **seeds)

        def add(job: int) -> None:
            for _ in range(10):
                sums = units[job].aggregate(packed[job], 512, job=job)
                np.testing.assert_array_equal(sums, indices[job].sum(0))

        def encode() -> None:
            for _ in range(10):
                found = encoder.encode(words, factors, TABLE, **seeds)
                np.testing.assert_array_equal(found, expected)

        at_once(lambda: add(0), lambda: add(1), lambda: add(0), encode)


def frames(job: int, seq: int) -> list[bytes]:
    return [
        Packet(
            PacketKind.DATA, job, 0, seq, worker, priority=100, bitmap=1 << worker, count=1,
            coordinates=64, payload=pack(np.full(64, job + 1), 4).tobytes(),
        ).to_bytes()
        for worker in range(2)
    ]  # fmt: skip


def test_jobs_of_many_threads_on_one_switch() -> None:
    with Switch(GoldenBoard(SWITCH, pace=1), ring_entries=16) as switch:
        for job in range(THREADS):
            switch.configure(job, 2, table=TABLE)

        def exchange(job: int) -> None:
            for seq in range(10):
                (data,) = switch.exchange(frames(job, seq))
                packet = Packet.from_bytes(data)
                assert (packet.kind, packet.job, packet.seq) == (PacketKind.RESULT, job, seq)
                assert packet.sums().tolist() == [2 * (job + 1)] * 64
                switch.outcomes(job)

        at_once(*[lambda job=job: exchange(job) for job in range(THREADS)])


def test_one_thread_posts_and_another_reaps() -> None:
    count = 30
    got: list[bytes] = []
    with Switch(GoldenBoard(SWITCH, pace=1), ring_entries=64) as switch:
        switch.configure(0, 2, table=TABLE)

        def post() -> None:
            for seq in range(count):
                while switch.room < 2:
                    pass
                switch.post(frames(0, seq))

        def reap() -> None:
            while len(got) < count:
                switch.wait()
                got.extend(switch.reap())

        at_once(post, reap)
    assert [Packet.from_bytes(data).seq for data in got] == list(range(count))


@pytest.mark.parametrize(
    ("make", "unit", "name"),
    [
        (instant_vision, VisionEngine, "vision"),
        (lambda: GoldenBoard(SWITCH), Switch, "switch"),
    ],
    ids=["vision", "switch"],
)
def test_a_second_driver_of_a_board_takes_the_place_of_the_first(
    make: Callable[[], Board], unit: type, name: str
) -> None:
    with make() as board, unit(board) as first:
        with unit(board) as second:
            with pytest.raises(DriverReplaced, match=f"a newer {name} driver took this one's pl"):
                first.counters()
            first.close()
            assert second.counters()
        with pytest.raises(DriverClosed, match=f"the {name} driver is closed; make a new one"):
            second.counters()
        with unit(board) as third:
            assert third.counters()


def test_a_driver_of_another_board_is_left_alone() -> None:
    with VisionEngine(instant_vision()) as first, VisionEngine(instant_vision()):
        assert first.counters()


@pytest.mark.parametrize("close", ["driver", "board"])
def test_closing_waits_for_the_call_of_another_thread(
    close: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = instant_thc()
    unit = ThcAggregator(board)
    unit.open(TABLE, 4)
    inside, go_on = threading.Event(), threading.Event()
    wait = board._wait_interrupt
    events: list[str] = []

    def slow(timeout_s: float, waiting_for: str) -> None:
        inside.set()
        assert go_on.wait(LIMIT_S)
        wait(timeout_s, waiting_for)
        events.append("aggregated")  # still inside the call

    monkeypatch.setattr(board, "_wait_interrupt", slow)

    def aggregate() -> None:
        unit.aggregate(np.zeros((4, 8), np.uint8), 16)

    def end() -> None:
        assert inside.wait(LIMIT_S)
        threading.Timer(0.05, go_on.set).start()
        (unit if close == "driver" else board).close()
        events.append("closed")

    at_once(aggregate, end)
    assert events == ["aggregated", "closed"]


def test_of_two_drivers_made_at_once_one_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The board passes from the one to the other whole: exactly one of them stays open."""
    board, made = instant_vision(), []
    start = threading.Barrier(2)
    take = VisionEngine._take_the_board

    def slow(self) -> None:
        assert board.lock._is_owned()
        take(self)

    monkeypatch.setattr(VisionEngine, "_take_the_board", slow)

    def make() -> None:
        start.wait(LIMIT_S)
        made.append(VisionEngine(board))

    at_once(make, make)
    assert sorted(engine._closed for engine in made) == [False, True]

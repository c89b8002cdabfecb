"""The switch overlay at its registers and rings: whole payloads, refusals, faults, rates."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from cocotb_tests.switch.traffic import Traffic
from drivers.simulated.board import SimulatedBoard
from drivers.simulated.memory import INFINITE, PYNQ_Z2
from drivers.simulated.switch import switch_board
from drivers.switch.switch import Switch, SwitchError
from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.packet import Lanes, Packet, PacketKind
from eyas.interfaces.switch.registers import SwitchCode, SwitchPlace
from eyas.interfaces.switch.states import Outcome, Policy
from hdl.overlays.switch import SwitchOverlay
from hdl.switch.ingress.parser import IngressParser
from models.switch.golden import GoldenSwitch
from models.switch.records import JobEntry

pytestmark = pytest.mark.slow

SEED = 20250117
CONFIG = SwitchConfig(slots=8, jobs=8, ingress_beats=512, egress_rows=128)
ENTRIES = 16


@pytest.fixture(scope="module")
def shared_board() -> Iterator[SimulatedBoard]:
    with switch_board(CONFIG, memory=INFINITE) as board:
        yield board


@pytest.fixture
def board(shared_board) -> Iterator[SimulatedBoard]:
    yield shared_board
    shared_board.clear_faults()
    shared_board.set_memory(INFINITE)


@pytest.fixture
def switch(board) -> Iterator[Switch]:
    with Switch(board, ring_entries=ENTRIES) as switch:
        yield switch


def command(switch: Switch, job: int, entry: JobEntry, **action: int) -> SwitchCode:
    """Give a job command past the driver's rules; return its code."""
    switch._write("job_select", job=job)
    switch._write("job_setup", workers=entry.workers, needed=entry.needed, epoch=entry.epoch,
                  lanes=entry.lanes)  # fmt: skip
    switch._write("job_partition", base=entry.base, mask=entry.size - 1)
    for i in range(4):
        part = entry.table[4 * i : 4 * i + 4]
        switch._write(f"table{i}", **{f"entry{4 * i + j}": part[j] for j in range(4)})
    switch._write("job_command", **action)
    for _ in range(10_000):
        status = switch._read("job_status")
        if not status["busy"]:
            return SwitchCode(status["code"])
        switch._pull()
    raise AssertionError("the command does not end")


def query(seq: int = 0, job: int = 0) -> bytes:
    """The shortest packet; it goes on unchanged."""
    return Packet(PacketKind.QUERY, job, 0, seq).to_bytes()


def enable(switch: Switch, job: int = 0, **fields) -> None:
    assert command(switch, job, JobEntry(**fields), enable=1) == SwitchCode.NONE


@pytest.mark.parametrize("component", [IngressParser, SwitchOverlay])
def test_components_take_a_configuration(component):
    with pytest.raises(TypeError, match="Config must be a SwitchConfig, not 64"):
        component(64)


@pytest.mark.parametrize("memory", [INFINITE, PYNQ_Z2], ids=["fast", "pynq"])
@pytest.mark.parametrize("policy", Policy, ids=lambda policy: policy.name)
def test_random_traffic_is_what_the_golden_switch_makes_of_it(board, policy, memory):
    """Packets to the last byte, outcomes and faults, in a ring that wraps; then a flush."""
    print(f"seed {SEED}")
    board.set_memory(memory)
    rng = random.Random(f"{SEED} {policy}")
    for _ in range(2):
        traffic = Traffic(CONFIG, rng, policy)
        settings = traffic.settings
        model = GoldenSwitch(CONFIG, settings)
        with Switch(board, ring_entries=ENTRIES) as switch:
            switch._write("policy", policy=policy, slots_log2=settings.slots_log2,
                          decay_after=settings.decay_after, age_limit=0)  # fmt: skip
            switch._write("scan", salt=settings.salt)
            for job, entry in traffic.jobs.items():
                model.configure(job, entry)
                if entry.enabled:
                    enable(switch, job, **vars(entry))
            frames = [traffic.frame() for _ in range(120)]
            expected = [packet for frame in frames for packet in model.receive(frame)]
            assert switch.exchange(frames) == expected
            for job in range(CONFIG.jobs):
                seen = switch.outcomes(job)
                assert seen == {outcome: model.counters[job, outcome] for outcome in seen}
            assert sum(switch.faults().values()) == sum(model.faults.values())
            job, entry = next(iter(traffic.jobs.items()))
            if entry.enabled:
                assert command(switch, job, entry, disable=1) == SwitchCode.NONE
            assert command(switch, job, entry, flush=1) == SwitchCode.NONE
            left = [*switch.reap(), *switch.exchange([])]
            assert sorted(left) == sorted(model.flush(job))


def test_job_commands_are_judged(switch):
    good = JobEntry(workers=32, needed=32)
    for entry, code in (
        (JobEntry(workers=0), SwitchCode.WRONG_WORKERS),
        (JobEntry(workers=33), SwitchCode.WRONG_WORKERS),
        (JobEntry(workers=4, needed=0), SwitchCode.WRONG_QUORUM),
        (JobEntry(workers=4, needed=5), SwitchCode.WRONG_QUORUM),
        (JobEntry(lanes=3), SwitchCode.WRONG_LANES),
    ):
        assert command(switch, 1, entry, enable=1) == code
        assert switch._read("jobs_enabled")["enabled"] == 0
    for job in (8, 40, 255):
        assert command(switch, job, good, enable=1) == SwitchCode.WRONG_JOB
        assert command(switch, job, good, flush=1) == SwitchCode.WRONG_JOB
    assert command(switch, 7, good, disable=1) == SwitchCode.JOB_DISABLED
    assert command(switch, 7, good, flush=1) == SwitchCode.NONE
    assert command(switch, 7, good, enable=1) == SwitchCode.NONE
    assert command(switch, 7, good, enable=1) == SwitchCode.JOB_ENABLED
    assert command(switch, 7, good, flush=1) == SwitchCode.JOB_ENABLED
    assert switch._read("jobs_enabled")["enabled"] == 1 << 7
    switch._write("job_select", job=2)
    switch._write("job_command", flush=1)
    switch._write("job_command", flush=1)
    assert switch._read("job_status") == {"busy": 1, "code": SwitchCode.JOB_BUSY}
    switch.board.run(200)
    assert switch._read("job_status") == {"busy": 0, "code": SwitchCode.JOB_BUSY}
    assert switch.exchange([query(job=7)]) == [query(job=7)]


def start_error(switch: Switch) -> SwitchCode:
    switch._write("control", start=1)
    code = switch._read("error")["code"]
    assert switch._read("interrupt_status")["error"] == (code != 0)
    switch._write("control", clear_error=1)
    switch._write("interrupt_status", error=1)
    return SwitchCode(code)


def test_a_start_is_judged(switch):
    """Rings that stand badly or run already; a right start afterwards."""
    enable(switch)
    assert switch.exchange([query(1), query(2)]) == [query(1), query(2)]
    assert start_error(switch) == SwitchCode.RINGS_RUNNING
    assert switch.exchange([query(3)]) == [query(3)]
    switch._write("control", stop=1)
    assert switch._read("status")["running"] == 0
    for name in ("ingress_base", "egress_base", "window_base"):
        right = switch._read(name)["address"]
        switch._write(name, address=right + 4)
        assert start_error(switch) == SwitchCode.RING_MISALIGNED, name
        switch._write(name, address=right)
    for sizes in ((1, 4), (4, 1), (13, 4), (4, 13)):
        switch._write("ring_sizes", ingress_log2=sizes[0], egress_log2=sizes[1])
        assert start_error(switch) == SwitchCode.RING_SIZE, sizes
    assert switch._read("status")["running"] == 0
    switch._write("ring_sizes", ingress_log2=4, egress_log2=4)
    assert start_error(switch) == SwitchCode.NONE
    switch._posted = switch._consumed = switch._reaped = 0
    assert switch._read("ingress") == {"consumer": 0, "producer": 0}
    assert switch._read("egress") == {"consumer": 0, "producer": 0}
    assert switch.exchange([query(4)]) == [query(4)]


def test_indices_beyond_their_ring_are_refused(switch):
    enable(switch)
    switch._write("ingress_doorbell", producer=ENTRIES + 1)
    with pytest.raises(SwitchError, match="RING_OVERRUN") as caught:
        switch.check()
    assert (caught.value.place, caught.value.index) == (SwitchPlace.RINGS, ENTRIES + 1)
    switch._write("egress_acknowledge", consumer=1)
    with pytest.raises(SwitchError, match="RING_OVERRUN") as caught:
        switch.check()
    assert (caught.value.place, caught.value.index) == (SwitchPlace.RINGS, 1)
    assert switch.counters()["errors"] == 2
    assert switch.exchange([query(5)]) == [query(5)]


def test_a_doorbell_never_goes_back(switch):
    enable(switch)
    switch._write("control", stop=1)
    switch._write("ingress_doorbell", producer=10)
    switch.check()
    switch._write("ingress_doorbell", producer=8)
    with pytest.raises(SwitchError, match="RING_OVERRUN") as caught:
        switch.check()
    assert (caught.value.place, caught.value.index) == (SwitchPlace.RINGS, 8)
    assert switch._read("ingress") == {"consumer": 0, "producer": 10}


def post(switch: Switch, *descriptors: tuple[int, int]) -> None:
    """Post descriptors (address, size) of whatever kind."""
    rings = switch._rings
    for address, size in descriptors:
        rings.descriptors.array[switch._posted % ENTRIES] = address | size << 32
        switch._posted += 1
    rings.descriptors.flush()
    switch._write("ingress_doorbell", producer=switch._posted)
    switch.board.run(2000)


def test_descriptors_are_judged(switch):
    """Each rule at its edges; frames between the bad ones come through; all are counted."""
    enable(switch)
    rings = switch._rings
    first, end = rings.frames.address, rings.frames.address + rings.frames.nbytes
    frame = query(7)
    flat = rings.frames.array.reshape(-1)
    for place in (0, rings.frames.nbytes - 32):
        flat[place : place + 32] = memoryview(frame)
    rings.frames.flush()
    bad = (
        (first + 4, 32, SwitchCode.MISALIGNED),
        (first, 0, SwitchCode.WRONG_SIZE),
        (first, 1089, SwitchCode.WRONG_SIZE),
        (first - 8, 32, SwitchCode.DESCRIPTOR_OUTSIDE),
        (end - 24, 32, SwitchCode.DESCRIPTOR_OUTSIDE),
        (end - 32, 33, SwitchCode.DESCRIPTOR_OUTSIDE),
        (0xFFFF_FFF8, 1088, SwitchCode.DESCRIPTOR_OUTSIDE),
        (0, 32, SwitchCode.DESCRIPTOR_OUTSIDE),
    )
    for number, (address, size, code) in enumerate(bad):
        index = switch._posted
        post(switch, (address, size), (first, 32) if number % 2 else (end - 32, 32))
        error = switch._read("error")
        assert error == {"code": code, "place": SwitchPlace.DESCRIPTORS, "index": index}
        assert switch._read("error_address")["address"] == address
        switch._write("control", clear_error=1)
        assert switch.reap() == [frame]
    for address, size, _ in bad[:3]:
        post(switch, (address, size))
    assert switch._read("error")["index"] == switch._posted - 3, "not the first"
    counters = switch.counters()
    assert (counters["errors"], counters["packets_lost"]) == (len(bad) + 3, 0)
    assert counters["frames_in"] == len(bad)
    assert switch._read("ingress")["consumer"] == switch._posted


@pytest.mark.parametrize("decode", [False, True], ids=["slverr", "decerr"])
def test_bus_errors_are_named_and_the_rings_go_on(board, switch, decode):
    code = SwitchCode.BUS_DECODE if decode else SwitchCode.BUS_SLAVE
    enable(switch)
    rings = switch._rings
    long = Packet(PacketKind.ANSWER, 0, 0, 9, bitmap=1, count=1, coordinates=1024,
                  payload=bytes(1024)).to_bytes()  # fmt: skip
    stride = rings.frames.array.shape[1]

    def met(place: SwitchPlace, index: int, address: int) -> None:
        error = switch._read("error")
        assert error == {"code": code, "place": place, "index": index}
        assert switch._read("error_address")["address"] == address
        switch._write("control", clear_error=1)
        board.clear_faults()

    # A frame: in its header, within, in its last beat.
    for number, offset in enumerate((8, 512, 1048)):
        index = switch._posted % ENTRIES
        address = rings.frames.address + index * stride
        board.inject_read_error(address + offset, 8, decode=decode)
        switch.post([long, query(number)])
        board.run(3000)
        met(SwitchPlace.FRAMES, index, address)
        assert switch.reap() == [query(number)]
    assert switch.counters()["packets_lost"] == 3
    # A descriptor.
    index = switch._posted % ENTRIES
    board.inject_read_error(rings.descriptors.address + 8 * index, 8, decode=decode)
    switch.post([long])
    board.run(3000)
    error = switch._read("error")
    assert (error["code"], error["place"]) == (code, SwitchPlace.DESCRIPTORS)
    switch._write("control", clear_error=1)
    board.clear_faults()
    assert switch.exchange([query(20)]) == [query(20)]
    # A packet.
    index = switch._reaped % ENTRIES
    address = rings.packets.address + index * rings.packets.array.shape[1]
    board.inject_write_error(address, 8, decode=decode)
    switch.post([query(21)])
    board.run(3000)
    met(SwitchPlace.PACKETS, index, address)
    switch._reaped = switch._read("egress")["producer"]
    switch._write("egress_acknowledge", consumer=switch._reaped)
    assert switch.exchange([long, query(22)]) == [long, query(22)]
    assert switch.counters()["packets_lost"] == 5
    assert switch._read("status")["idle"] == 1


def test_moderation_counts_packets_and_cycles(board, switch):
    enable(switch)
    switch._write("moderation", count=4, cycles=100_000)
    switch._write("interrupt_enable", packets=1)
    switch._write("interrupt_status", packets=1, drained=1, error=1)
    switch.post([query(seq) for seq in range(3)])
    board.run(3000)
    assert switch._read("interrupt_status") == {"packets": 0, "drained": 1, "error": 0}
    switch.post([query(3)])
    board.wait_interrupt(1e-4, "the fourth packet")
    switch._write("interrupt_status", packets=1)
    board.run(10)
    assert switch._read("interrupt_status")["packets"] == 1, "they still wait"
    assert len(switch.reap()) == 4
    switch._write("interrupt_status", packets=1)
    board.run(20)
    assert switch._read("interrupt_status")["packets"] == 0
    # One packet is enough after a while.
    switch._write("moderation", count=4, cycles=5000)
    before = board.cycles
    switch.post([query(9)])
    board.wait_interrupt(1e-3, "the packet's time")
    assert 5000 < board.cycles - before < 5400
    assert switch.reap() == [query(9)]


@pytest.mark.parametrize("memory", [INFINITE, PYNQ_Z2], ids=["fast", "pynq"])
def test_drained_comes_behind_the_last_packet(board, switch, memory):
    """The packets' own interrupt would take much longer; none is ever forgotten."""
    board.set_memory(memory)
    enable(switch)
    switch.set_moderation(ENTRIES, 1_000_000)
    for seq in range(16):
        before = board.cycles
        switch.post([query(seq)])
        switch.wait()
        assert switch._read("egress")["producer"] == seq + 1
        assert switch._read("status")["idle"] == 1
        assert switch.reap() == [query(seq)]
        assert board.cycles - before < 2000


def test_nothing_is_written_behind_an_abort(board):
    """A look that finds a slot too old must not write to memory that was given back."""
    with Switch(board, ring_entries=ENTRIES) as switch:
        switch.set_policy(Policy.ESA, age_limit=2, scan_period=100)
        enable(switch, workers=2, needed=2)
        assert switch.exchange([contribution(0, 0, Lanes.UINT8)]) == []
    written = board.write_beats
    board.run(20_000)
    assert board.write_beats == written
    with Switch(board, ring_entries=ENTRIES) as switch:
        enable(switch)
        assert switch.exchange([query(3)]) == [query(3)]


def test_stop_and_abort(board, switch):
    """A stop takes no more frames; an abort throws away what cannot leave."""
    enable(switch)
    switch._write("control", stop=1)
    switch.post([query(1)])
    board.run(1000)
    assert switch._read("ingress")["consumer"] == 0
    switch.reset()
    enable(switch)
    for _ in range(3):  # the egress ring is full, and more waits inside
        switch.post([query(seq) for seq in range(ENTRIES)])
        board.run(3000)
    assert switch._read("status") == {"idle": 0, "running": 1, "full": 1, "clearing": 0}
    assert switch._read("egress")["producer"] == ENTRIES
    switch._write("control", abort=1)
    board.run(3000)
    assert switch._read("status") == {"idle": 1, "running": 0, "full": 0, "clearing": 0}
    assert switch._read("egress")["producer"] == ENTRIES
    assert start_error(switch) == SwitchCode.NONE
    switch._posted = switch._consumed = switch._reaped = 0
    switch._held.clear()
    assert switch.exchange([query(2)]) == [query(2)]


def test_a_reset_in_the_midst_leaves_nothing_behind(board, switch):
    rng = random.Random(SEED)
    traffic = Traffic(CONFIG, rng, Policy.ALWAYS)
    for cycles in (30, 100, 177, 400):
        switch.reset()
        enable(switch, workers=3, needed=3, lanes=Lanes.UINT16)
        switch.post([traffic.frame() for _ in range(ENTRIES)])
        board.run(cycles)
        switch.reset()
        assert switch._read("status")["idle"] == 1
        enable(switch)
        assert switch.exchange([query(cycles)]) == [query(cycles)]
        assert switch.outcomes(0)[Outcome.FORWARDED] == 1


def test_indices_wrap(board):
    """More frames than an index of 16 bits counts."""
    batch = [query(seq) for seq in range(2048)]
    with Switch(board, ring_entries=2048) as switch:
        enable(switch)
        switch.set_moderation(2048, 100_000)
        for _ in range(33):
            assert switch.exchange(batch) == batch
        assert switch.counters()["packets_out"] == 33 * 2048
        assert switch._read("ingress")["consumer"] == 33 * 2048 & 0xFFFF


def contribution(seq: int, worker: int, lanes: Lanes, priority: int = 1) -> bytes:
    coordinates = lanes.coordinates
    size = 4 * coordinates if lanes is Lanes.INT32 else coordinates // 2
    return Packet(PacketKind.DATA, 0, 0, seq, worker, priority=priority, lanes=lanes,
                  bitmap=1 << worker, count=1, coordinates=coordinates,
                  payload=bytes(size)).to_bytes()  # fmt: skip


@pytest.mark.parametrize(
    ("workers", "lanes", "policy"),
    [
        (2, Lanes.UINT8, Policy.ESA),
        (2, Lanes.UINT16, Policy.ESA),
        (8, Lanes.UINT16, Policy.ESA),
        (2, Lanes.INT32, Policy.ESA),
        (4, Lanes.UINT8, Policy.ALWAYS),
    ],
)
def test_beats_taken_are_what_the_port_allows(board, workers, lanes, policy):
    """With a memory of a beat a cycle each way: at least 0.99 of min(1, beats in / beats out)."""
    count, swaps = 1024, policy is Policy.ALWAYS
    with Switch(board, ring_entries=count) as switch:
        switch.set_policy(policy)
        enable(switch, workers=workers, needed=workers, lanes=lanes)
        frames = [
            contribution(number if swaps else number // workers, number % workers, lanes)
            for number in range(count)
        ]
        if swaps:
            switch._write("policy", policy=policy, slots_log2=0)
        packets = switch.exchange(frames)
        counters = switch.counters()
    beats_out = sum(len(packet) // 8 for packet in packets)
    bound = min(1, sum(len(frame) // 8 for frame in frames) / beats_out)
    taken = counters["taken_beats"] / counters["offered_beats"]
    print(f"{workers} workers, {lanes.name}, {policy.name}: {taken:.4f} of {bound:.4f}")
    assert 0.99 * bound <= taken <= bound + 0.03  # a little stays within
    assert counters["taken_beats"] == sum(len(frame) // 8 for frame in frames)

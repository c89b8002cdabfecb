"""The switch's driver on the Verilated overlay: the same tests as on the played board, and more."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.errors import BoardTimeout, InterruptLost
from drivers.simulated.memory import INFINITE, PYNQ_Z2
from drivers.simulated.switch import switch_board
from drivers.switch import Switch
from eyas.interfaces.switch.packet import Lanes, Packet, PacketFault, PacketKind
from eyas.interfaces.switch.states import Outcome, Policy
from models.switch.golden import GoldenSwitch, SwitchSettings
from models.switch.records import JobEntry
from tests.drivers.test_switch_driver import (
    CONFIG,
    SEED,
    TABLE,
    data,
    test_a_bad_descriptor_is_an_error_and_the_switch_goes_on,
    test_a_bus_error_is_named_and_the_switch_goes_on,
    test_a_job_is_not_enabled_twice,
    test_a_packet_that_could_not_be_written_is_lost,
    test_a_sum_comes_back,
    test_an_index_beyond_the_ring_is_refused_by_the_hardware,
    test_epochs_wrap_and_survive_a_reset,
    test_the_hardware_refuses_a_misaligned_ring,
    test_what_a_packet_is_padded_with_does_not_come_out,
)

__all__ = [  # collected here as well, with this file's board
    "test_a_bad_descriptor_is_an_error_and_the_switch_goes_on",
    "test_a_bus_error_is_named_and_the_switch_goes_on",
    "test_a_job_is_not_enabled_twice",
    "test_a_packet_that_could_not_be_written_is_lost",
    "test_a_sum_comes_back",
    "test_an_index_beyond_the_ring_is_refused_by_the_hardware",
    "test_epochs_wrap_and_survive_a_reset",
    "test_the_hardware_refuses_a_misaligned_ring",
    "test_what_a_packet_is_padded_with_does_not_come_out",
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared_board():
    with switch_board(CONFIG, memory=INFINITE, caches=True) as board:
        yield board


@pytest.fixture
def board(shared_board):
    shared_board.set_memory(INFINITE)
    yield shared_board
    shared_board.clear_faults()


@pytest.fixture
def switch(board):
    with Switch(board, ring_entries=16) as switch:
        yield switch


def random_frames(random, jobs, count):
    """Contributions, repeats and what the server sends, some of them damaged."""
    frames = []
    for _ in range(count):
        job = int(random.integers(len(jobs) + 1))
        lanes = jobs[job].lanes if job < len(jobs) else Lanes.UINT8
        kind = PacketKind(int(random.choice([1, 1, 1, 1, 1, 1, 2, 4, 5, 6, 8])))
        seq, worker = (int(value) for value in random.integers((12, 4)))
        epoch = int(random.random() < 0.05)
        most = CONFIG.slot_bytes // lanes.dtype.itemsize
        coordinates = most if random.random() < 0.7 else int(random.integers(1, most + 1))
        fields = {"priority": int(random.integers(1, 256)), "lanes": lanes}
        if kind in (PacketKind.DATA, PacketKind.RESEND):
            size = coordinates * 4 if lanes is Lanes.INT32 else -(-coordinates // 2)
            fields |= {"bitmap": 1 << worker, "count": 1, "coordinates": coordinates}
            fields |= {"payload": random.bytes(size), "base": seq}
        elif kind is PacketKind.RESULT:
            payload = random.bytes(coordinates * lanes.dtype.itemsize)
            fields |= {"bitmap": 7, "count": 3, "coordinates": coordinates, "payload": payload}
            fields |= {"from_server": 1, "destinations": 7}
        frame = bytearray(Packet(kind, job, epoch, seq, worker, **fields).to_bytes())
        if random.random() < 0.05:
            frame[random.integers(len(frame))] ^= 1 << int(random.integers(8))
        if random.random() < 0.05:
            del frame[random.integers(1, len(frame)) :]
        frames.append(bytes(frame) + bytes(int(random.integers(9))))
    return frames


@pytest.mark.parametrize("memory", [INFINITE, PYNQ_Z2], ids=["infinite", "pynq_z2"])
@pytest.mark.parametrize("policy", Policy, ids=lambda policy: policy.name)
def test_the_overlay_is_the_golden_switch(board, policy, memory):
    """Packet for packet and count for count, in rings that wrap."""
    print(f"seed {SEED}")
    random = np.random.default_rng([SEED, policy])
    board.set_memory(memory)
    settings = SwitchSettings(policy, decay_after=2, slots_log2=2, salt=5)
    model = GoldenSwitch(CONFIG, settings)
    entries = [
        JobEntry(True, 0, 3, 3, Lanes.UINT8, TABLE.entries, 0, 4),
        JobEntry(True, 0, 4, 4, Lanes.UINT16, TABLE.entries, 4, 2),
        JobEntry(True, 0, 2, 2, Lanes.INT32, (0,) * 16, 8, 8),
    ]
    if policy is not Policy.SWITCHML:
        entries[1] = JobEntry(True, 0, 4, 2, Lanes.UINT16, TABLE.entries)
    with Switch(board, ring_entries=32) as switch:
        switch.set_policy(policy, decay_after=2, slots=4, salt=5)
        switch.set_moderation(4, 300)
        for job, entry in enumerate(entries):
            model.configure(job, entry)
            switch.configure(
                job, entry.workers, lanes=entry.lanes,
                table=None if entry.lanes is Lanes.INT32 else TABLE,
                quorum=entry.needed if entry.needed < entry.workers else None,
                partition=(entry.base, entry.size) if policy is Policy.SWITCHML else None,
            )  # fmt: skip
        for _ in range(2):
            frames = random_frames(random, entries, 200)
            assert switch.exchange(frames) == [p for f in frames for p in model.receive(f)]
            for job in range(len(entries)):
                found = switch.outcomes(job)
                assert found == {outcome: model.counters[job, outcome] for outcome in found}
        expected = [model.faults[fault] for fault in (*PacketFault, "JOB")]
        assert list(switch.faults().values()) == expected
        model.configure(0, JobEntry())
        flushed = model.flush(0)
        switch.close_job(0)
        assert switch.reap() == flushed
        assert switch.jobs.keys() == {1, 2}


def test_a_full_egress_ring_stops_the_switch_and_loses_nothing(board):
    with Switch(board, ring_entries=4) as switch:
        switch.configure(0, 1, table=TABLE)
        posted = 0
        while posted < 40:  # until nothing moves
            if switch.room:
                switch.post([data(seq=posted)])
                posted += 1
            else:
                board.run(3000)
                if not switch.room:
                    break
        assert 8 <= posted < 40
        assert switch._read("status") == {"idle": 0, "running": 1, "full": 1, "clearing": 0}
        packets = [*switch.reap(), *switch.exchange([data(seq=99)])]
        assert [Packet.from_bytes(p).seq for p in packets] == [*range(posted), 99]


def test_slots_age_by_themselves(switch, board):
    switch.set_policy(Policy.ESA, age_limit=2, scan_period=20, slots=4)
    switch.configure(0, 3, table=TABLE)
    assert switch.exchange([data(seq=7, worker=1)]) == []
    board.run(20 * CONFIG.slots * 5)  # the scan looks at unused slots as well
    (partial,) = (Packet.from_bytes(packet) for packet in switch.reap())
    assert (partial.kind, partial.seq, partial.bitmap) == (PacketKind.PARTIAL, 7, 2)
    assert switch.outcomes(0)[Outcome.EVICTED] == 1


def test_packets_are_gathered_by_count_and_by_time(switch, board):
    switch.configure(0, 1, table=TABLE)
    status = switch._registers["interrupt_status"]
    for settings, after, gathered in (
        ((5, 50_000), 5, True),
        ((8, 2000), 5, True),
        ((8, 50_000), 5, False),
    ):
        switch.set_moderation(*settings)
        switch._write("interrupt_status", packets=1, drained=1)
        switch.post([data(seq=seq) for seq in range(after)])
        board.run(3000)
        seen = status.unpack(board.read_register(status.offset))
        assert seen == {"packets": int(gathered), "drained": 1, "error": 0}
        assert len(switch.reap()) == after


def test_waits_end(switch, board):
    switch.wait()  # nothing was posted
    switch.configure(0, 1, table=TABLE)
    board.lose_interrupts()
    board.set_memory(INFINITE.with_changes(read_latency=3000))
    switch.post([data()])
    with pytest.raises(BoardTimeout, match="packets of the switch") as caught:
        switch.wait(1e-5)
    assert not isinstance(caught.value, InterruptLost)
    with pytest.raises(InterruptLost, match="was lost"):
        switch.wait(2e-4)
    assert len(switch.reap()) == 1


def test_a_driver_leaves_with_packets_under_way(board):
    """Nothing writes to memory that was given back, and the next driver finds an empty switch."""
    board.set_memory(PYNQ_Z2)
    switch = Switch(board, ring_entries=4)
    switch.configure(0, 1, table=TABLE)
    for start in (0, 4):  # the egress ring is full, and packets wait behind it
        switch.post([data(seq=start + i) for i in range(4)])
        board.run(2000)
    switch.close()
    before = board.write_beats
    with Switch(board, ring_entries=4) as switch:
        board.run(2000)
        assert board.write_beats == before
        test_a_sum_comes_back(switch)

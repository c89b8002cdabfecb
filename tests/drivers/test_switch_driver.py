"""The switch's driver, on a board that is played: jobs, rings, refusals, errors."""

from __future__ import annotations

import numpy as np
import pytest

import eyas
from drivers.errors import BoardError, BoardTimeout, DriverClosed, InterruptLost, WrongOverlay
from drivers.switch.switch import RingFull, Switch, SwitchError
from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.packet import Lanes, Packet, PacketKind
from eyas.interfaces.switch.registers import (
    EGRESS_STRIDE,
    FAULT_COUNTERS,
    MAX_FRAME_BYTES,
    SwitchCode,
    SwitchPlace,
)
from eyas.interfaces.switch.states import Outcome, Policy
from eyas.interfaces.thc.formats import LookupTable, pack
from models.switch.golden import GoldenSwitch
from models.switch.records import JobEntry
from tests.drivers.golden_board import GoldenBoard

SEED = 20250305
CONFIG = SwitchConfig(slots=16, slot_bytes=64, jobs=8, ingress_beats=64, egress_rows=16)
TABLE = LookupTable([0, 3, 5, 7, 9, 11, 13, 14, 16, 17, 19, 21, 23, 25, 27, 30])
COORDINATES = 64


@pytest.fixture
def board():
    return GoldenBoard(CONFIG)


@pytest.fixture
def switch(board):
    with Switch(board, ring_entries=16) as switch:
        yield switch


def data(job=0, seq=0, worker=0, epoch=0, value=1, priority=100, coordinates=COORDINATES):
    """A DATA packet all of whose indices are ``value``."""
    payload = pack(np.full(coordinates, value), 4).tobytes()
    return Packet(
        PacketKind.DATA, job, epoch, seq, worker, priority=priority, bitmap=1 << worker, count=1,
        coordinates=coordinates, payload=payload,
    ).to_bytes()  # fmt: skip


def writes(board, *names):
    """Writes to the named registers since they were last asked for."""
    found = [(name, value) for kind, name, value in board.accesses
             if kind == "write" and name in names]  # fmt: skip
    board.accesses.clear()
    return found


def test_a_sum_comes_back(switch):
    assert switch.configure(3, 2, table=TABLE) == 0
    switch.post([data(3, worker=0, value=2), data(3, worker=1, value=4)])
    switch.wait()
    (packet,) = (Packet.from_bytes(data) for data in switch.reap())
    assert (packet.kind, packet.bitmap, packet.destinations) == (PacketKind.RESULT, 3, 3)
    assert packet.sums().tolist() == [5 + 9] * COORDINATES
    assert switch.reap() == []
    outcomes = switch.outcomes(3)
    assert {name for name, count in outcomes.items() if count} == {
        Outcome.CLAIMED, Outcome.COMPLETED,
    }  # fmt: skip
    assert switch.counters()["frames_in"] == 2
    assert switch.counters()["packets_out"] == 1
    assert not any(switch.faults().values())


@pytest.mark.parametrize("pace", [1, 3, 1000])
@pytest.mark.parametrize("entries", [4, 32])
def test_exchange_is_what_the_model_does(pace, entries):
    """Random frames, good and bad, through rings that wrap many times."""
    print(f"seed {SEED}")
    random = np.random.default_rng(SEED)
    model = GoldenSwitch(CONFIG)
    frames = []
    for _ in range(300):
        frame = data(*random.integers(0, (3, 6, 4)).tolist(), value=int(random.integers(16)),
                     priority=int(random.integers(1, 256)),
                     coordinates=int(random.integers(1, 65)))  # fmt: skip
        if random.random() < 0.1:
            frame = frame[: random.integers(1, len(frame))]
        frames.append(frame + bytes(int(random.integers(0, 40))))
    with Switch(GoldenBoard(CONFIG, pace=pace), ring_entries=entries) as switch:
        switch.set_moderation(3, 1000)
        for job in range(3):
            switch.configure(job, 3, table=TABLE)
            model.configure(job, JobEntry(True, 0, 3, 3, Lanes.UINT8, TABLE.entries))
        assert switch.exchange(frames) == [p for frame in frames for p in model.receive(frame)]
        for job in range(3):
            for outcome, count in switch.outcomes(job).items():
                assert count == model.counters[job, outcome]
        assert sum(switch.faults().values()) == sum(model.faults.values()) > 10
        assert list(switch.faults()) == [name.removeprefix("faults_") for name in FAULT_COUNTERS]
        switch.clear_counters()
        assert not any(switch.outcomes(0).values())
        assert not any(switch.faults().values())


def test_an_array_of_frames_is_posted_as_bytes_are():
    """Two rounds, so that the ring wraps within a batch."""
    answers = []
    for as_array in (False, True):
        with Switch(GoldenBoard(CONFIG), ring_entries=8) as switch:
            switch.configure(0, 2, table=TABLE)
            answers.append([])
            for start in (0, 3):
                frames = [data(seq=seq, worker=worker, coordinates=8 + 3 * seq)
                          for seq in range(start, start + 3) for worker in range(2)]  # fmt: skip
                sizes = [len(frame) for frame in frames]
                array = np.full((6, MAX_FRAME_BYTES + 5), 0xA5, np.uint8)
                for row, frame in zip(array, frames, strict=True):
                    row[: len(frame)] = np.frombuffer(frame, np.uint8)
                switch.post(*((array, sizes) if as_array else (frames,)))
                switch.wait()
                answers[-1] += switch.reap()
    assert answers[0] == answers[1]
    assert [Packet.from_bytes(packet).seq for packet in answers[0]] == list(range(6))


def test_a_batch_takes_few_register_accesses(switch, board):
    switch.configure(0, 1, table=TABLE)
    board.accesses.clear()
    switch.post([data(seq=seq) for seq in range(16)])
    assert len(board.accesses) == 1
    board.accesses.clear()
    assert len(switch.reap()) == 16
    assert len(board.accesses) <= 4


def test_a_job_is_stopped_flushed_and_enabled_with_its_next_epoch(switch, board):
    switch.configure(2, 3, table=TABLE)
    switch.exchange([data(2, seq=5, worker=1)])
    board.accesses.clear()
    assert switch.configure(2, 2, table=TABLE, replace=True) == 1
    commands = [value for name, value in writes(board, "job_command")]
    assert commands == [0b010, 0b100, 0b001]
    (partial,) = (Packet.from_bytes(data) for data in switch.reap())
    assert (partial.kind, partial.seq, partial.epoch) == (PacketKind.PARTIAL, 5, 0)
    assert switch.exchange([data(2, seq=5, worker=0)]) == []
    assert switch.outcomes(2)[Outcome.UNKNOWN] == 1  # of the epoch before
    assert len(switch.exchange([data(2, worker=w, epoch=1) for w in range(2)])) == 1


def test_a_flush_of_more_than_the_ring_holds():
    with Switch(GoldenBoard(CONFIG, pace=1), ring_entries=4) as switch:
        switch.configure(0, 2, table=TABLE)
        switch.exchange([data(seq=seq) for seq in range(12)])
        assert switch.outcomes(0)[Outcome.CLAIMED] == 12
        switch.close_job(0)
        partials = [Packet.from_bytes(data) for data in switch.reap()]
        assert sorted(packet.seq for packet in partials) == list(range(12))
        assert not switch.jobs


def test_epochs_wrap_and_survive_a_reset(switch):
    assert switch.configure(1, 2, lanes=Lanes.INT32, epoch=255) == 255
    switch.reset()
    assert not switch.jobs
    assert switch.configure(1, 2, lanes=Lanes.INT32) == 0


def test_settings_survive_a_reset(switch, board):
    switch.set_policy(Policy.ATP, decay_after=3, age_limit=9, scan_period=50, slots=8, salt=77)
    switch.set_moderation(5, 400)
    switch.reset()
    assert switch.policy is Policy.ATP
    settings = board.switch.settings
    assert (settings.policy, settings.decay_after, settings.age_limit) == (Policy.ATP, 3, 9)
    assert (settings.slots_log2, settings.salt) == (3, 77)
    assert board._get("moderation") == {"count": 5, "cycles": 400}
    assert board._get("scan") == {"period": 50, "salt": 77}


def test_a_full_ring_is_refused(board):
    switch = Switch(board, ring_entries=4)
    switch.configure(0, 1, table=TABLE)
    with pytest.raises(
        RingFull, match=r"ring of 4 frames has room for 4, not for 5 more; post"
    ) as e:
        switch.post([data(seq=seq) for seq in range(5)])
    assert e.value.room == 4
    assert switch.counters()["frames_in"] == 0
    # The egress ring fills, then the switch stands still, then the ingress ring fills.
    for seq in range(8):
        switch.post([data(seq=seq)])
    while switch.room:
        switch.post([data(seq=9)])
    with pytest.raises(RingFull, match="room for 0, not for 1"):
        switch.post([data(seq=9)])
    assert len(switch.reap()) == 4
    switch.wait()
    assert len(switch.exchange([])) >= 4  # nothing was lost


REFUSED_JOBS = [
    (
        {"workers": 33},
        ValueError,
        "1 to 32 workers, for each of which the bitmap has a bit, not 33",
    ),
    ({"workers": 0}, ValueError, "not 0"),
    ({"workers": 4, "quorum": 5}, ValueError, "quorum of 4 workers is 1 to 4, not 5"),
    ({"workers": 4, "quorum": 0}, ValueError, "not 0"),
    ({"epoch": 256}, ValueError, "An epoch is 0 to 255, not 256"),
    ({"table": None}, TypeError, "UINT8 lanes need a LookupTable, not None"),
    ({"lanes": Lanes.INT32}, ValueError, "leave the table out"),
    ({"workers": 9}, ValueError, "9 workers with granularity 30 sum up to 270.*use 16-bit lanes"),
    ({"table": LookupTable([0, 1, 2, 3])}, ValueError, "indices have 4 bits, the table is for 2"),
    ({"partition": (0, 4)}, ValueError, "under ESA leave partition out"),
    ({"job": 8}, ValueError, "a number from 0 to 7, not 8"),
    ({"job": -1}, ValueError, "not -1"),
]
REFUSED_UNDER_SWITCHML = [
    ({"partition": None}, ValueError, "name its partition"),
    ({"partition": (0, 3)}, ValueError, "2, 4, 8 and so on slots in all, not 3"),
    ({"partition": (0, 1)}, ValueError, "not 1"),
    ({"partition": (2, 4)}, ValueError, "starts at a multiple of 4, not at 2"),
    ({"partition": (16, 4)}, ValueError, "slots 0 to 15, the partition is 16 to 19"),
    ({"partition": (4, 8), "job": 1}, ValueError, "starts at a multiple of 8"),
    ({"partition": (8, 4), "job": 1}, ValueError, "8 to 11 overlap with job 5's, 8 to 15; choose"),
    ({"partition": (0, 16), "job": 1}, ValueError, "0 to 15 overlap with job 5's"),
    ({"quorum": 1}, ValueError, "no server that could decide a quorum"),
]


@pytest.mark.parametrize(("changes", "error", "message"), REFUSED_JOBS)
def test_a_bad_job_is_refused(switch, board, changes, error, message):
    board.accesses.clear()
    with pytest.raises(error, match=message) as caught:
        switch.configure(**{"job": 0, "workers": 2, "table": TABLE, **changes})
    assert "\n" not in str(caught.value)
    assert writes(board, "job_setup", "job_command") == []
    test_a_sum_comes_back(switch)


@pytest.mark.parametrize(("changes", "error", "message"), REFUSED_UNDER_SWITCHML)
def test_a_bad_partition_is_refused(switch, board, changes, error, message):
    switch.set_policy(Policy.SWITCHML)
    switch.configure(5, 2, table=TABLE, partition=(8, 8))
    board.accesses.clear()
    wanted = {"job": 0, "workers": 2, "table": TABLE, "partition": (0, 4), **changes}
    with pytest.raises(error, match=message):
        switch.configure(**wanted)
    assert writes(board, "job_setup", "job_command") == []
    switch.configure(0, 2, table=TABLE, partition=(0, 4))
    assert len(switch.exchange([data(5, worker=w) for w in range(2)])) == 1


def test_a_job_is_not_enabled_twice(switch):
    switch.configure(3, 4, table=TABLE)
    with pytest.raises(
        SwitchError, match="Enabling job 3 was refused with JOB_ENABLED: the job is"
    ):
        switch.configure(3, 2, table=TABLE)
    assert switch.jobs[3].workers == 4
    switch._jobs.clear()  # and by the hardware
    with pytest.raises(SwitchError, match=r"JOB_ENABLED.*disable it first") as caught:
        switch.configure(3, 2, table=TABLE)
    assert caught.value.code is SwitchCode.JOB_ENABLED
    assert caught.value.place is SwitchPlace.NONE
    switch.close_job(3)
    with pytest.raises(SwitchError, match="Disabling job 3 was refused with JOB_DISABLED"):
        switch.close_job(3)
    assert switch.configure(3, 2, table=TABLE) == 1


def test_the_epoch_before_is_refused(switch):
    switch.configure(0, 2, table=TABLE, epoch=7)
    with pytest.raises(ValueError, match=r"Epoch 7 was job 0's last.*take another one"):
        switch.configure(0, 2, table=TABLE, epoch=7, replace=True)
    assert 0 in switch.jobs


def test_the_policy_stands_while_a_job_is_enabled(switch, board):
    switch.configure(0, 2, table=TABLE)
    with pytest.raises(SwitchError, match="beside job 0 was refused with JOB_ENABLED"):
        switch.set_policy(Policy.ATP)
    assert switch.policy is Policy.ESA is board.switch.settings.policy


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy": 5}, "5 is not a valid Policy"),
        ({"slots": 12}, "power of two from 1 to 16, not 12"),
        ({"slots": 32}, "not 32"),
        ({"slots": 0}, "not 0"),
        ({"decay_after": 256}, "decay_after is 0 to 255, not 256"),
        ({"salt": -1}, "salt is 0 to 65535, not -1"),
        ({"age_limit": 3}, "age_limit and scan_period are set together, not 3 and 0"),
    ],
)
def test_a_bad_policy_is_refused(switch, board, changes, message):
    board.accesses.clear()
    with pytest.raises(ValueError, match=message):
        switch.set_policy(**{"policy": Policy.RANDOM, **changes})
    assert not board.accesses
    assert switch.policy is Policy.ESA


def test_bad_moderation_is_refused(switch):
    with pytest.raises(ValueError, match="for 1 to 16 packets, not 17"):
        switch.set_moderation(17)
    with pytest.raises(ValueError, match="delayed by 0 to 1048575 cycles, not 1048576"):
        switch.set_moderation(1, 1 << 20)


@pytest.mark.parametrize(
    ("frames", "sizes", "error", "message"),
    [
        ([b""], None, ValueError, "1 to 1088 bytes, not 0"),
        ([bytes(64), bytes(1089)], None, ValueError, "1 to 1088 bytes, not 1089"),
        (["text"], None, TypeError, "A frame is bytes, not str"),
        ([bytes(64)], [64], TypeError, "leave them out"),
        (np.zeros((2, 40), np.int8), None, TypeError, "not int8 of shape"),
        (np.zeros(40, np.uint8), None, TypeError, "uint8 of shape"),
        (np.zeros((2, 40), np.uint8), [40], ValueError, "2 frames have 2 sizes"),
        (np.zeros((2, 40), np.uint8), [40, 41], ValueError, "have up to 40 bytes, not 41"),
        (np.zeros((2, 40), np.uint8), [40, -1], ValueError, "not -1"),
        (np.zeros((2, 40), np.uint8), [40.0, 1.0], ValueError, "2 frames have 2 sizes"),
    ],
)
def test_bad_frames_are_refused(switch, board, frames, sizes, error, message):
    board.accesses.clear()
    with pytest.raises(error, match=message):
        switch.post(frames, sizes)
    assert writes(board, "ingress_doorbell") == []
    test_a_sum_comes_back(switch)


@pytest.mark.parametrize("entries", [2, 12, 8192])
def test_a_ring_of_another_size_is_refused(board, entries):
    with pytest.raises(ValueError, match=f"power of two from 4 to 4096, not {entries}"):
        Switch(board, ring_entries=entries)
    assert not board.buffers


def test_a_misaligned_ring_is_refused():
    board = GoldenBoard(CONFIG, address=0x1000_0004)
    with pytest.raises(BoardError, match="starts at a multiple of 8, not at 0x10000004"):
        Switch(board)
    assert not board.buffers


def test_the_hardware_refuses_a_misaligned_ring(switch, board):
    """What the driver would not ask for is refused a second time."""
    for name, code in (("ingress_base", SwitchCode.RING_MISALIGNED), ("ring_sizes", "RING_SIZE")):
        board.reset()
        switch._write("ring_sizes", ingress_log2=4, egress_log2=13 if name == "ring_sizes" else 4)
        switch._write("ingress_base", address=4 if name == "ingress_base" else 8)
        switch._write("control", start=1)
        with pytest.raises(SwitchError, match=str(getattr(code, "name", code))):
            switch.check()
    switch.reset()
    test_a_sum_comes_back(switch)


@pytest.mark.parametrize(
    ("word", "code", "message"),
    [
        (1088 << 32 | 0x2000_0000, SwitchCode.DESCRIPTOR_OUTSIDE, "outside the frame window"),
        (64 << 32 | 0x1000_1004, SwitchCode.MISALIGNED, "start every frame at a multiple of 8"),
        (0x1000_1000, SwitchCode.WRONG_SIZE, "size is not 1 to 1088"),
    ],
)
def test_a_bad_descriptor_is_an_error_and_the_switch_goes_on(switch, board, word, code, message):
    """The driver writes no such descriptor: the one it wrote is spoilt."""
    switch.configure(0, 1, table=TABLE)
    rings = switch._rings
    switch.exchange([data(seq=99)])
    write = rings.write

    def spoilt(first, frames, sizes):
        write(first, frames, sizes)
        rings.descriptors.array[(first + 1) % 16] = word
        rings.descriptors.flush()

    rings.write = spoilt
    with pytest.raises(SwitchError, match=message) as caught:
        switch.exchange([data(seq=seq) for seq in range(3)])
    rings.write = write
    error = caught.value
    assert (error.code, error.place, error.index) == (code, SwitchPlace.DESCRIPTORS, 2)
    assert error.address == word & 0xFFFF_FFFF
    assert [Packet.from_bytes(p).seq for p in switch.exchange([])] == [0, 2]
    assert len(switch.exchange([data(seq=3)])) == 1
    assert switch.counters()["errors"] == 1


@pytest.mark.parametrize("place", [SwitchPlace.DESCRIPTORS, SwitchPlace.FRAMES])
def test_a_bus_error_is_named_and_the_switch_goes_on(switch, board, place):
    switch.configure(0, 1, table=TABLE)
    rings = switch._rings
    bad = {
        SwitchPlace.DESCRIPTORS: rings.descriptors.address + 8,
        SwitchPlace.FRAMES: rings.frames.address + MAX_FRAME_BYTES,
    }[place]
    board.inject_read_error(bad, 8, decode=True)
    switch.post([data(seq=seq) for seq in range(3)])
    with pytest.raises(
        SwitchError, match=f"{place.name.lower()}, index 1.*BUS_DECODE: there is no"
    ):
        switch.wait()
    board.clear_faults()
    assert [Packet.from_bytes(p).seq for p in switch.exchange([])] == [0, 2]
    assert switch.counters()["packets_lost"] == 1


def test_a_packet_that_could_not_be_written_is_lost(switch, board):
    """The entry counts, and holds a packet of before: it is not taken for one."""
    switch.configure(0, 1, table=TABLE)
    switch.exchange([data(seq=100 + seq) for seq in range(16)])
    board.inject_write_error(switch._rings.packets.address + 2 * EGRESS_STRIDE, 8)
    with pytest.raises(SwitchError, match=r"packets, index 18.*BUS_SLAVE: the memory") as caught:
        switch.exchange([data(seq=seq) for seq in range(4)])
    assert caught.value.place is SwitchPlace.PACKETS
    board.clear_faults()
    found = [*switch.reap(), *switch.exchange([data(seq=4)])]
    assert [Packet.from_bytes(p).seq for p in found] == [0, 1, 3, 4]
    assert switch.counters()["packets_lost"] == 1


def test_packets_lost_behind_the_first_error_are_not_taken_for_old_ones(switch, board):
    """ERROR names one entry; others that were not written hold packets of the round before."""
    switch.configure(0, 1, table=TABLE)
    switch.exchange([data(seq=100 + seq) for seq in range(16)])
    for entry in (2, 3):
        board.inject_write_error(switch._rings.packets.address + entry * EGRESS_STRIDE, 8)
    with pytest.raises(SwitchError, match="packets, index 18"):
        switch.exchange([data(seq=seq) for seq in range(6)])
    board.clear_faults()
    found = [*switch.reap(), *switch.exchange([data(seq=50)])]
    seqs = [Packet.from_bytes(p).seq for p in found]
    # A memory may keep what it answers with an error: then 3 is there.
    assert [seq for seq in seqs if seq != 3] == [0, 1, 4, 5, 50]
    assert switch.counters()["packets_lost"] == 2


def test_an_index_beyond_the_ring_is_refused_by_the_hardware(switch):
    switch._write("ingress_doorbell", producer=17)
    with pytest.raises(SwitchError, match="RING_OVERRUN"):
        switch.check()
    switch._write("egress_acknowledge", consumer=1)
    with pytest.raises(SwitchError, match=r"rings, index 1.*RING_OVERRUN"):
        switch.reap()
    test_a_sum_comes_back(switch)


def test_waits_end(switch, board):
    switch.wait()  # nothing was posted
    switch.configure(0, 2, table=TABLE)
    board.pace = 0
    switch.post([data()])
    with pytest.raises(BoardTimeout, match="packets of the switch"):
        switch.wait(1e-5)
    board.pace = 1
    board.lose_interrupts = True
    switch.post([data(worker=1)])
    board._step()
    board.pace = 0
    with pytest.raises(BoardTimeout, match=r"0\.001 s") as caught:
        switch.wait(1e-3)
    assert not isinstance(caught.value, InterruptLost)


def test_a_lost_interrupt_is_told_from_a_hang(switch, board):
    switch.configure(0, 1, table=TABLE)
    board.pace = 0
    switch.post([data()])
    board.lose_interrupts = True
    ready = switch._ready

    def late():  # the packet comes after the look and before the interrupt
        answer = ready()
        board.pace = 10
        return answer

    switch._ready = late
    with pytest.raises(InterruptLost, match="was lost"):
        switch.wait(1e-4)
    assert len(switch.reap()) == 1


@pytest.mark.parametrize(("settings", "gathered"), [((8, 100_000), 8), ((8, 400), 5), ((), 1)])
def test_moderation_gathers_packets(settings, gathered):
    """Packets leave one a step while the interrupt is waited for; a step is 100 cycles."""

    class SlowBoard(GoldenBoard):
        def _wait_interrupt(self, timeout_s, waiting_for):
            self.pace = 2  # a frame, and the packet that it makes leave
            super()._wait_interrupt(timeout_s, waiting_for)
            self.pace = 0

    with Switch(SlowBoard(CONFIG, pace=10), ring_entries=16) as switch:
        switch.configure(0, 1, table=TABLE)
        switch.set_moderation(*settings)
        switch.board.pace = 0
        switch.post([data(seq=seq) for seq in range(16)])
        switch.wait()
        assert len(switch.reap()) == gathered
        switch.board.pace = 10
        assert len(switch.exchange([])) == 16 - gathered


def test_another_overlay_is_refused():
    with pytest.raises(WrongOverlay, match="0x54415945, a switch overlay has 0x53415945; load the"):
        Switch(GoldenBoard(CONFIG, identity=0x54415945))


def test_a_closed_driver_is_refused(board):
    switch = Switch(board)
    switch.configure(0, 2, table=TABLE)
    switch.post([data()])
    switch.close()
    switch.close()
    assert not board.buffers
    for action in (
        switch.reset, switch.reap, switch.wait, switch.counters, switch.faults, switch.check,
        switch.clear_counters, switch.set_moderation,
        lambda: switch.post([data()]), lambda: switch.exchange([data()]),
        lambda: switch.configure(1, 2, table=TABLE), lambda: switch.close_job(0),
        lambda: switch.set_policy(Policy.ATP), lambda: switch.outcomes(0), lambda: switch.room,
    ):  # fmt: skip
        with pytest.raises(DriverClosed, match="the switch driver is closed; make a new one"):
            action()
    with Switch(board) as again:  # what the first left behind is gone
        test_a_sum_comes_back(again)


def test_a_second_driver_starts_with_an_empty_switch(switch, board):
    switch.configure(3, 2, table=TABLE)
    switch.exchange([data(3, worker=0)])
    test_a_sum_comes_back(Switch(board))


def test_what_a_packet_is_padded_with_does_not_come_out(switch):
    switch.configure(0, 1, table=TABLE)
    (packet,) = switch.exchange([data(coordinates=3) + bytes(30)])
    assert len(packet) == 32 + 3 < EGRESS_STRIDE
    Packet.from_bytes(packet)


def test_the_driver_is_at_hand():
    assert eyas.Switch is Switch

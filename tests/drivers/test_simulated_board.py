"""The simulated board, under a small copy engine: data, time, errors, the rules of the bus."""

from fractions import Fraction

import numpy as np
import pytest

from drivers.errors import (
    BoardClosed,
    BoardError,
    BoardTimeout,
    OutOfMemory,
    ProtocolError,
    RegisterError,
    ToolMissing,
)
from drivers.simulated.board import MEMORY_BASE
from drivers.simulated.memory import INFINITE, PYNQ_Z2, MemoryModel
from drivers.simulated.toolchain import require_tools
from tests.drivers.designs.copy_engine import IDENTITY, Fault, Offset

BYTES_PER_BEAT = 8


def start(board, source, target, bursts=1, beats=16, *, ahead=4, fault=Fault.NONE):
    """Set the engine going between two addresses."""
    for offset, value in (
        (Offset.SOURCE, source),
        (Offset.TARGET, target),
        (Offset.BEATS, beats),
        (Offset.OPEN, ahead),
        (Offset.INTERRUPT, 1),
        (Offset.FAULT, fault),
        (Offset.BURSTS, bursts),
    ):
        board.write_register(offset, value)


def copy(board, bursts=1, beats=16, *, ahead=4, seed=1):
    """Copy random data, check it, and return the cycles from the start to the interrupt."""
    words = bursts * beats
    with board.allocate(words, np.uint64) as source, board.allocate(words, np.uint64) as target:
        source.array[:] = np.random.default_rng(seed).integers(0, 1 << 64, words, dtype=np.uint64)
        start(board, source.address, target.address, bursts, beats, ahead=ahead)
        began = board.cycles
        board.wait_interrupt(0.01, "the copy")
        assert np.array_equal(target.array, source.array)
        return board.cycles - began


# Registers.


def test_registers(board):
    assert board.read_register(Offset.IDENTITY) == IDENTITY
    board.write_register(Offset.SOURCE, 0xDEAD_BEEF)
    assert board.read_register(Offset.SOURCE) == 0xDEAD_BEEF
    assert board.read_register(Offset.TARGET) == 0


def test_register_that_is_not_there(board):
    with pytest.raises(RegisterError, match="answered a read of the register at 0x40 with SLVERR"):
        board.read_register(0x40)
    with pytest.raises(RegisterError, match="answered a write of the register at 0x44 with SLVERR"):
        board.write_register(0x44, 1)
    assert board.read_register(Offset.IDENTITY) == IDENTITY


def test_register_access_takes_a_handful_of_cycles(board):
    before = board.cycles
    board.read_register(Offset.IDENTITY)
    board.write_register(Offset.SOURCE, 1)
    assert board.cycles - before <= 8


# Data.


@pytest.mark.parametrize("seed", range(8))
def test_copies_under_changing_memory(board, seed):
    """Any lengths and latencies, changed while bursts are under way: no word lost or spoilt."""
    print("seed", seed)
    random = np.random.default_rng(seed)
    for _ in range(12):
        bursts, beats = int(random.integers(1, 40)), int(2 ** random.integers(0, 5))
        words, guard = bursts * beats, 64
        source = board.allocate(words, np.uint64)
        target = board.allocate(words + 2 * guard, np.uint64)
        source.array[:] = random.integers(0, 1 << 64, words, dtype=np.uint64)
        target.array[:] = 0x5A
        read, written = board.read_beats, board.write_beats
        inner = target.address + guard * BYTES_PER_BEAT
        start(board, source.address, inner, bursts, beats, ahead=int(random.integers(1, 5)))
        for _ in range(30):
            board.set_memory(random_memory(random))
            board.run(int(random.integers(1, 40)))
        board.wait_interrupt(0.01, "the copy")
        assert board.read_register(Offset.STATUS) == 0
        assert np.array_equal(target.array[guard:-guard], source.array)
        board.run(200)
        assert (board.read_beats - read, board.write_beats - written) == (words, words)
        assert (target.array[:guard] == 0x5A).all()
        assert (target.array[-guard:] == 0x5A).all(), "nothing more came out"
        source.close()
        target.close()


def random_memory(random):
    return MemoryModel(
        read_latency=int(random.integers(1, 50)),
        write_latency=int(random.integers(1, 50)),
        beats_per_cycle=Fraction(int(random.integers(1, 9)), 4),
        outstanding=int(random.integers(1, 9)),
    )


def test_first_and_last_word_of_memory(make_board):
    board = make_board(dram_bytes=8192)
    with board.allocate(1024, np.uint64) as memory:
        assert memory.address == MEMORY_BASE
        memory.array[:] = np.arange(1024)
        start(board, MEMORY_BASE, MEMORY_BASE + 8192 - 8, 1, 1)
        board.wait_interrupt(0.01, "the copy")
        assert memory.array[-1] == 0
        start(board, MEMORY_BASE + 8192 - 16, MEMORY_BASE, 1, 1)
        board.wait_interrupt(0.01, "the copy")
        assert memory.array[0] == 1022
    assert board.read_register(Offset.STATUS) == 0


# Time.


def test_same_calls_take_the_same_cycles(make_board):
    def run(board):
        return [copy(board, 9, 16), board.cycles, copy(board, 5, 4), board.cycles]

    assert run(make_board()) == run(make_board())


def test_read_latency(board):
    def cycles(latency, ahead):
        board.set_memory(INFINITE.with_changes(read_latency=latency))
        return copy(board, 16, 16, ahead=ahead)

    assert cycles(51, 1) - cycles(1, 1) == 16 * 50
    # With four bursts open the latency hides behind their 64 beats; only the first one's shows.
    assert cycles(41, 4) - cycles(1, 4) == 40


def test_write_latency(board):
    def cycles(latency, outstanding):
        board.set_memory(INFINITE.with_changes(write_latency=latency, outstanding=outstanding))
        return copy(board, 16, 16)

    assert cycles(51, 1) - cycles(1, 1) == 16 * 50
    assert cycles(51, 8) - cycles(1, 8) == 50


@pytest.mark.parametrize("rate", [Fraction(1, 7), Fraction(1, 2), Fraction(1), Fraction(63, 32)])
def test_bandwidth_is_shared_by_reads_and_writes(board, rate):
    board.set_memory(INFINITE.with_changes(beats_per_cycle=rate))
    beats = 64 * 16
    least = 2 * beats / rate
    saved = 2 / rate  # by an idle memory
    assert least - saved - 4 <= copy(board, 64, 16) <= least + 60


def test_infinite_memory_moves_a_beat_a_cycle_each_way(board):
    board.set_memory(INFINITE)
    assert 1024 <= copy(board, 64, 16) <= 1024 + 10


def test_default_is_the_pynq_z2_at_100_mhz(board):
    assert board.memory == PYNQ_Z2
    assert MemoryModel(30, 20, Fraction(63, 32), 8) == PYNQ_Z2
    slower = MemoryModel.pynq_z2(200e6)
    assert (slower.read_latency, slower.write_latency) == (60, 40)
    assert slower.beats_per_cycle == Fraction(63, 64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"read_latency": 0}, "read_latency must be from 1 .* not 0"),
        ({"write_latency": 0}, "write_latency must be from 1 .* not 0"),
        ({"outstanding": 0}, "outstanding must be from 1 .* not 0"),
        ({"beats_per_cycle": Fraction(0)}, "beats_per_cycle must be .* not 0"),
        ({"beats_per_cycle": Fraction(-1)}, "beats_per_cycle must be .* not -1"),
    ],
)
def test_impossible_memory(changes, message):
    with pytest.raises(ValueError, match=message):
        MemoryModel(**changes)
    with pytest.raises(TypeError, match=r"read_latency must be an integer, not 1\.5"):
        MemoryModel(read_latency=1.5)
    with pytest.raises(ValueError, match="positive frequency"):
        MemoryModel.pynq_z2(0)


def test_bare_run_turns_the_clock_and_nothing_else(board):
    with board.allocate(512, np.uint64) as source, board.allocate(512, np.uint64) as target:
        source.array[:] = np.arange(512)
        start(board, source.address, target.address, 32, 16)
        board.run(100)
        before, moved = board.cycles, (board.read_beats, board.write_beats)
        board.run_bare(5000)
        assert board.cycles - before == 5000
        assert (board.read_beats, board.write_beats) == moved
        board.wait_interrupt(0.01, "the copy")
        assert np.array_equal(target.array, source.array)


# Interrupts and time-outs.


def test_interrupt_stays_until_it_is_cleared(board):
    copy(board)
    before = board.cycles
    board.wait_interrupt(0.01, "the same interrupt")
    assert board.cycles == before
    board.write_register(Offset.INTERRUPT, 1)
    with pytest.raises(BoardTimeout, match=r"Waited 1e-05 s for another, .*\(1000 cycles\)"):
        board.wait_interrupt(1e-5, "another")


def test_timeout_counts_cycles(board):
    before = board.cycles
    with pytest.raises(BoardTimeout, match="for nothing in particular") as caught:
        board.wait_interrupt(0.004, "nothing in particular")
    assert board.cycles - before == 400_000
    assert (caught.value.waiting_for, caught.value.timeout_s) == ("nothing in particular", 0.004)
    copy(board)


def test_timeout_follows_the_clock(make_board):
    board = make_board(clock_hz=50e6)
    before = board.cycles
    with pytest.raises(BoardTimeout):
        board.wait_interrupt(0.001, "nothing")
    assert board.cycles - before == 50_000


def test_lost_interrupt(board):
    board.lose_interrupts()
    with pytest.raises(BoardTimeout, match="for the copy"):
        copy(board)
    assert board.read_register(Offset.INTERRUPT) == 1
    board.clear_faults()
    board.wait_interrupt(1e-5, "the interrupt that was lost")


# Errors of the bus.


@pytest.mark.parametrize(("decode", "response"), [(False, 2), (True, 3)])
def test_injected_read_error(board, decode, response):
    with board.allocate(64, np.uint64) as source, board.allocate(64, np.uint64) as target:
        source.array[:] = np.arange(1, 65)
        board.inject_read_error(source.address + 20 * 8, 1, decode=decode)
        start(board, source.address, target.address, 4)
        board.wait_interrupt(0.01, "the copy")
        assert board.read_register(Offset.STATUS) == response << 8
        expected = np.arange(1, 65)
        expected[20] = 0
        assert np.array_equal(target.array, expected)
        board.clear_faults()
        start(board, source.address, target.address, 4)
        board.wait_interrupt(0.01, "the copy")
        assert board.read_register(Offset.STATUS) == 0
        assert np.array_equal(target.array, source.array)


@pytest.mark.parametrize(("decode", "response"), [(False, 2), (True, 3)])
def test_injected_write_error(board, decode, response):
    with board.allocate(64, np.uint64) as source, board.allocate(64, np.uint64) as target:
        source.array[:] = np.arange(1, 65)
        board.inject_write_error(target.address + 40 * 8, 16, decode=decode)
        board.inject_read_error(target.address, target.nbytes)  # reads only: not met
        start(board, source.address, target.address, 4)
        board.wait_interrupt(0.01, "the copy")
        assert board.read_register(Offset.STATUS) == response << 12
        expected = np.arange(1, 65)
        expected[40:42] = 0
        assert np.array_equal(target.array, expected)


@pytest.mark.parametrize("address", [0, MEMORY_BASE - 8, MEMORY_BASE + (64 << 20), 0xFFFF_FFF8])
def test_no_memory_there(board, address):
    with board.allocate(1, np.uint64) as inside:
        inside.array[:] = 7
        start(board, address, inside.address, 1, 1)
        board.wait_interrupt(0.01, "the copy")
        assert board.read_register(Offset.STATUS) == 3 << 8
        assert inside.array[0] == 0
        start(board, inside.address, address, 1, 1)
        board.wait_interrupt(0.01, "the copy")
        assert board.read_register(Offset.STATUS) == 3 << 12


# The rules of the bus: each is broken once.

ONE_AT_A_TIME = INFINITE.with_changes(outstanding=1, read_latency=20, write_latency=20)
NARROW_MEMORY = INFINITE.with_changes(beats_per_cycle=Fraction(1, 4))


@pytest.mark.parametrize(
    ("fault", "options", "memory", "message"),
    [
        (Fault.WITHDRAW_READ, {}, ONE_AT_A_TIME, "The read address was withdrawn before"),
        (Fault.CHANGE_READ_ADDRESS, {}, ONE_AT_A_TIME, "The read address changed while it waited"),
        (Fault.CHANGE_WRITE_ADDRESS, {}, ONE_AT_A_TIME, "The write address changed while it wait"),
        (Fault.CHANGE_WRITE_DATA, {}, NARROW_MEMORY, "The write data changed while it waited"),
        (Fault.EARLY_LAST, {}, PYNQ_Z2, "WLAST is 1 on beat 15 of 16 of the write burst at 0x1000"),
        (Fault.NO_LAST, {}, PYNQ_Z2, "WLAST is 0 on beat 16 of 16 of the write burst at 0x1000"),
        (Fault.NARROW, {}, PYNQ_Z2, "A read burst at .* is not an incrementing one of 8-byte"),
        (Fault.FIXED, {}, PYNQ_Z2, "A read burst at .* is not an incrementing one of 8-byte"),
        (Fault.NONE, {"beats": 17}, PYNQ_Z2, "A .* burst at .* has 17 beats, more than 16"),
        (Fault.NONE, {"source": 4088}, PYNQ_Z2, "A read burst at 0x10000ff8 crosses .* 4 KiB"),
        (Fault.NONE, {"target": 4088}, PYNQ_Z2, "A write burst at 0x10001ff8 crosses .* 4 KiB"),
        (Fault.NONE, {"source": 4}, PYNQ_Z2, "A read burst at 0x10000004 does not start on a mul"),
    ],
)
def test_broken_rule_of_the_master(board, fault, options, memory, message):
    board.set_memory(memory)
    options = {"source": 0, "target": 0, "beats": 16, **options}
    source = MEMORY_BASE + options["source"]
    target = MEMORY_BASE + options["target"] + 4096

    def attempt():
        start(board, source, target, 8, options["beats"], fault=fault)
        board.wait_interrupt(0.001, "the copy")

    with pytest.raises(ProtocolError, match=rf"{message}.*\(cycle \d+\); the RTL is at fault"):
        attempt()
    with pytest.raises(ProtocolError, match=message):
        board.read_register(Offset.IDENTITY)
    with pytest.raises(ProtocolError, match=message):
        board.run(1)
    board.reset()
    copy(board, 8)


def test_register_response_nobody_asked_for(board):
    board.write_register(Offset.FAULT, Fault.UNASKED_RESPONSE)
    board.run(2)
    with pytest.raises(ProtocolError, match="A write response came without a write"):
        board.write_register(Offset.SOURCE, 1)
    board.reset()
    copy(board)


def test_register_that_never_answers(board):
    board.write_register(Offset.FAULT, Fault.NO_RESPONSE)
    with pytest.raises(ProtocolError, match="read of register 0x14 was not answered in 1000 cycle"):
        board.read_register(Offset.STATUS)
    board.reset()
    board.write_register(Offset.FAULT, Fault.NO_RESPONSE)
    with pytest.raises(ProtocolError, match="write of register 0x4 was not answered in 1000 cycle"):
        board.write_register(Offset.SOURCE, 1)
    board.reset()
    copy(board)


def test_register_response_before_the_access_was_taken(board):
    board.write_register(Offset.FAULT, Fault.EARLY_RESPONSE)
    with pytest.raises(ProtocolError, match="Read data came before the read was taken"):
        board.read_register(Offset.STATUS)
    board.reset()
    board.write_register(Offset.FAULT, Fault.EARLY_RESPONSE)
    with pytest.raises(ProtocolError, match="A write response came before the write was taken"):
        board.write_register(Offset.SOURCE, 1)
    board.reset()
    copy(board)


def test_valid_in_reset(board):
    board.write_register(Offset.FAULT, Fault.VALID_IN_RESET)
    board.run(2)
    with pytest.raises(ProtocolError, match="A VALID of the AXI master is high in reset"):
        board.reset()


# Reset.


@pytest.mark.parametrize("cycles", [1, 7, 30, 100, 333])
def test_reset_in_mid_copy(board, cycles):
    with board.allocate(1024, np.uint64) as source, board.allocate(1024, np.uint64) as target:
        source.array[:] = np.arange(1, 1025)
        start(board, source.address, target.address, 64)
        board.run(cycles)
        board.reset()
        assert board.read_register(Offset.STATUS) == 0
        assert board.read_register(Offset.SOURCE) == 0
        written = board.write_beats
        board.run(1000)
        assert board.write_beats == written, "nothing more came out"
        assert np.array_equal(source.array, np.arange(1, 1025)), "buffers keep their contents"
        start(board, source.address, target.address, 64)
        board.wait_interrupt(0.01, "the copy")
        assert np.array_equal(target.array, source.array)


# Several boards, and their end.


def test_boards_are_independent(make_board):
    boards = [make_board(dram_bytes=1 << 20, memory=memory) for memory in (INFINITE, PYNQ_Z2)]
    buffers = [board.allocate(2048, np.uint64) for board in boards]
    for number, (board, buffer) in enumerate(zip(boards, buffers, strict=True)):
        buffer.array[:1024] = np.arange(1024) + 10_000 * number
        start(board, buffer.address, buffer.address + 8192, 64)
    for _ in range(50):
        for board in boards:
            board.run(11)
    boards[1].close()
    boards[0].wait_interrupt(0.01, "the copy")
    assert np.array_equal(buffers[0].array[1024:], np.arange(1024))
    assert boards[0].read_register(Offset.STATUS) == 0
    # The closed board's memory lives on as far as it was written.
    copied = np.count_nonzero(buffers[1].array[1024:])
    assert 100 < copied < 1024
    assert np.array_equal(buffers[1].array[1024 : 1024 + copied], np.arange(copied) + 10_000)


@pytest.mark.slow
def test_two_models_in_one_process(make_board, tmp_path):
    plain, traced = make_board(), make_board(trace=tmp_path / "copy.vcd")
    assert copy(plain, 4) == copy(traced, 4)
    traced.close()
    text = (tmp_path / "copy.vcd").read_text()
    assert "m_axi_awvalid" in text
    last = max(int(line[1:]) for line in text.splitlines() if line.startswith("#"))
    assert last >= 10_000 * 64, "a picosecond's resolution, a clock of 10 ns"
    copy(plain, 4)


@pytest.mark.slow
def test_a_waveform_in_fst(make_board, tmp_path):
    try:
        require_tools("fst")
    except ToolMissing as error:
        pytest.skip(str(error))
    board = make_board(trace=tmp_path / "copy.fst")
    copy(board, 4)
    board.close()
    # A header block of 329 bytes, with the writer's name in it.
    data = (tmp_path / "copy.fst").read_bytes()
    assert data[:9] == b"\0" + (329).to_bytes(8, "big")
    assert len(data) > 1000


@pytest.mark.slow
def test_waveform_that_cannot_be_written(make_board, tmp_path):
    with pytest.raises(BoardError, match=r"No waveform can be written to .*nowhere"):
        make_board(trace=tmp_path / "nowhere" / "copy.vcd")


@pytest.mark.parametrize(
    "action",
    [
        lambda board: board.run(1),
        lambda board: board.run_bare(1),
        lambda board: board.cycles,
        lambda board: board.set_memory(INFINITE),
        lambda board: board.inject_read_error(0, 1),
        lambda board: board.lose_interrupts(),
        lambda board: board.clear_faults(),
        lambda board: board.read_register(0),
        lambda board: board.reset(),
    ],
)
def test_closed_board(board, action):
    board.close()
    with pytest.raises(BoardClosed, match="the board is closed; open a new one"):
        action(board)


@pytest.mark.parametrize("size", [0, 100, 4097, 1 << 32])
def test_impossible_memory_size(make_board, size):
    with pytest.raises(ValueError, match=f"dram_bytes must be a multiple of 4096 .* not {size}"):
        make_board(dram_bytes=size)


# Buffers.


def test_buffers_come_zeroed_and_are_given_back(make_board):
    board = make_board(dram_bytes=1 << 20)
    for _ in range(10):
        with board.allocate((512, 1024), np.int8) as buffer:
            assert buffer.address % 4096 == 0
            assert not buffer.array.any()
            buffer.array[:] = -1
    with board.allocate(1 << 20), pytest.raises(OutOfMemory, match="0 of 1048576 bytes are free"):
        board.allocate(1)


def test_caches_hide_what_is_not_flushed(make_board):
    board = make_board(caches=True)
    with board.allocate(16, np.uint64) as source, board.allocate(16, np.uint64) as target:
        source.array[:] = np.arange(16)
        source.flush()
        source.array[:] = 99  # never flushed
        start(board, source.address, target.address)
        board.wait_interrupt(0.01, "the copy")
        assert not target.array.any()
        target.invalidate()
        assert np.array_equal(target.array, np.arange(16))
        source.invalidate()
        assert np.array_equal(source.array, np.arange(16)), "what was not flushed is lost"

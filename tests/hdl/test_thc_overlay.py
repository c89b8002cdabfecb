"""The THC overlay on the simulated board: drivers, jobs, refusals, faults, resets."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from drivers.board import Board
from drivers.errors import BoardTimeout, WrongOverlay
from drivers.simulated.board import SimulatedBoard
from drivers.simulated.memory import INFINITE, PYNQ_Z2
from drivers.simulated.thc import thc_board
from drivers.thc import ThcAggregator, ThcEncoder, ThcError
from eyas.interfaces.thc.formats import LookupTable, pack
from eyas.interfaces.thc.registers import (
    DESCRIPTOR,
    DESCRIPTOR_MAGIC,
    DESCRIPTOR_VERSION,
    ENCODE_LIMIT,
    RESULT,
    RESULT_MAGIC,
    THC_REGISTERS,
    JobKind,
    ThcCode,
)
from models.thc import fixed_point
from models.thc.aggregate import aggregate
from models.thc.table import solve

pytestmark = pytest.mark.slow

SEED = 20250117
TABLE = LookupTable([0, 3, 5, 7, 9, 11, 13, 14, 16, 17, 19, 21, 23, 25, 27, 30])


@pytest.fixture(scope="module")
def shared_board() -> Iterator[SimulatedBoard]:
    with thc_board(memory=INFINITE) as board:
        yield board


@pytest.fixture
def board(shared_board) -> Iterator[SimulatedBoard]:
    """Fresh from reset: no job is open, no error pending."""
    shared_board.reset()
    yield shared_board
    shared_board.clear_faults()
    shared_board.set_memory(INFINITE)


@pytest.fixture
def aggregator(board) -> Iterator[ThcAggregator]:
    with ThcAggregator(board) as driver:
        yield driver


@pytest.fixture
def encoder(board) -> Iterator[ThcEncoder]:
    with ThcEncoder(board) as driver:
        yield driver


def random_table(rng, highest: int) -> LookupTable:
    """A symmetric table of 4 bits whose granularity is at most ``highest``."""
    granularity = int(rng.integers(1, highest + 1))
    half = np.sort(rng.integers(0, granularity // 2 + 1, 8))
    half[0] = 0
    return LookupTable([*half.tolist(), *(granularity - half[::-1]).tolist()])


def expected_sums(packed: np.ndarray, table: LookupTable, count: int, bits: int) -> np.ndarray:
    return aggregate(torch.from_numpy(packed), table, count, bits).numpy()


def read(board: Board, name: str) -> dict[str, int]:
    register = THC_REGISTERS[name]
    return register.unpack(board.read_register(register.offset))


def write(board: Board, name: str, **fields: int) -> None:
    register = THC_REGISTERS[name]
    board.write_register(register.offset, register.pack(fields))


@pytest.mark.parametrize("memory", [INFINITE, PYNQ_Z2], ids=["fast", "pynq"])
def test_random_aggregations_equal_the_model(board, aggregator, memory):
    rng = np.random.default_rng(SEED)
    board.set_memory(memory)
    seen = set()
    for number in range(24):
        bits = int(rng.choice([8, 16]))
        workers = int(rng.choice([1, 2, 8, 9, 32, 254, 255, int(rng.integers(1, 256))]))
        table = random_table(rng, (255 if bits == 16 else 255 // workers))
        count = int(rng.choice([1, 2, 15, 16, 17, 513, 1024, 1025, int(rng.integers(1, 4000))]))
        here = int(rng.integers(1, workers + 1))
        packed = pack(rng.integers(0, 16, (here, count)), 4)
        job = number % 32
        aggregator.open(table, workers, lane_bits=bits, job=job)
        sums = aggregator.aggregate(packed, count, job=job)
        assert sums.shape == (count,)
        np.testing.assert_array_equal(sums, expected_sums(packed, table, count, bits))
        aggregator.close_job(job)
        seen |= {bits, "odd" if count % 2 else "even", "quorum" if here < workers else "all"}
    assert seen == {8, 16, "odd", "even", "quorum", "all"}


def test_many_packets_and_several_descriptors(board, aggregator, monkeypatch):
    rng = np.random.default_rng(SEED)
    monkeypatch.setattr("drivers.thc.aggregator.CHUNK_BYTES", 5000)
    aggregator.open(TABLE, 8, job=1)
    aggregator.open(solve(4, 34, 1 / 64), 200, lane_bits=16, job=2)
    for job, bits, count in ((1, 8, 30_001), (2, 16, 9_999), (1, 8, 1024)):
        packed = pack(rng.integers(0, 16, (5, count)), 4)
        table = aggregator._jobs[job][0]
        sums = aggregator.aggregate(packed, count, job=job)
        np.testing.assert_array_equal(sums, expected_sums(packed, table, count, bits))
    assert aggregator.counters()["jobs_done"] > 3


def test_a_job_opened_twice(board, aggregator):
    """The first table stays until the job is closed; then the second one counts."""
    rng = np.random.default_rng(SEED)
    other = random_table(rng, 31)
    packed = pack(rng.integers(0, 16, (8, 100)), 4)
    aggregator.open(TABLE, 8)
    with pytest.raises(ThcError, match=r"Opening job 0 was refused with JOB_OPEN: .*close the job"):
        aggregator.open(other, 8)
    sums = aggregator.aggregate(packed, 100)
    np.testing.assert_array_equal(sums, expected_sums(packed, TABLE, 100, 8))
    aggregator.close_job()
    with pytest.raises(ThcError, match="JOB_CLOSED"):
        aggregator.aggregate(packed, 100)
    aggregator.open(other, 8)
    sums = aggregator.aggregate(packed, 100)
    np.testing.assert_array_equal(sums, expected_sums(packed, other, 100, 8))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"workers": 9}, ThcCode.LANE_OVERFLOW),
        ({"granularity": 29}, ThcCode.ENTRY_ABOVE),
        ({"granularity": 0}, ThcCode.BAD_GRANULARITY),
        ({"workers": 0}, ThcCode.WRONG_WORKERS),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_hardware_refuses_what_the_driver_would(board, change, code):
    """Past the driver's own checks: the overlay opens nothing."""
    limits = {"workers": 8, "granularity": 30, **change}
    write(board, "job_select", job=3)
    write(board, "job_limits", **limits)
    for start in range(0, 16, 4):
        entries = {f"entry{start + i}": TABLE.entries[start + i] for i in range(4)}
        write(board, f"table{start // 4}", **entries)
    write(board, "job_command", open=1)
    board.run(30)
    assert read(board, "job_status") == {"busy": 0, "code": code}
    assert read(board, "jobs_open")["open"] == 0
    write(board, "job_limits", workers=8, granularity=30)
    write(board, "job_command", open=1)
    board.run(30)
    assert read(board, "job_status")["code"] == ThcCode.NONE
    assert read(board, "jobs_open")["open"] == 1 << 3


def test_no_such_job_number(board):
    write(board, "job_select", job=32)
    write(board, "job_limits", workers=1, granularity=1)
    for command in ("open", "close"):
        write(board, "job_command", **{command: 1})
        board.run(30)
        assert read(board, "job_status")["code"] == ThcCode.JOB_CLOSED
    assert read(board, "jobs_open")["open"] == 0


def test_the_driver_refuses_before_anything_flows(board, aggregator, encoder):
    packed = np.zeros((2, 8), np.uint8)
    aggregator.open(TABLE, 8)
    beats = board.read_beats
    for arguments, message in (
        ((TABLE, 9), "9 workers with granularity 30 sum up to 270, more than 8-bit lanes hold"),
        ((TABLE, 256), "Workers must be 1 to 255"),
        ((solve(2, 34, 1 / 512), 2), "indices have 4 bits, the table is for 2"),
    ):
        with pytest.raises(ValueError, match=message):
            aggregator.open(*arguments, job=1)
    with pytest.raises(ValueError, match="Table entry 3 is 31: entries must lie in 0 to 30"):
        LookupTable([*TABLE.entries[:3], 31, *TABLE.entries[4:]], 30)
    with pytest.raises(ValueError, match="number from 0 to 31, not 32"):
        aggregator.open(TABLE, 8, job=32)
    with pytest.raises(TypeError, match="must be a LookupTable"):
        aggregator.open(list(TABLE.entries), 8, job=1)
    with pytest.raises(TypeError, match=r"packed indices \(uint8\), not int64"):
        aggregator.aggregate(packed.astype(np.int64), 16)
    with pytest.raises(ValueError, match=r"shape \(workers, 9\), not \(2, 8\)"):
        aggregator.aggregate(packed, 17)
    with pytest.raises(ValueError, match="opened for 1 to 8 contributions, not 9"):
        aggregator.aggregate(np.zeros((9, 8), np.uint8), 16)
    words, ones = np.zeros((1, 1024), np.int16), np.ones(1, np.int64)
    draw = {"seed": 1, "step": 2, "worker": 3}
    with pytest.raises(TypeError, match="Mantissas must be int16"):
        encoder.encode(words.astype(np.float32), ones, TABLE, **draw)
    with pytest.raises(ValueError, match=r"shape \(blocks, 1024\)"):
        encoder.encode(words[:, :512], ones, TABLE, **draw)
    with pytest.raises(ValueError, match="one a block"):
        encoder.encode(words, np.ones(2, np.int64), TABLE, **draw)
    with pytest.raises(ValueError, match="has 17 bits"):
        encoder.encode(words, ones << 17, TABLE, **draw)
    with pytest.raises(ValueError, match="granularities up to 63"):
        encoder.encode(words, ones, LookupTable(np.arange(16) * 17), **draw)
    with pytest.raises(ValueError, match="numbers below 2\\^25"):
        encoder.encode(words, ones, TABLE, **draw, first=1 << 25)
    with pytest.raises(ValueError, match="seed"):
        encoder.encode(words, ones, TABLE, **{**draw, "seed": 1 << 64})
    assert board.read_beats == beats


@pytest.mark.parametrize("memory", [INFINITE, PYNQ_Z2], ids=["fast", "pynq"])
def test_random_encodings_equal_the_model(board, encoder, memory, monkeypatch):
    rng = np.random.default_rng(SEED)
    board.set_memory(memory)
    monkeypatch.setattr("drivers.thc.encoder.CHUNK_BLOCKS", 3)
    for blocks in (1, 2, 3, 7):
        table = random_table(rng, 63)
        words = np.clip(rng.normal(0, 5000, (blocks, 1024)), -32767, 32767).astype(np.int16)
        factors = rng.integers(0, 1 << 14, blocks)
        factors[0] *= blocks % 2  # a block of zeros in every other call
        draw = {
            "seed": int(rng.integers(0, 1 << 63)),
            "step": int(rng.integers(0, 1 << 32)),
            "worker": int(rng.integers(0, 255)),
            "stream": int(rng.integers(0, 1 << 32)),
            "first": int(rng.integers(0, (1 << 25) - 8)),
        }
        indices = encoder.encode(words, factors, table, **draw)
        expected = fixed_point.encode(
            torch.from_numpy(words), torch.from_numpy(factors), table, **draw
        )
        np.testing.assert_array_equal(indices, pack(expected.numpy(), 4))


def test_rates(board, encoder, aggregator):
    """A word a cycle from memory: four coordinates encoded, sixteen indices added."""
    words = np.ones((30, 1024), np.int16)
    encoder.encode(words, np.full(30, 3000), TABLE, seed=1, step=2, worker=3)
    assert encoder.cycles < 30 * 257 + 500
    aggregator.open(TABLE, 8)
    aggregator.aggregate(np.zeros((8, 16_384), np.uint8), 32_768)
    assert aggregator.cycles < 1.05 * 16_384 + 300


def test_encoder_and_aggregator_share_the_overlay(board, encoder, aggregator):
    """Two workers' gradients through both; the model says the same."""
    rng = np.random.default_rng(SEED)
    aggregator.open(TABLE, 2)
    words = rng.integers(-9000, 9000, (2, 2, 1024)).astype(np.int16)
    factors = np.full(2, 3000)
    packed = np.stack(
        [
            encoder.encode(words[worker], factors, TABLE, seed=1, step=2, worker=worker).ravel()
            for worker in range(2)
        ]
    )
    sums = aggregator.aggregate(packed, 2048)
    np.testing.assert_array_equal(sums, expected_sums(packed, TABLE, 2048, 8))
    assert sums.std() > 5, "nothing was encoded"


# Past the drivers ---------------------------------------------------------------------------------


class Raw:
    """Descriptors by hand."""

    def __init__(self, board: SimulatedBoard):
        self.board = board
        self.memory = board.allocate(8192)
        self.good = {
            "magic": DESCRIPTOR_MAGIC,
            "version": DESCRIPTOR_VERSION,
            "kind": JobKind.AGGREGATE,
            "interrupt": 1,
            "tag": 77,
            "source": self.memory.address + 1024,
            "count": 64,
            "output": self.memory.address + 4096,
            "result": self.memory.address + 512,
            "stride": 512,
            "workers": 2,
            "granularity": 30,
        }

    def run(self, **changes: int) -> tuple[dict[str, int], dict[str, int]]:
        """Ring, wait; returns the record and the ERROR register."""
        board = self.board
        self.memory.array[:1024] = 0
        raw = DESCRIPTOR.pack_bytes({**self.good, **changes})
        self.memory.array[: len(raw)] = np.frombuffer(raw, np.uint8)
        write(board, "interrupt_enable", done=1, error=1)
        write(board, "doorbell", address=self.memory.address)
        board.wait_interrupt(1e-3, "the job to end")
        error = read(board, "error")
        write(board, "control", clear_error=1)
        write(board, "interrupt_status", done=1, error=1)
        record = RESULT.unpack_bytes(self.memory.array[512:].tobytes())
        return record, error


@pytest.fixture
def raw(board, aggregator) -> Iterator[Raw]:
    aggregator.open(TABLE, 8)
    driver = Raw(board)
    with driver.memory:
        yield driver


ENCODE = {"kind": JobKind.ENCODE, "count": 1, "table_high": 30 << 56}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"magic": 1}, ThcCode.BAD_DESCRIPTOR),
        ({"version": 9}, ThcCode.BAD_DESCRIPTOR),
        ({"kind": 3}, ThcCode.BAD_DESCRIPTOR),
        ({"source": 0x1000_0004}, ThcCode.MISALIGNED),
        ({"output": 0x1000_0001}, ThcCode.MISALIGNED),
        ({"result": 0x1000_0002}, ThcCode.MISALIGNED),
        ({"stride": 12}, ThcCode.MISALIGNED),
        ({"count": 0}, ThcCode.WRONG_SIZE),
        ({"job": 1}, ThcCode.JOB_CLOSED),
        ({"job": 200}, ThcCode.JOB_CLOSED),
        ({"workers": 0}, ThcCode.WRONG_WORKERS),
        ({"workers": 9}, ThcCode.WRONG_WORKERS),
        ({**ENCODE, "count": 0}, ThcCode.WRONG_SIZE),
        ({**ENCODE, "count": ENCODE_LIMIT + 1}, ThcCode.WRONG_SIZE),
        ({**ENCODE, "granularity": 0}, ThcCode.BAD_GRANULARITY),
        ({**ENCODE, "granularity": 64}, ThcCode.BAD_GRANULARITY),
        ({**ENCODE, "granularity": 29}, ThcCode.ENTRY_ABOVE),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_bad_descriptors_are_refused(board, raw, change, code):
    board.run(20)
    before = board.read_beats
    record, error = raw.run(**change)
    recognised = "magic" not in change and "version" not in change
    assert error == {"code": code, "count": 1, "tag": 77 if recognised else 0}
    assert board.read_beats - before == DESCRIPTOR.word_count, "more than the descriptor was read"
    if recognised and "result" not in change:
        assert (record["magic"], record["code"], record["tag"]) == (RESULT_MAGIC, code, 77)
    else:
        assert record["magic"] == 0
    record, error = raw.run()
    assert (record["code"], record["magic"], error["code"]) == (0, RESULT_MAGIC, 0)


@pytest.mark.parametrize("decode", [False, True], ids=["slave", "decode"])
@pytest.mark.parametrize("job", [{}, ENCODE], ids=["aggregate", "encode"])
@pytest.mark.parametrize(
    ("where", "size", "kind"),
    [
        (0, 8, "read"),
        (1032, 8, "read"),
        (1024 + 1016, 8, "read"),
        (4096, 8, "write"),
        (512, 16, "write"),
    ],
    ids=["descriptor", "source", "source's end", "output", "record"],
)
def test_bus_errors_are_told_and_over(board, raw, decode, job, where, size, kind):
    code = ThcCode.BUS_DECODE if decode else ThcCode.BUS_SLAVE
    inject = board.inject_read_error if kind == "read" else board.inject_write_error
    inject(raw.memory.address + where, size, decode=decode)
    record, error = raw.run(**job)
    assert (error["code"], error["count"]) == (code, 1)
    if where in (0, 512):
        assert record["magic"] == 0, "a record that was not to be written"
    else:
        assert (record["magic"], record["code"]) == (RESULT_MAGIC, code)
    board.clear_faults()
    for again in ({}, ENCODE):
        record, error = raw.run(**again)
        assert (record["magic"], record["code"], error["code"]) == (RESULT_MAGIC, 0, 0)


def test_doorbells_that_are_dropped(board, raw):
    write(board, "doorbell", address=raw.memory.address + 4)
    board.run(10)
    assert read(board, "error") == {"code": ThcCode.MISALIGNED, "count": 1, "tag": 0}
    write(board, "control", clear_error=1)
    descriptor = DESCRIPTOR.pack_bytes(raw.good)
    raw.memory.array[: len(descriptor)] = np.frombuffer(descriptor, np.uint8)
    write(board, "doorbell", address=raw.memory.address)
    write(board, "doorbell", address=raw.memory.address)
    write(board, "job_select", job=0)
    board.run(60)
    write(board, "job_command", close=1)
    board.run(20)
    assert read(board, "job_status")["code"] == ThcCode.JOB_RUNNING
    board.run(1000)
    assert read(board, "error") == {"code": ThcCode.BUSY, "count": 1, "tag": 0}
    record = RESULT.unpack_bytes(raw.memory.array[512:].tobytes())
    assert (record["magic"], record["code"]) == (RESULT_MAGIC, 0), "the first job went its way"


@pytest.mark.parametrize("cycles", [5, 40, 60, 75, 90, 130, 200, 400])
def test_reset_in_mid_packet(board, raw, cycles):
    """Whatever a reset cuts off, jobs opened after it are right."""
    rng = np.random.default_rng(SEED + cycles)
    for job in ({}, {**ENCODE, "count": 2}):
        board.reset()
        with ThcAggregator(board) as aggregator, ThcEncoder(board) as encoder:
            aggregator.open(TABLE, 8)
            descriptor = DESCRIPTOR.pack_bytes({**raw.good, **job, "count": job.get("count", 128)})
            raw.memory.array[: len(descriptor)] = np.frombuffer(descriptor, np.uint8)
            write(board, "doorbell", address=raw.memory.address)
            board.run(cycles)
            board.reset()
            assert read(board, "jobs_open")["open"] == 0
            aggregator.open(TABLE, 8)
            packed = pack(rng.integers(0, 16, (8, 1500)), 4)
            sums = aggregator.aggregate(packed, 1500)
            np.testing.assert_array_equal(sums, expected_sums(packed, TABLE, 1500, 8))
            words = rng.integers(-9000, 9000, (1, 1024)).astype(np.int16)
            factors = np.array([3000])
            draw = {"seed": 3, "step": 4, "worker": 5}
            expected = fixed_point.encode(
                torch.from_numpy(words), torch.from_numpy(factors), TABLE, **draw
            )
            found = encoder.encode(words, factors, TABLE, **draw)
            np.testing.assert_array_equal(found, pack(expected.numpy(), 4))


def test_a_lost_interrupt_is_a_timeout_and_no_hang(board, aggregator):
    packed = np.zeros((2, 8), np.uint8)
    aggregator.open(TABLE, 8)
    board.lose_interrupts()
    with pytest.raises(BoardTimeout, match="sum of 2 contributions to job 0"):
        aggregator.aggregate(packed, 16, timeout_s=1e-4)
    board.lose_interrupts(False)
    with pytest.raises(ThcError, match="JOB_CLOSED"):
        aggregator.aggregate(packed, 16)
    aggregator.open(TABLE, 8)
    assert aggregator.aggregate(packed, 16).tolist() == [0] * 16


def test_caches_are_kept_in_step():
    rng = np.random.default_rng(SEED)
    with thc_board(caches=True) as board, ThcAggregator(board) as aggregator:
        aggregator.open(TABLE, 4)
        for count in (100, 300, 50):
            packed = pack(rng.integers(0, 16, (4, count)), 4)
            sums = aggregator.aggregate(packed, count)
            np.testing.assert_array_equal(sums, expected_sums(packed, TABLE, count, 8))
        with ThcEncoder(board) as encoder:
            words = rng.integers(-9000, 9000, (1, 1024)).astype(np.int16)
            found = encoder.encode(words, np.array([3000]), TABLE, seed=3, step=4, worker=5)
            expected = fixed_point.encode(
                torch.from_numpy(words), torch.tensor([3000]), TABLE, seed=3, step=4, worker=5
            )
            np.testing.assert_array_equal(found, pack(expected.numpy(), 4))


def test_another_overlay_is_refused(board, monkeypatch):
    for name, word, message in (
        ("identity", 0x56415945, "identity 0x56415945, a THC overlay has 0x54415945"),
        ("version", 2 << 16, "version 2.0, this driver knows 1.x"),
    ):
        offset, real = THC_REGISTERS[name].offset, board.read_register
        with monkeypatch.context() as patch:
            patch.setattr(
                board,
                "read_register",
                lambda at, offset=offset, word=word, real=real: word if at == offset else real(at),
            )
            with pytest.raises(WrongOverlay, match=message):
                ThcAggregator(board)

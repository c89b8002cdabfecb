"""What the drivers do a job, counted: register accesses, copies of the picture, words read."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from benchmarks import driver_overhead
from benchmarks.driver_overhead import instant_thc, instant_vision
from drivers.records import RecordReader
from drivers.thc import ThcAggregator, ThcEncoder
from drivers.vision import VisionEngine
from eyas.compiler import compile_graph
from eyas.interfaces.thc import registers as thc_registers
from eyas.interfaces.thc.formats import LookupTable
from eyas.interfaces.vision import records as vision_program
from models.vision.graph import Graph, Mean, Tensor

SHAPE = (64, 64, 3)
SIZE = 64 * 64 * 3
LIMIT = 10
"""A job takes fewer register accesses than this."""


@pytest.fixture
def board():
    return instant_vision()


@pytest.fixture
def engine(board):
    """A driver with a program that takes large pictures and gives three values."""
    graph = Graph(
        name="large",
        tensors={
            "picture": Tensor("picture", SHAPE, 1 / 255, -128),
            "means": Tensor("means", (1, 1, 3), 1 / 255, -128),
        },
        nodes=(Mean(name="mean", input="picture", output="means"),),
        input="picture",
        output="means",
    )
    driver = VisionEngine(board)
    driver.load(compile_graph(graph))
    return driver


def pictures(count: int, kind: type) -> np.ndarray:
    print("seed 8")
    return np.random.default_rng(8).integers(0, 128, (count, *SHAPE)).astype(kind)


def accesses(board, call) -> int:
    before = board.accesses
    call()
    return board.accesses - before


@pytest.mark.parametrize("count", [1, 2, 64])
def test_register_accesses_of_an_inference(board, engine, count):
    found = accesses(board, lambda: engine.infer(pictures(count, np.int8)))
    assert count < found < LIMIT * count, f"{found} accesses for {count} pictures"
    assert found <= 4 + 3 * count


def test_register_accesses_of_a_batch():
    board = instant_thc()
    with ThcAggregator(board) as unit, ThcEncoder(board) as encoder:
        unit.open(LookupTable(range(16)), 4)
        data = np.zeros((4, 512), np.uint8)
        assert 1 < accesses(board, lambda: unit.aggregate(data, 1024)) < LIMIT
        words, factors = np.zeros((2, 1024), np.int16), np.ones(2, np.int64)
        draw = {"seed": 1, "step": 1, "worker": 0}
        table = LookupTable(range(16))
        found = accesses(board, lambda: encoder.encode(words, factors, table, **draw))
        assert 1 < found < LIMIT


def peak_memory(call) -> int:
    """Bytes that ``call`` had allocated at once, numpy's included."""
    call()  # what is kept from call to call stands
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_the_picture_is_copied_once(board, engine, kind):
    """From the caller's array into the buffer that the overlay reads, and nowhere between."""
    picture = pictures(1, kind)
    assert peak_memory(lambda: engine.infer(picture)) < SIZE / 2
    expected = picture if kind is np.int8 else (picture ^ 0x80).view(np.int8)
    in_memory = engine._ring.picture(0)[:SIZE].view(np.int8)
    np.testing.assert_array_equal(in_memory, expected.ravel())
    assert np.shares_memory(in_memory, board._memory), "not the memory that the overlay reads"


def test_a_copy_would_have_been_seen(engine):
    real = pictures(1, np.float32)
    assert peak_memory(lambda: engine.infer(real)) > SIZE


@pytest.mark.parametrize(
    ("record", "names"),
    [
        (vision_program.RESULT, ("magic", "code", "place", "layer", "tag", "job_cycles")),
        (vision_program.DESCRIPTOR, ("magic", "kind", "tag", "result")),
        (thc_registers.DESCRIPTOR, ("version", "seed", "worker", "table_high")),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_record_reads_as_the_description_says(record, names):
    print("seed 9")
    raw = np.random.default_rng(9).integers(0, 256, record.width // 8 + 24, np.uint8)
    expected = record.unpack_bytes(raw[16:].tobytes())
    assert RecordReader(record, *names).read(raw, 16) == tuple(expected[name] for name in names)


@pytest.mark.parametrize(
    ("record", "names"),
    [
        (vision_program.DESCRIPTOR, ("interrupt",)),
        (vision_program.RESULT, ("gate_sum",)),
        (vision_program.HEADER, ("patch_start_byte",)),
        (vision_program.RESULT, ("tag", "magic")),
    ],
)
def test_fields_that_struct_cannot_read_are_refused(record, names):
    with pytest.raises(ValueError, match="signed, out of order or no whole bytes"):
        RecordReader(record, *names)


def test_the_benchmark_prints_what_scripts_read():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.driver_overhead", "--json", "--runs", "2"],
        cwd=driver_overhead.__file__.rsplit("/", 2)[0],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    figures = json.loads(done.stdout)
    print(figures)
    assert figures["register_accesses_per_job"] < LIMIT
    assert figures["register_accesses_per_batch"] < LIMIT
    for name in ("inference", "raw_inference", "queued_inference", "softmax_inference", "batch"):
        assert 1 < figures[f"microseconds_per_{name}"] < 1000, name

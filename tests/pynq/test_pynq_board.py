"""The board behind PYNQ where there is no PYNQ: a fake at the boundary, as the board has it.

What only a real board has is played here: registers that are memory, the wall's clock, the device
tree's interrupt, exhausted memory. Real PYNQ on simulated RTL is in ``in_process.py``.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from drivers.errors import (
    BoardBusy,
    BoardClosed,
    BoardTimeout,
    BufferFreed,
    NoBoard,
    OutOfMemory,
    OverlayFileMissing,
    OverlayNotLoaded,
    RegisterError,
    WrongOverlay,
)
from drivers.real.board_lock import BoardLock
from drivers.real.pynq_board import FPGA_RST_CTRL, SLCR, SLCR_KEY, SLCR_UNLOCK, PynqBoard
from drivers.real.pynq_ip import DRIVERS
from drivers.real.pynq_waiting import find_interrupt
from drivers.simulated.pynq.files import stand_in_name, write_stand_in
from drivers.vision import VisionEngine
from eyas.interfaces.overlays import OVERLAYS, REGISTER_BASE
from eyas.interfaces.vision.registers import VISION_REGISTERS

VISION = OVERLAYS["vision"]
STATUS, ENABLE = (VISION_REGISTERS[f"interrupt_{name}"].offset for name in ("status", "enable"))
IDENTITY = VISION_REGISTERS["identity"]


class FakeMemory(np.ndarray):
    """What pynq.allocate gives: an array with an address, and calls to be counted."""

    def __new__(cls, shape, dtype, address, cacheable, calls):
        memory = super().__new__(cls, shape, dtype)
        memory.device_address = address
        memory.cacheable = cacheable
        memory.calls = calls
        return memory

    def __array_finalize__(self, source):
        self.calls = getattr(source, "calls", None)

    def flush(self):
        self.calls.append("flush")

    def invalidate(self):
        self.calls.append("invalidate")

    def freebuffer(self):
        self.calls.append("free")


class FakeDevice:
    """A PYNQ-Z2 with registers in memory, as PYNQ maps them."""

    tag = "fake"
    arch = "armv7l"
    capabilities = ("MEMORY_MAPPED",)

    def __init__(self) -> None:
        self.words = {REGISTER_BASE: np.zeros(1024, np.uint32), SLCR: np.zeros(1024, np.uint32)}
        self.words[REGISTER_BASE][IDENTITY.offset // 4] = IDENTITY.reset
        self.interrupt_pins: dict[str, dict] = {}
        self.calls: list[str] = []

    def has_capability(self, name: str) -> bool:
        return name in self.capabilities

    def set(self, offset: int, value: int) -> None:
        self.words[REGISTER_BASE][offset // 4] = value


class FakeMMIO:
    def __init__(self, base_addr: int, length: int = 4, device=None) -> None:
        self.base_addr, self.device = base_addr, device
        self.array = device.words[base_addr]
        self.writes: list[tuple[int, int]] = []

    def read(self, offset: int = 0) -> int:
        return int(self.array[offset // 4])

    def write(self, offset: int, value: int) -> None:
        self.writes.append((offset, value))
        self.array[offset // 4] = value


class FakeOverlay:
    def __init__(self, path: str, device=None, download: bool = True) -> None:
        device.calls.append(f"load {download}")
        entry = {"type": device.vlnv, "phys_addr": REGISTER_BASE, "addr_range": 4096}
        self.ip_dict = {VISION.instance: entry}


class FakeInterrupt:
    """An interrupt of the device tree; ``come`` says whether it does."""

    come = True

    def __init__(self, name: str) -> None:
        self.name = name

    async def wait(self) -> None:
        if not self.come:
            await asyncio.sleep(3600)


@pytest.fixture
def device(monkeypatch, tmp_path) -> FakeDevice:
    device = FakeDevice()
    device.vlnv = VISION.vlnv

    def allocate(shape, dtype, target, cacheable):
        if np.prod(shape) > 1 << 20:
            raise RuntimeError("BO allocation failed: out of memory")
        return FakeMemory(shape, dtype, 0x1680_0000, cacheable, target.calls)

    fake = SimpleNamespace(
        MMIO=FakeMMIO, Overlay=FakeOverlay, Interrupt=FakeInterrupt, allocate=allocate,
        Clocks=SimpleNamespace(fclk0_mhz=80.0), Device=SimpleNamespace(active_device=device),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynq", fake)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return device


@pytest.fixture
def board(device):
    """A board that polls."""
    with PynqBoard(FakeMMIO(REGISTER_BASE, device=device), VISION) as board:
        yield board


@pytest.fixture
def files(tmp_path):
    return write_stand_in("vision", tmp_path)


def test_registers_are_the_mapped_words(board, device):
    board.write_register(ENABLE, 3)
    assert device.words[REGISTER_BASE][ENABLE // 4] == 3
    assert board.read_register(IDENTITY.offset) == IDENTITY.reset
    assert board.clock_hz == 80e6
    with pytest.raises(RegisterError, match="at 0xffc with nothing, for it has none there"):
        board.write_register(0xFFC, 1)
    assert device.words[REGISTER_BASE][0xFFC // 4] == 0


def test_a_remote_boards_signed_words(device):
    """PYNQ.remote of 3.1.2 has 32-bit words signed, and no memory to map."""
    mmio = FakeMMIO(REGISTER_BASE, device=device)
    mmio.array = SimpleNamespace()
    mmio.read = lambda offset: -2
    with PynqBoard(mmio, VISION) as board:
        assert board.read_register(IDENTITY.offset) == 0xFFFF_FFFE


@pytest.mark.parametrize("cacheable", [True, False])
def test_buffers_are_zeroed_flushed_and_freed_once(board, device, cacheable):
    board.cacheable = cacheable
    buffer = board.allocate((3, 5), np.int16)
    assert (buffer.address, buffer.array.shape, buffer.array.dtype) == (0x1680_0000, (3, 5), "<i2")
    assert not buffer.array.any()
    assert type(buffer.array) is np.ndarray, "slices of PYNQ's own class are slow"
    assert device.calls == ["flush"]
    buffer.invalidate()
    buffer.close()
    buffer.close()
    assert device.calls == ["flush", "invalidate", "free"]
    with pytest.raises(BufferFreed):
        buffer.flush()


def test_exhausted_memory_is_named(board):
    with pytest.raises(OutOfMemory, match="No room for 8388608 bytes of contiguous board memory"):
        board.allocate(1 << 22, np.uint16)
    board.allocate(16)


def test_a_wait_ends_in_the_walls_time(board, device):
    device.set(STATUS, 1)  # but not enabled
    start = time.monotonic()
    with pytest.raises(BoardTimeout, match=r"Waited 0\.02 s for the moon"):
        board.wait_interrupt(0.02, "the moon")
    assert 0.02 <= time.monotonic() - start < 2
    board.write_register(ENABLE, 1)
    board.wait_interrupt(0.02, "what is there")


@pytest.mark.parametrize("comes", [True, False], ids=["comes", "is lost"])
def test_the_status_is_looked_at_whether_or_not_an_interrupt_comes(
    device, monkeypatch, comes: bool
):
    monkeypatch.setattr(FakeInterrupt, "come", comes)
    monkeypatch.setattr("drivers.real.pynq_waiting.INTERRUPT_SLICE_S", 0.01)
    interrupt = find_interrupt(sys.modules["pynq"], device, VISION)
    assert device.interrupt_pins["vision_0/interrupt"]["raw_irq"] == 61
    with PynqBoard(FakeMMIO(REGISTER_BASE, device=device), VISION, interrupt=interrupt) as board:
        looks = []
        read = board._read_register

        def second_look_finds_it(offset: int) -> int:
            looks.append(offset)
            device.set(STATUS, len(looks) > 1)
            return read(offset)

        board.write_register(ENABLE, 1)
        monkeypatch.setattr(board, "_read_register", second_look_finds_it)
        loop = asyncio.new_event_loop()
        monkeypatch.setattr("drivers.real.pynq_waiting._idle_loop", lambda: loop)
        board.wait_interrupt(5, "the job")
        assert len(looks) == 2
        loop.close()


def test_another_thread_polls_and_leaves_the_interrupt_to_its_own(device, monkeypatch):
    """PYNQ reports to the loop of the thread that opened the board, whatever loops others have."""
    interrupt = find_interrupt(sys.modules["pynq"], device, VISION)
    loop = asyncio.new_event_loop()
    monkeypatch.setattr("drivers.real.pynq_waiting._idle_loop", lambda: loop)
    with PynqBoard(FakeMMIO(REGISTER_BASE, device=device), VISION, interrupt=interrupt) as board:
        found = []
        thread = threading.Thread(target=lambda: found.append(board.interrupt_arrives()))
        thread.start()
        thread.join(30)
        assert found == [None]
        assert board.interrupt_arrives() is True
    loop.close()


def test_without_a_line_in_the_device_tree_the_board_polls(device, monkeypatch):
    def absent(name: str) -> None:
        raise ValueError("Could not find UIO device for interrupt pin for IRQ number 61")

    monkeypatch.setattr(sys.modules["pynq"], "Interrupt", absent)
    assert find_interrupt(sys.modules["pynq"], device, VISION) is None


def test_a_reset_ends_jobs_first_then_holds_the_overlays_reset(board, device):
    control = VISION_REGISTERS["control"]
    status = VISION_REGISTERS["status"]
    device.set(status.offset, status.pack(idle=1))
    device.words[SLCR][FPGA_RST_CTRL // 4] = 0b1000  # another's reset: stays
    board.write_register(ENABLE, 3)
    board.reset()
    assert device.words[REGISTER_BASE][control.offset // 4] == control.pack(abort=1)
    assert board._slcr.writes == [
        (SLCR_UNLOCK, SLCR_KEY),
        (FPGA_RST_CTRL, 0b1001),
        (FPGA_RST_CTRL, 0b1000),
    ]
    device.set(STATUS, 1)
    with pytest.raises(BoardTimeout):  # the overlay's enables are 0 behind a reset
        board.wait_interrupt(0.001, "a disabled interrupt")


def test_open_names_what_is_missing_before_anything_is_loaded(device, files, monkeypatch):
    for missing in (files, files.with_suffix(".hwh")):
        data = missing.read_bytes()
        missing.unlink()
        with pytest.raises(OverlayFileMissing, match=f"{missing.name} is missing"):
            PynqBoard.open(files)
        missing.write_bytes(data)
    monkeypatch.setitem(sys.modules, "pynq", None)
    with pytest.raises(NoBoard, match=r"PYNQ cannot be loaded .* pip install 'eyas\[pynq-sim\]'"):
        PynqBoard.open(files)
    assert device.calls == []


def test_another_chip_is_refused(device, files):
    device.arch = "aarch64"
    with pytest.raises(NoBoard, match=r"run on a Zynq-7000 \(armv7l\), the device is aarch64"):
        PynqBoard.open(files)


def test_another_version_or_overlay_is_refused_and_the_board_free(device, files):
    device.vlnv = "eyas:overlay:vision:9.0"
    with pytest.raises(WrongOverlay, match=r"holds eyas:overlay:vision:9\.0, this release's"):
        PynqBoard.open(files)
    device.vlnv = VISION.vlnv
    device.set(IDENTITY.offset, 1)
    with (
        PynqBoard.open(files) as board,
        pytest.raises(WrongOverlay, match="identity 0x00000001"),
    ):
        VisionEngine(board)


@pytest.mark.parametrize(
    ("met", "error", "words"),
    [
        (RuntimeError("Invalid length found"), OverlayNotLoaded,
         r"vision\.bit could not be loaded \(RuntimeError: Invalid length found\); copy the"),
        (OSError("Root permissions required."), NoBoard, "PYNQ needs root"),
    ],
)  # fmt: skip
def test_what_pynq_cannot_load_is_named_and_the_board_free(
    device, files, monkeypatch, met, error, words
):
    def fails(*_, **__):
        raise met

    monkeypatch.setattr(sys.modules["pynq"], "Overlay", fails)
    with pytest.raises(error, match=words):
        PynqBoard.open(files)
    monkeypatch.setattr(sys.modules["pynq"], "Overlay", FakeOverlay)
    PynqBoard.open(files).close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")  # of Python 3.12; nothing runs there
def test_a_forked_child_does_not_keep_the_lock(device):
    """Nor does it give up what its parent holds, when its copy goes."""
    lock = BoardLock("forked")
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.read(read, 1)  # until the parent is done
        os._exit(0)
    try:
        other = os.fork()
        if not other:
            lock.release()
            os._exit(0)
        assert os.waitpid(other, 0)[1] == 0
        with pytest.raises(BoardBusy):
            BoardLock("forked")
        lock.release()
        BoardLock("forked").release()
    finally:
        os.write(write, b"x")
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)


def hold(name: str, folder: str, ready, done) -> None:
    tempfile.tempdir = folder
    lock = BoardLock(name)
    ready.set()
    done.wait(30)
    lock.release()


def test_two_processes_at_once(device, files, tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    name = f"fake-{REGISTER_BASE:08x}"
    process = context.Process(target=hold, args=(name, str(tmp_path), ready, done))
    process.start()
    try:
        assert ready.wait(30)
        with pytest.raises(BoardBusy, match=f"Process {process.pid} uses overlay {name}; end it"):
            PynqBoard.open(files)
        assert device.calls == [], "nothing is loaded over another process's work"
    finally:
        done.set()
        process.join(30)
    PynqBoard.open(files).close()


def test_a_lock_goes_with_its_process(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=("killed", str(tmp_path), ready, done))
    process.start()
    assert ready.wait(30)
    process.kill()
    process.join(30)
    BoardLock("killed").release()


def test_a_second_board_of_the_process_takes_the_place_of_the_first(device, files):
    first = PynqBoard.open(files)
    with PynqBoard.open(files) as second:
        with pytest.raises(BoardClosed):
            first.read_register(IDENTITY.offset)
        first.close()
        assert second.read_register(IDENTITY.offset) == IDENTITY.reset


def test_a_forgotten_board_keeps_nothing(device, files):
    PynqBoard.open(files)
    PynqBoard.open(files).close()


def test_every_overlay_has_a_driver():
    assert set(DRIVERS) == set(OVERLAYS)


def test_a_stand_in_says_what_it_is(tmp_path):
    path = write_stand_in("thc", tmp_path)
    data = path.read_bytes()
    assert b"This is no bitstream. It stands for the simulated overlay thc" in data
    payload = data[data.index(b"This is") :]
    assert len(payload) % 4 == 0
    swapped = np.frombuffer(payload, "<u4").byteswap().tobytes()  # as PYNQ.remote sends it
    assert stand_in_name(swapped) == "thc"
    assert stand_in_name(b"\xff" * 64) is None
    with pytest.raises(ValueError, match="There is no overlay 'base'; there are "):
        write_stand_in("base", tmp_path)

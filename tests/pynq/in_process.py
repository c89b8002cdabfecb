"""Real PYNQ on the simulated PYNQ-Z2, in this process: what works, and what goes wrong by name.

Not collected by itself: it runs in environments with PYNQ, where there is no PyTorch
(``nox -s pynq``). EYAS_PYNQ_DATA names the folder that ``tests.pynq.expected`` wrote.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pynq import MMIO, Clocks, DefaultIP, Device, Overlay, allocate

from drivers.errors import (
    BoardClosed,
    BoardTimeout,
    BufferFreed,
    DriverClosed,
    JobError,
    NoBoard,
    OutOfMemory,
    OverlayFileMissing,
    RegisterError,
    WrongOverlay,
)
from drivers.real.pynq_board import PynqBoard
from drivers.simulated.pynq.device import SMALL_BOARDS, SimulatedPynqZ2
from drivers.simulated.pynq.files import write_stand_in
from drivers.thc import ThcAggregator, ThcEncoder
from drivers.vision import VisionEngine
from eyas.interfaces.overlays import REGISTER_BASE
from eyas.interfaces.thc.formats import LookupTable
from eyas.interfaces.vision.program_file import Program
from eyas.interfaces.vision.registers import VISION_REGISTERS

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ["EYAS_PYNQ_DATA"])
DOORBELL = VISION_REGISTERS["doorbell"].offset


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("overlays")
    for name in SMALL_BOARDS:
        write_stand_in(name, folder)
    return folder


@pytest.fixture(scope="session")
def shared_device() -> Iterator[SimulatedPynqZ2]:
    device = SimulatedPynqZ2(SMALL_BOARDS)
    yield device
    device.close()


@pytest.fixture
def device(shared_device) -> Iterator[SimulatedPynqZ2]:
    """PYNQ's active device; faults are taken back behind each test."""
    Device.active_device = shared_device
    yield shared_device
    for board in shared_device._boards.values():
        board.clear_faults()


@pytest.fixture
def overlay(device, files) -> Overlay:
    return Overlay(str(files / "vision.bit"))


@pytest.fixture
def engine(overlay) -> Iterator[VisionEngine]:
    with overlay.vision_0 as engine:
        engine.load(Program.load(DATA / "network.eyas"))
        yield engine


@pytest.fixture(scope="session")
def expected() -> SimpleNamespace:
    return SimpleNamespace(**np.load(DATA / "expected.npz"))


def check_right(engine: VisionEngine, expected: SimpleNamespace) -> None:
    """The engine gives what the model gives."""
    np.testing.assert_array_equal(engine.infer(expected.pictures).outputs, expected.outputs)


# What works ---------------------------------------------------------------------------------------


def test_the_script_runs_as_it_is(tmp_path):
    done = subprocess.run(
        [
            sys.executable, "-m", "drivers.simulated.pynq.run", "--small", "--files", tmp_path,
            "tests/pynq/use_overlays.py", tmp_path, DATA,
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "vision: 63 values equal" in done.stdout
    assert "thc: 3001 sums and 1536 bytes of indices equal" in done.stdout
    assert "switch: 5 packets equal" in done.stdout


def test_pynq_itself_finds_driver_registers_and_interrupt(overlay, engine):
    assert isinstance(engine, VisionEngine)
    assert isinstance(engine, DefaultIP)
    assert overlay.vision_0 is engine
    assert overlay.ip_dict["vision_0"]["phys_addr"] == REGISTER_BASE
    assert engine.register_map.identity.value == VISION_REGISTERS["identity"].reset
    assert engine.register_map.queue_capacity.queue_depth == engine.config.queue_depth
    assert engine.read(VISION_REGISTERS["version"].offset) == VISION_REGISTERS["version"].reset
    assert engine.interrupt is not None


def test_thc_is_aggregator_and_encoder(device, files):
    with Overlay(str(files / "thc.bit")).thc_0 as aggregator:
        assert isinstance(aggregator, ThcAggregator)
        encoder = aggregator.encoder()
        assert isinstance(encoder, ThcEncoder)
        assert aggregator.encoder() is encoder
    with pytest.raises(BoardClosed):
        aggregator.board.reset()


def test_clocks_are_the_boards(device, engine):
    assert engine.board.clock_hz == device.board.clock_hz == 100e6
    Clocks.fclk0_mhz = 50
    try:
        assert device.board.clock_hz == 50e6
        assert PynqBoard.open(device.bitfile_name, download=False).clock_hz == 50e6
    finally:
        Clocks.fclk0_mhz = 100


def test_an_interrupt_is_awaited_beside_other_tasks(engine):
    """A doorbell that no descriptor stands behind is an error, and that an interrupt."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async def ring() -> None:
        other = asyncio.ensure_future(tick())
        engine.register_map.doorbell = 4  # misaligned
        await asyncio.wait_for(engine.interrupt.wait(), 20)
        other.cancel()

    asyncio.get_event_loop_policy().get_event_loop().run_until_complete(ring())
    assert ticks > 1
    assert engine.register_map.interrupt_status.error == 1


def test_inside_a_running_loop_the_driver_polls(engine, expected):
    async def notebook() -> None:
        check_right(engine, expected)

    asyncio.get_event_loop_policy().get_event_loop().run_until_complete(notebook())


def test_threads_share_an_engine_and_open_boards(device, engine, expected, files):
    """None of them has an event loop."""

    def infer(number: int) -> None:
        for _ in range(3):
            check_right(engine, expected)
            assert engine.counters()["jobs_done"] > number

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(infer, range(3)))

        def open_and_read() -> int:
            with PynqBoard.open(files / "vision.bit") as board:
                return board.read_register(0)

        opened = pool.submit(open_and_read).result(60)
    assert opened == VISION_REGISTERS["identity"].reset


@pytest.mark.parametrize("cacheable", [True, False])
def test_both_kinds_of_memory(device, overlay, expected, cacheable):
    with overlay.vision_0 as engine:
        engine.board.cacheable = cacheable
        engine.load(Program.load(DATA / "network.eyas"))
        check_right(engine, expected)


def test_the_caches_are_modelled(device, overlay):
    """What is not flushed does not arrive: the tests above would notice a driver that forgets."""
    memory = allocate((16,), "u1")
    seen = memory.bo._memory
    memory[:] = 7
    assert not seen.any()
    memory.flush()
    assert (seen == 7).all()
    seen[:] = 9
    assert (memory == 7).all()
    memory.invalidate()
    assert (memory == 9).all()
    plain = allocate((16,), "u1", cacheable=False)
    plain[:] = 5
    assert (plain.bo._memory == 5).all()


def test_memory_goes_back_when_a_buffer_is_closed_or_forgotten(device, overlay):
    free = device.board._allocator._gaps()
    with allocate((1 << 20,), "u1") as first:
        view = first[16:]
        assert view.device_address == first.device_address + 16
        del view
        assert device.board._allocator._gaps() != free
    second = allocate(5)
    del first, second
    assert device.board._allocator._gaps() == free


def test_a_reset_is_one_of_the_overlay_alone(device, engine, expected):
    buffer = engine.board.allocate(64)
    buffer.array[:] = 3
    buffer.flush()
    engine.infer(expected.pictures)
    assert engine.counters()["jobs_done"]
    engine.board.reset()
    assert engine.counters()["jobs_done"] == 0
    buffer.invalidate()
    assert (buffer.array == 3).all()
    with VisionEngine(engine.board) as fresh:
        fresh.load(Program.load(DATA / "network.eyas"))
        check_right(fresh, expected)


# What goes wrong ----------------------------------------------------------------------------------


def test_no_board(files):
    script = f"""
from drivers.real.pynq_board import PynqBoard
try:
    PynqBoard.open({str(files / "vision.bit")!r})
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.stdout.startswith(f"{NoBoard.__name__} PYNQ finds no device: "), done.stderr


@pytest.mark.parametrize("missing", [".bit", ".hwh"])
def test_a_missing_file(device, tmp_path, missing):
    path = write_stand_in("vision", tmp_path)
    path.with_suffix(missing).unlink()
    with pytest.raises(OverlayFileMissing, match=rf"vision\{missing} is missing; an overlay needs"):
        PynqBoard.open(path)
    if missing == ".hwh":
        with pytest.raises(OverlayFileMissing, match=r"vision\.hwh is missing"):
            Overlay(str(path))


def test_the_wrong_overlay(device, files, tmp_path):
    with (
        PynqBoard.open(files / "thc.bit") as board,
        pytest.raises(WrongOverlay, match="load the vision overlay"),
    ):
        VisionEngine(board)
    path = write_stand_in("vision", tmp_path)
    described = path.with_suffix(".hwh").read_text()
    path.with_suffix(".hwh").write_text(described.replace("eyas:overlay", "other:overlay"))
    with pytest.raises(WrongOverlay, match=r"vision\.bit holds none of switch, thc, vision"):
        Overlay(str(path))
    with pytest.raises(WrongOverlay, match=r"vision\.bit holds other:overlay:vision:1\.0, this"):
        PynqBoard.open(path, download=False)
    with PynqBoard.open(files / "vision.bit") as board:
        VisionEngine(board).close()


def test_the_wrong_version(device, engine, files, tmp_path):
    """PYNQ binds no driver to it, and says so; opened by us it is refused."""
    path = write_stand_in("vision", tmp_path)
    described = path.with_suffix(".hwh").read_text()
    path.with_suffix(".hwh").write_text(described.replace("vision:1.0", "vision:2.0"))
    with pytest.raises(WrongOverlay, match="driver and overlay of one release"):
        PynqBoard.open(path, download=False)
    with pytest.warns(UserWarning, match="driver found for"):
        overlay = Overlay(str(path), download=False)
    assert not isinstance(overlay.vision_0, VisionEngine)


def test_exhausted_memory(engine, expected):
    with pytest.raises(OutOfMemory, match="No room for 1073741824 bytes of contiguous"):
        engine.board.allocate(1 << 30)
    check_right(engine, expected)


def test_a_lost_interrupt_costs_time_and_nothing_else(device, engine, expected):
    device.board.lose_interrupts()
    check_right(engine, expected)


def test_a_wait_for_nothing_ends(device, engine, expected):
    start = device.clock.now()
    with pytest.raises(BoardTimeout, match=r"Waited 0\.002 s for nothing, which did not come"):
        engine.board.wait_interrupt(0.002, "nothing")
    # However fast the simulation runs, the board's own time counts; a step may be under way.
    assert 0.002 <= device.clock.now() - start < 0.01
    check_right(engine, expected)


def test_a_bus_error(device, engine, expected):
    engine.infer(expected.pictures[:1])  # has its buffers from here on
    device.board.inject_read_error(0x1000_0000, 1 << 20)
    with pytest.raises(JobError, match="BUS_SLAVE"):
        engine.infer(expected.pictures)
    device.board.clear_faults()
    check_right(engine, expected)


def test_a_register_that_is_not_there(device, engine, expected):
    with pytest.raises(RegisterError, match="read of the register at 0xffc with nothing"):
        engine.board.read_register(0xFFC)
    with pytest.raises(RegisterError):
        MMIO(0x5000_0000, 4).read(0)
    check_right(engine, expected)


def test_closed_twice_and_used_after(engine, expected, files):
    buffer = engine.board.allocate(8)
    buffer.close()
    buffer.close()
    with pytest.raises(BufferFreed):
        buffer.flush()
    engine.close()
    engine.close()
    with pytest.raises(DriverClosed):
        engine.infer(expected.pictures)
    with pytest.raises(BoardClosed):
        engine.board.read_register(0)
    with Overlay(str(files / "vision.bit")).vision_0 as again:
        again.load(Program.load(DATA / "network.eyas"))
        check_right(again, expected)


def test_the_same_cell_run_again_takes_the_board_over(engine, expected, files):
    with Overlay(str(files / "vision.bit")).vision_0 as again:
        again.load(Program.load(DATA / "network.eyas"))
        with pytest.raises(BoardClosed):
            engine.board.read_register(0)
        check_right(again, expected)


def test_nothing_is_loaded_yet(files):
    device = SimulatedPynqZ2(SMALL_BOARDS)
    with pytest.raises(NoBoard, match="carries no overlay yet"):
        device.allocate((4,), "u1")


def test_tables_of_other_sizes_change_nothing(device, files, expected):
    """An aggregation behind an inference, on the same device: overlays come and go."""
    with Overlay(str(files / "thc.bit")).thc_0 as aggregator:
        aggregator.open(LookupTable(expected.table.tolist()), len(expected.packed))
        sums = aggregator.aggregate(expected.packed, len(expected.sums))
    np.testing.assert_array_equal(sums, expected.sums)

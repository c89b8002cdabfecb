"""Every cause of finding no device has its own sentence; PYNQ is played at its boundary."""

from __future__ import annotations

import asyncio
import builtins
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from drivers.errors import NoBoard, OverlayFileMissing, OverlayNotLoaded
from drivers.open_board import open_board
from drivers.real import pynq_finding
from drivers.real.pynq_board import PynqBoard
from drivers.real.pynq_finding import REMOTE, find_device, remote_device, require_pynq, require_root
from drivers.simulated.pynq.files import write_stand_in

BOARD = SimpleNamespace(tag="fake", arch="armv7l")


class FakeDevices(type):
    """PYNQ's metaclass: it looks once, and keeps what it found, also where a look failed."""

    look: Callable[[], list[Any]]

    @property
    def active_device(cls) -> Any:
        if not hasattr(cls, "_active_device"):
            if not hasattr(cls, "_devices"):
                cls._devices: list[Any] = []
                cls._devices.extend(cls.look())
            if not cls._devices:
                raise RuntimeError("No Devices Found")
            cls._active_device = cls._devices[0]
        return cls._active_device

    @active_device.setter
    def active_device(cls, device: Any) -> None:
        cls._active_device = device


class FakeStatus(Exception):
    """As gRPC's errors have it."""

    def details(self) -> str:
        return "Method not found!"


@pytest.fixture
def pynq(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """PYNQ 3.1.2 on a machine without devices; XRT is sourced, and the FPGA manager there."""
    fake: Any = ModuleType("pynq")
    fake.__version__ = "3.1.2"
    fake.Device = FakeDevices("Device", (), {"look": staticmethod(list)})
    monkeypatch.setitem(sys.modules, "pynq", fake)
    monkeypatch.delitem(sys.modules, REMOTE, raising=False)
    monkeypatch.setenv("XILINX_XRT", "/usr")
    monkeypatch.setenv("PYNQ_REMOTE_DEVICES", "")
    monkeypatch.setattr(pynq_finding, "FPGA_MANAGER", tmp_path)
    return fake


@pytest.fixture
def remote(pynq: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str, int]]:
    """PYNQ knows remote boards; the list tells with what they were made."""
    made: list[tuple[int, str, int]] = []

    def create(index: int, address: str, port: int) -> Any:
        if address == "off":
            raise RuntimeError("Failed to connect to remote device")
        if address == "older":
            raise FakeStatus
        made.append((index, address, port))
        return SimpleNamespace(ip_addr=address, port=port)

    monkeypatch.setitem(sys.modules, REMOTE, SimpleNamespace(RemoteDevice=create))  # type: ignore[arg-type]
    return made


def raises(error: Exception) -> Callable[[], list[Any]]:
    def look() -> list[Any]:
        raise error

    return look


def test_causes_in_the_machine(pynq: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One after the other mended: each look is a new one."""
    monkeypatch.delenv("XILINX_XRT")
    monkeypatch.setattr(pynq_finding, "FPGA_MANAGER", tmp_path / "nowhere")
    with pytest.raises(NoBoard, match=r"no device: XILINX_XRT is not set .*; on the board run as"):
        find_device(pynq)
    monkeypatch.setenv("XILINX_XRT", "/usr")
    with pytest.raises(NoBoard, match=r"this machine has no .*nowhere, so it is no PYNQ board"):
        find_device(pynq)
    monkeypatch.setattr(pynq_finding, "FPGA_MANAGER", tmp_path)
    with pytest.raises(NoBoard, match="imported before XILINX_XRT was set; start Python anew"):
        find_device(pynq)
    monkeypatch.setenv("PYNQ_REMOTE_DEVICES", "192.168.2.99")
    with pytest.raises(NoBoard, match="imported before PYNQ_REMOTE_DEVICES was set; start Python"):
        find_device(pynq)
    pynq.__version__ = "3.0.1"
    with pytest.raises(NoBoard, match=r"PYNQ 3\.0\.1 knows no remote boards; take 3\.1 or later"):
        find_device(pynq)
    pynq.Device.look = lambda: [BOARD]
    assert find_device(pynq) is BOARD


@pytest.mark.parametrize(
    ("met", "words"),
    [
        (OSError("Root permissions required."), "PYNQ needs root to reach the overlay; run with"),
        (PermissionError(13, "Permission denied", "/dev/mem"), "PYNQ needs root"),
        (RuntimeError("Failed to connect to remote device"),
         r"No board answers at 10\.0\.0\.9 within 5 s; check the address"),
        (FakeStatus(), r"The board at 10\.0\.0\.9 answers what PYNQ asks with 'Method not found!'"),
        (ValueError("half a\nversion"),
         r"PYNQ fails where it looks for devices \(ValueError: half a version\); on the board run"),
    ],
    ids=["root", "permission", "unreachable", "another service", "anything"],
)  # fmt: skip
def test_what_a_look_can_meet(
    met: Exception, words: str, pynq: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYNQ_REMOTE_DEVICES", "10.0.0.9")
    pynq.Device.look = raises(met)
    for _ in range(2):  # the second look is no other than the first
        with pytest.raises(NoBoard, match=words):
            find_device(pynq)
    pynq.Device.look = lambda: [BOARD]
    assert find_device(pynq) is BOARD


def test_a_thread_without_an_event_loop(pynq: Any) -> None:
    """PYNQ asks for one when it makes a device; the thread is left as it was."""
    found: list[Any] = []

    def look() -> list[Any]:
        asyncio.get_event_loop_policy().get_event_loop()
        return [BOARD]

    def work() -> None:
        found.append(find_device(pynq))
        try:
            asyncio.get_event_loop_policy().get_event_loop()
        except RuntimeError:
            found.append("no loop")

    pynq.Device.look = look
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    assert found == [BOARD, "no loop"]


def test_a_running_event_loop_is_left_alone(pynq: Any) -> None:
    async def notebook() -> None:
        loop = asyncio.get_running_loop()
        pynq.Device.look = lambda: [asyncio.get_event_loop_policy().get_event_loop()]
        assert find_device(pynq) is loop

    asyncio.run(notebook())


@pytest.mark.parametrize(
    ("met", "words"),
    [
        (ModuleNotFoundError("No module named 'grpc'", name="grpc"), r"no module 'grpc'\); on a"),
        (OSError("/opt/none/lib/libxrt_core.so: cannot open shared object file"),
         r"XRT is not where XILINX_XRT says \(/usr\): /opt/none/lib/libxrt_core\.so"),
        (FileNotFoundError(2, "No such file or directory", "xbutil"), "XRT is not where .*xbutil"),
        (ImportError("numpy.core.multiarray failed to import"),
         r"\(ImportError: numpy\.core\.multiarray failed to import\); its packages do not fit"),
        (AttributeError("module 'numpy' has no attribute 'int'"), "packages do not fit together"),
    ],
    ids=["no package", "no library", "no xbutil", "another numpy", "a newer numpy"],
)  # fmt: skip
def test_pynq_that_cannot_be_imported(
    met: Exception, words: str, pynq: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def fails(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "pynq":
            raise met
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", fails)
    with pytest.raises(NoBoard, match=words):
        require_pynq()


def test_a_file_of_the_users_is_no_matter_of_root() -> None:
    """Only what belongs to the system asks for root."""
    require_root(PermissionError(13, "Permission denied", "/home/xilinx/vision.bit"))
    for path in ("/lib/firmware/vision.bin", "/sys/class/fpga_manager/fpga0/flags", None):
        with pytest.raises(NoBoard, match="PYNQ needs root"):
            require_root(PermissionError(13, "Permission denied", path))


def test_a_remote_board_is_the_one_that_is_named(pynq: Any, remote: list[Any]) -> None:
    """Whatever PYNQ found before; a second call takes the device there is."""
    pynq.Device.active_device = BOARD
    first = remote_device("192.168.2.99")
    assert remote == [(0, "192.168.2.99", 7967)]
    assert pynq.Device.active_device is first
    assert os.environ["PYNQ_REMOTE_DEVICES"] == "192.168.2.99"
    assert remote_device("192.168.2.99") is first
    second = remote_device("localhost:9000")
    assert second is pynq.Device.active_device
    assert remote[1:] == [(0, "localhost", 9000)]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("", "named HOST or HOST:PORT, not ''"),
        ("host:", "not 'host:'"),
        ("host:x", "not 'host:x'"),
        ("host:0", "not 'host:0'"),
        ("host:65536", "not 'host:65536'"),
        ("off", "No board answers at off within 5 s"),
        ("off:9000", "No board answers at off:9000 within 5 s"),
        ("older", "The board at older answers what PYNQ asks with 'Method not found!'"),
    ],
)
def test_a_remote_board_that_cannot_be_had(
    pynq: Any, remote: list[Any], address: str, words: str
) -> None:
    with pytest.raises(NoBoard, match=words):
        remote_device(address)
    assert not hasattr(pynq.Device, "_active_device")


def test_a_remote_board_comes_too_late_or_too_early(pynq: Any) -> None:
    with pytest.raises(NoBoard, match="imported before a remote board was named, and then uses"):
        remote_device("192.168.2.99")
    pynq.__version__ = "3.0.1"
    with pytest.raises(NoBoard, match=r"PYNQ 3\.0\.1 knows no remote boards"):
        remote_device("192.168.2.99")


def test_open_board_says_so(pynq: Any, remote: list[Any], tmp_path: Path) -> None:
    with pytest.raises(OverlayFileMissing):
        open_board("vision", bitstreams=tmp_path)
    write_stand_in("vision", tmp_path)
    with pytest.raises(NoBoard, match="imported before XILINX_XRT"):
        open_board("vision", bitstreams=tmp_path)
    with pytest.raises(NoBoard, match="No board answers at off"):
        open_board("vision", bitstreams=tmp_path, remote="off")
    pynq.Device.look = lambda: [BOARD]
    pynq.Overlay = lambda *_, **__: raises(PermissionError(13, "Permission denied", "v.bit"))()
    with pytest.raises(OverlayNotLoaded, match="PermissionError"):
        PynqBoard.open(tmp_path / "vision.bit")

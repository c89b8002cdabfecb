"""Requests without sense, or without end, at PYNQ.remote's services: each gets its status.

Not collected by itself, see ``in_process.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from pynq.remote import (
    buffer_pb2,
    buffer_pb2_grpc,
    mmio_pb2,
    mmio_pb2_grpc,
    remote_device_pb2,
    remote_device_pb2_grpc,
)

from drivers.simulated.pynq import refusals, services
from drivers.simulated.pynq.device import SMALL_BOARDS, SimulatedPynqZ2
from drivers.simulated.pynq.files import write_stand_in
from drivers.simulated.pynq.remote import PORT, hint, serve
from eyas.interfaces.overlays import REGISTER_BASE
from eyas.interfaces.thc.registers import IDENTITY

FIRMWARE, MANAGER = "/lib/firmware/", "/sys/class/fpga_manager/fpga0/"
Code = grpc.StatusCode


def stubs(device: SimulatedPynqZ2) -> Iterator[SimpleNamespace]:
    server, port = serve(device, port=0)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield SimpleNamespace(
            channel=channel,
            device=remote_device_pb2_grpc.RemoteDeviceStub(channel),
            mmio=mmio_pb2_grpc.MmioStub(channel),
            buffer=buffer_pb2_grpc.RemoteBufferStub(channel),
        )
    server.stop(None).wait(10)
    device.close()


@pytest.fixture
def bare() -> Iterator[SimpleNamespace]:
    """A board that carries nothing yet."""
    yield from stubs(SimulatedPynqZ2(SMALL_BOARDS))


@pytest.fixture(scope="module")
def board() -> Iterator[SimpleNamespace]:
    """A board with the THC overlay."""
    device = SimulatedPynqZ2(SMALL_BOARDS)
    device.load("thc")
    yield from stubs(device)


@pytest.fixture(autouse=True)
def goes_on(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever was refused, the board answers behind it."""
    yield
    if "board" in request.fixturenames:
        board = request.getfixturevalue("board")
        word = board.mmio.read(mmio_pb2.ReadRequest(mmio_id=window(board), length=4), timeout=30)
        assert word.data & 0xFFFF_FFFF == IDENTITY


def window(board: SimpleNamespace, base: int = REGISTER_BASE) -> str:
    return board.mmio.get_mmio(mmio_pb2.GetMmioRequest(base_addr=base, length=4096)).mmio_id


def buffer(board: SimpleNamespace, size: int) -> Any:
    return board.buffer.allocate(buffer_pb2.AllocateRequest(size=size, cacheable=True))


def refused(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    """Status and sentence of a call, or of the answers that it streams."""

    def ended() -> None:
        answer = call()
        if hasattr(answer, "__next__"):
            list(answer)

    with pytest.raises(grpc.RpcError) as met:
        ended()
    return met.value.code(), met.value.details()


def upload(board: SimpleNamespace, path: str, *parts: bytes) -> Any:
    requests = [remote_device_pb2.WriteFileRequest(file_path=path, data=part) for part in parts]
    return board.device.writefile(iter(requests), timeout=30)


# Before an overlay ----------------------------------------------------------------------------


def test_nothing_is_loaded_yet(bare: SimpleNamespace) -> None:
    uptime = remote_device_pb2.ReadFileRequest(file_path="/proc/uptime")
    asked = mmio_pb2.ReadRequest(mmio_id=window(bare), length=4)
    written = mmio_pb2.WriteRequest(mmio_id=window(bare), data=bytes(4))
    for call in (
        lambda: bare.device.readfile(uptime),
        lambda: bare.mmio.read(asked),
        lambda: bare.mmio.write(written),
        lambda: buffer(bare, 16),
    ):
        code, text = refused(call)
        assert code is Code.FAILED_PRECONDITION
        assert text == "The simulated PYNQ-Z2 carries no overlay yet; load one with Overlay(…)"


# Files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("/etc/passwd", Code.PERMISSION_DENIED, "not to '/etc/passwd'"),
        ("vision.bin", Code.PERMISSION_DENIED, "Files are written to /lib/firmware/"),
        ("/proc/version", Code.PERMISSION_DENIED, "not to '/proc/version'"),
        (MANAGER + "state", Code.PERMISSION_DENIED, "the FPGA manager's flags and firmware"),
        (FIRMWARE, Code.INVALID_ARGUMENT, "1 to 255 characters"),
        (FIRMWARE + "..", Code.INVALID_ARGUMENT, "not '..'"),
        (FIRMWARE + "../../etc/passwd", Code.INVALID_ARGUMENT, "without folders"),
        (FIRMWARE + "a/b.bin", Code.INVALID_ARGUMENT, "without folders"),
        (FIRMWARE + "a\0b", Code.INVALID_ARGUMENT, "without folders"),
        (FIRMWARE + "a" * 256, Code.INVALID_ARGUMENT, "1 to 255 characters"),
        ("", Code.PERMISSION_DENIED, "not to ''"),
    ],
)
def test_paths(board: SimpleNamespace, path: str, code: grpc.StatusCode, words: str) -> None:
    found, text = refused(lambda: upload(board, path, b"data"))
    assert (found, words in text) == (code, True), text


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        (b"\xff\xfe.bin", Code.INVALID_ARGUMENT, r"name is UTF-8, not b'\xff\xfe.bin'"),
        (b"../thc.bin", Code.INVALID_ARGUMENT, "without folders, not '../thc.bin'"),
        (b"", Code.INVALID_ARGUMENT, "1 to 255 characters"),
        (b"none.bin", Code.FAILED_PRECONDITION, "has no overlay 'none'; it has switch, thc"),
    ],
)
def test_names_of_bitstreams(
    board: SimpleNamespace, name: bytes, code: grpc.StatusCode, words: str
) -> None:
    found, text = refused(lambda: upload(board, MANAGER + "firmware", name))
    assert (found, words in text) == (code, True), text


def test_a_path_that_is_not_utf8(board: SimpleNamespace) -> None:
    """gRPC itself refuses it: in its messages text is UTF-8."""
    good = remote_device_pb2.ReadFileRequest(file_path="/aa").SerializeToString()
    method = "/" + remote_device_pb2.DESCRIPTOR.services_by_name["RemoteDevice"].full_name
    call = board.channel.unary_stream(f"{method}/readfile")  # bytes as they are
    assert refused(lambda: call(good.replace(b"aa", b"\xff\xfe")))[0] is Code.INTERNAL


def test_files_that_there_are_not(board: SimpleNamespace) -> None:
    asked = remote_device_pb2.ReadFileRequest(file_path="/etc/passwd")
    assert refused(lambda: board.device.readfile(asked)) == (
        Code.NOT_FOUND, "There is no file /etc/passwd",
    )  # fmt: skip


def test_uploads_have_a_limit(board: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "FILE_BYTES", 1 << 20)
    part = bytes(1 << 19)
    upload(board, FIRMWARE + "a.bin", part, part)
    code, text = refused(lambda: upload(board, FIRMWARE + "b.bin", part, part, b"x"))
    assert code is Code.RESOURCE_EXHAUSTED
    assert text == "/lib/firmware/b.bin has more than the 1048576 bytes that a file may have here"
    asked = remote_device_pb2.ReadFileRequest(file_path=FIRMWARE + "b.bin")
    assert refused(lambda: board.device.readfile(asked))[0] is Code.NOT_FOUND


def test_the_oldest_file_makes_room(board: SimpleNamespace) -> None:
    def there(number: int) -> bool:
        asked = remote_device_pb2.ReadFileRequest(file_path=f"{FIRMWARE}{number}.bin")
        try:
            return b"".join(item.data for item in board.device.readfile(asked)) == b"data"
        except grpc.RpcError:
            return False

    for number in range(services.FILES + 1):
        upload(board, f"{FIRMWARE}{number}.bin", b"da", b"ta")
    assert [there(0), there(1), there(services.FILES)] == [False, True, True]


def test_streams_that_change_their_mind_or_hold_nothing(board: SimpleNamespace) -> None:
    def two() -> Iterator[Any]:
        for name in "ab":
            yield remote_device_pb2.WriteFileRequest(file_path=FIRMWARE + name, data=b"x")

    assert refused(lambda: board.device.writefile(two())) == (
        Code.INVALID_ARGUMENT, "One stream holds one file, not /lib/firmware/a and another one",
    )  # fmt: skip
    assert refused(lambda: upload(board, ""))[0] is Code.INVALID_ARGUMENT


def test_a_silent_client_keeps_nobody_out(
    board: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "STREAM_S", 0.3)

    def silent() -> Iterator[Any]:
        yield remote_device_pb2.WriteFileRequest(file_path=FIRMWARE + "slow.bin", data=b"x")
        time.sleep(2)

    start = time.monotonic()
    assert refused(lambda: board.device.writefile(silent(), timeout=30))[0] is Code.CANCELLED
    assert time.monotonic() - start < 10
    asked = remote_device_pb2.ReadFileRequest(file_path=FIRMWARE + "slow.bin")
    assert refused(lambda: board.device.readfile(asked))[0] is Code.NOT_FOUND, "half a file is kept"


# Registers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 3, 5, 4098, 8192])
def test_writes_of_odd_lengths(board: SimpleNamespace, size: int) -> None:
    request = mmio_pb2.WriteRequest(mmio_id=window(board), offset=0, data=bytes(size))
    code, text = refused(lambda: board.mmio.write(request))
    assert code is Code.INVALID_ARGUMENT
    assert text == f"A write is of 4 to 4096 bytes, whole words, not {size}"


@pytest.mark.parametrize("length", [3, 5, 8, 1 << 30])
def test_reads_of_odd_lengths(board: SimpleNamespace, length: int) -> None:
    request = mmio_pb2.ReadRequest(mmio_id=window(board), offset=0, length=length)
    code, text = refused(lambda: board.mmio.read(request))
    assert (code, f"not {length}" in text) == (Code.INVALID_ARGUMENT, True), text


def test_parts_of_a_word(board: SimpleNamespace) -> None:
    for length in (1, 2, 4):
        request = mmio_pb2.ReadRequest(mmio_id=window(board), offset=0, length=length)
        mask = (1 << 8 * length) - 1
        assert board.mmio.read(request).data & mask == IDENTITY & mask


def test_offsets_and_windows(board: SimpleNamespace) -> None:
    for offset in (1, 2, 4095):
        request = mmio_pb2.ReadRequest(mmio_id=window(board), offset=offset, length=4)
        assert refused(lambda request=request: board.mmio.read(request))[0] is Code.INVALID_ARGUMENT
    beyond = mmio_pb2.ReadRequest(mmio_id=window(board), offset=1 << 20, length=4)
    assert "nothing: no register is at this address" in board.mmio.read(beyond).msg
    elsewhere = mmio_pb2.ReadRequest(mmio_id=window(board, 0x5000_0000), length=4)
    assert "nothing: no register" in board.mmio.read(elsewhere).msg
    for name in ("", "abc", "-4", "1" * 40):
        request = mmio_pb2.ReadRequest(mmio_id=name, length=4)
        assert refused(lambda request=request: board.mmio.read(request))[0] is Code.NOT_FOUND
    odd = mmio_pb2.GetMmioRequest(base_addr=2, length=4)
    assert refused(lambda: board.mmio.get_mmio(odd))[0] is Code.INVALID_ARGUMENT


# Buffers ------------------------------------------------------------------------------------------


def test_sizes_of_buffers(board: SimpleNamespace) -> None:
    assert refused(lambda: buffer(board, 0)) == (
        Code.INVALID_ARGUMENT, "A buffer has at least 1 byte, not 0",
    )  # fmt: skip
    field = buffer_pb2.AllocateRequest.DESCRIPTOR.fields_by_name["size"]
    signed = field.type in (field.TYPE_INT32, field.TYPE_INT64)
    wide = field.type in (field.TYPE_INT64, field.TYPE_UINT64)
    if signed:
        assert refused(lambda: buffer(board, -1))[0] is Code.INVALID_ARGUMENT
    largest = (1 << (64 if wide else 32) - signed) - 1
    for size in (1 << 30, largest):
        answer = buffer(board, size)  # PYNQ's way: its clients raise RuntimeError
        assert answer.msg.startswith("BO allocation failed: ")
        assert answer.buffer_id == ""


def test_buffers_that_there_are_not(board: SimpleNamespace) -> None:
    name = buffer(board, 16).buffer_id
    board.buffer.freebuffer(buffer_pb2.FreeBufferRequest(buffer_id=name))
    for missing in (name, "x"):
        for call in (
            lambda m=missing: board.buffer.read(buffer_pb2.BufferReadRequest(buffer_id=m)),
            lambda m=missing: board.buffer.flush(buffer_pb2.FlushRequest(buffer_id=m)),
            lambda m=missing: board.buffer.invalidate(buffer_pb2.InvalidateRequest(buffer_id=m)),
            lambda m=missing: board.buffer.freebuffer(buffer_pb2.FreeBufferRequest(buffer_id=m)),
            lambda m=missing: board.buffer.physical_address(buffer_pb2.AddressRequest(buffer_id=m)),
            lambda m=missing: board.buffer.cacheable(buffer_pb2.CacheableRequest(buffer_id=m)),
            lambda m=missing: sent(board, (m, b"1")),
        ):
            code, text = refused(call)
            assert (code, "There is no buffer" in text) == (Code.NOT_FOUND, True), text
    # PYNQ's client goes on with this name where an allocation was refused, and looks at messages.
    unnamed = board.buffer.physical_address(buffer_pb2.AddressRequest(buffer_id=""))
    assert unnamed.msg.endswith("it was freed, or never allocated for want of memory")
    nothing = buffer_pb2.BufferReadRequest(buffer_id="")
    assert refused(lambda: board.buffer.read(nothing))[0] is Code.NOT_FOUND


def sent(board: SimpleNamespace, *parts: tuple[str, bytes]) -> Any:
    requests = [buffer_pb2.BufferWriteRequest(buffer_id=name, data=data) for name, data in parts]
    return board.buffer.write(iter(requests), timeout=30)


def test_what_does_not_fit_a_buffer(board: SimpleNamespace) -> None:
    name, other = buffer(board, 16).buffer_id, buffer(board, 16).buffer_id
    sent(board, (name, bytes(range(8))), (name, bytes(range(8, 16))))
    code, text = refused(lambda: sent(board, (name, bytes(17))))
    assert (code, text) == (
        Code.INVALID_ARGUMENT, f"Buffer '{name}' has 16 bytes, and 17 at least were sent",
    )  # fmt: skip
    assert refused(lambda: sent(board, (name, b""), (other, b"1"))) == (
        Code.INVALID_ARGUMENT, "One stream is for one buffer",
    )  # fmt: skip
    assert refused(lambda: sent(board))[0] is Code.INVALID_ARGUMENT
    part = buffer_pb2.BufferReadRequest(buffer_id=name, start=4, end=8)
    assert refused(lambda: board.buffer.read(part))[0] is Code.UNIMPLEMENTED
    whole = board.buffer.read(buffer_pb2.BufferReadRequest(buffer_id=name))
    assert b"".join(item.data for item in whole) == bytes(range(16))


# The server ---------------------------------------------------------------------------------------


def test_a_stand_in_is_loaded(board: SimpleNamespace, tmp_path: Path) -> None:
    data = write_stand_in("thc", tmp_path).read_bytes()
    payload = data[data.index(b"This is") :]
    swapped = b"".join(payload[at : at + 4][::-1] for at in range(0, len(payload), 4))
    upload(board, FIRMWARE + "any.bin", swapped)
    upload(board, MANAGER + "firmware", b"any.bin")


def test_the_hint_names_what_works() -> None:
    assert hint("127.0.0.1", PORT) == "in the other process set PYNQ_REMOTE_DEVICES=127.0.0.1"
    other = hint("127.0.0.1", 9000)
    assert "PYNQ by itself looks at port 7967 alone" in other
    assert "remote='127.0.0.1:9000'" in other
    assert "PYNQ_REMOTE_DEVICES" not in other
    assert hint("0.0.0.0", PORT).endswith("PYNQ_REMOTE_DEVICES=ADDRESS-OF-THIS-MACHINE")

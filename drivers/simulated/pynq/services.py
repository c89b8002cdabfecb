"""PYNQ.remote's services on a simulated PYNQ-Z2: its files, its registers, its buffers.

Requests are judged before anything is changed, see :mod:`drivers.simulated.pynq.refusals`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

import grpc
from pynq.buffer import PynqBuffer
from pynq.remote import (
    buffer_pb2,
    buffer_pb2_grpc,
    mmio_pb2,
    mmio_pb2_grpc,
    remote_device_pb2,
    remote_device_pb2_grpc,
)

from drivers.simulated.pynq.device import SimulatedPynqZ2
from drivers.simulated.pynq.files import stand_in_name
from drivers.simulated.pynq.refusals import Refused, guarded, received, statuses
from eyas.interfaces.overlays import REGISTER_BASE

__all__ = ["FILES", "FILE_BYTES", "add_services"]

CYCLES_PER_READ = 1000
"""Cycles that pass at each read of the overlay: 10 µs at 100 MHz, for a client can only poll."""
CHUNK = 1 << 20
"""Bytes in one message; gRPC takes 4 MiB."""
FILE_BYTES = 16 << 20
"""What an uploaded file may have; a bitstream of this chip has 4 MiB."""
FILES = 16
"""Files that are kept; the oldest makes room."""
WINDOW_BYTES = 4096
"""Bytes of registers in one write."""
_FIRMWARE, _MANAGER = "/lib/firmware/", "/sys/class/fpga_manager/fpga0/"
_ATTRIBUTES = {_MANAGER + "flags", _MANAGER + "firmware"}
_Code = grpc.StatusCode


def add_services(device: SimulatedPynqZ2, server: grpc.Server) -> None:
    """Let ``server`` answer for ``device``."""
    remote_device_pb2_grpc.add_RemoteDeviceServicer_to_server(_Device(device), server)
    mmio_pb2_grpc.add_MmioServicer_to_server(_Mmio(device), server)
    buffer_pb2_grpc.add_RemoteBufferServicer_to_server(_Buffers(device), server)


class _Device(remote_device_pb2_grpc.RemoteDeviceServicer):  # type: ignore[misc]  # PYNQ is untyped
    """Files of the board that PYNQ reads and writes, among them the FPGA manager's."""

    def __init__(self, device: SimulatedPynqZ2) -> None:
        self._device = device
        self._files = {
            "/proc/version": b"Linux version 0 (simulated) armv7l\n",
            "/proc/device-tree/chosen/pynq_board": device.name.encode() + b"\0",
            _MANAGER + "state": b"operating\n",
            _MANAGER + "flags": b"0\n",
        }
        self._firmware: dict[str, bytes] = {}  # by name, the oldest first

    def set_bitstream_attrs(self, request: Any, context: Any) -> Any:
        return remote_device_pb2.SetBitstreamAttrsResponse(status=True)

    def existsfile(self, request: Any, context: Any) -> Any:
        # Bitstreams are sent each time: one of another kind may have the same name.
        return remote_device_pb2.ExistsFileResponse(exists=request.file_path in self._files)

    def readfile(self, request: Any, context: Any) -> Iterator[Any]:
        with statuses(context):
            data = self._contents(request.file_path)
        for start in range(0, len(data) or 1, CHUNK):
            yield remote_device_pb2.ReadFileResponse(data=data[start : start + CHUNK])

    def writefile(self, request_iterator: Iterator[Any], context: Any) -> Any:
        with statuses(context):
            path, parts, size = "", [], 0
            for number, request in enumerate(received(request_iterator, context)):
                if not number:
                    path = _writable(request.file_path)
                elif request.file_path != path:
                    raise ValueError(f"One stream holds one file, not {path} and another one")
                parts.append(request.data)
                size += len(request.data)
                if size > FILE_BYTES:
                    raise Refused(
                        _Code.RESOURCE_EXHAUSTED,
                        f"{path} has more than the {FILE_BYTES} bytes that a file may have here",
                    )
            if not path:
                raise ValueError("The stream names no file: it must hold a request at least")
            self._store(path, b"".join(parts))
        return remote_device_pb2.WriteFileResponse()

    def _contents(self, path: str) -> bytes:
        if path == "/proc/uptime":
            return f"{self._device.clock.now():.9f} 0\n".encode()
        if path.startswith(_FIRMWARE) and path.removeprefix(_FIRMWARE) in self._firmware:
            return self._firmware[path.removeprefix(_FIRMWARE)]
        if path not in self._files:
            raise Refused(_Code.NOT_FOUND, f"There is no file {path}")
        return self._files[path]

    def _store(self, path: str, data: bytes) -> None:
        if path in _ATTRIBUTES:
            if path == _MANAGER + "firmware":
                self._load(data)
            self._files[path] = data
            return
        name = path.removeprefix(_FIRMWARE)
        self._firmware.pop(name, None)
        self._firmware[name] = data
        while len(self._firmware) > FILES:
            del self._firmware[next(iter(self._firmware))]

    def _load(self, data: bytes) -> None:
        """A stand-in names its overlay; a real bitstream's overlay is known by the file's name."""
        try:
            name = data.decode().strip()
        except UnicodeDecodeError:
            raise ValueError(f"A bitstream's name is UTF-8, not {data[:64]!r}") from None
        _writable(_FIRMWARE + name)
        overlay = stand_in_name(self._firmware.get(name, b"")) or PurePosixPath(name).stem
        self._device.load(overlay)


def _writable(path: str) -> str:
    """``path``, where a client may write it."""
    if path in _ATTRIBUTES:
        return path
    name = path.removeprefix(_FIRMWARE)
    if name == path:
        raise Refused(
            _Code.PERMISSION_DENIED,
            f"Files are written to {_FIRMWARE} and to the FPGA manager's flags and firmware, not "
            f"to {path[:256]!r}",
        )
    if not re.fullmatch(r"[^/\0]{1,255}", name) or name in (".", ".."):
        raise ValueError(
            f"A bitstream has a name of 1 to 255 characters in {_FIRMWARE}, without folders, not "
            f"{name[:256]!r}"
        )
    return path


class _Mmio(mmio_pb2_grpc.MmioServicer):  # type: ignore[misc]  # PYNQ is untyped
    """Words at physical addresses."""

    def __init__(self, device: SimulatedPynqZ2) -> None:
        self._device = device
        field = mmio_pb2.ReadResponse.DESCRIPTOR.fields_by_name["data"]
        # PYNQ 3.1.2 declares the word signed, 4.0.0 unsigned.
        self._signed = field.type == field.TYPE_INT32

    def get_mmio(self, request: Any, context: Any) -> Any:
        # The address itself is the handle: any number of clients may ask, and none ever closes.
        with statuses(context):
            base = request.base_addr
            if not 0 <= base < 1 << 32 or base % 4 or request.length < 0:
                raise ValueError(
                    f"A window begins at a multiple of 4 below 2^32 and has no negative length, "
                    f"not {base:#x} and {request.length}"
                )
        return mmio_pb2.GetMmioResponse(status=True, mmio_id=str(base))

    def read(self, request: Any, context: Any) -> Any:
        return guarded(lambda: self._read(request), mmio_pb2.ReadResponse, context)

    def write(self, request: Any, context: Any) -> Any:
        return guarded(lambda: self._write(request), mmio_pb2.WriteResponse, context)

    def _read(self, request: Any) -> Any:
        address = self._address(request)
        length = request.length or 4  # PYNQ's default
        if length not in (1, 2, 4):
            raise ValueError(f"A read is of 1, 2 or 4 bytes, for one word answers it, not {length}")
        if address - request.offset == REGISTER_BASE:
            self._device.run(CYCLES_PER_READ)
        word = int.from_bytes(self._device.read_registers(address, 4), "little")
        word &= (1 << 8 * length) - 1
        if self._signed and word >> 31:
            word -= 1 << 32
        return mmio_pb2.ReadResponse(status=True, data=word)

    def _write(self, request: Any) -> Any:
        address, size = self._address(request), len(request.data)
        if not 0 < size <= WINDOW_BYTES or size % 4:
            raise ValueError(f"A write is of 4 to {WINDOW_BYTES} bytes, whole words, not {size}")
        self._device.write_registers(address, request.data)
        return mmio_pb2.WriteResponse(status=True)

    @staticmethod
    def _address(request: Any) -> int:
        if not re.fullmatch(r"[0-9]{1,10}", request.mmio_id):
            raise Refused(_Code.NOT_FOUND, f"There is no window {request.mmio_id[:64]!r}")
        if request.offset < 0 or request.offset % 4:
            raise ValueError(f"An offset is a multiple of 4 from 0 on, not {request.offset}")
        return int(request.mmio_id) + int(request.offset)


class _Buffers(buffer_pb2_grpc.RemoteBufferServicer):  # type: ignore[misc]  # PYNQ is untyped
    """Contiguous memory, by handles."""

    def __init__(self, device: SimulatedPynqZ2) -> None:
        self._device = device
        self._buffers: dict[str, Any] = {}
        self._numbers = itertools.count(1)

    def allocate(self, request: Any, context: Any) -> Any:
        def answer() -> Any:
            if request.size < 1:
                raise ValueError(f"A buffer has at least 1 byte, not {request.size}")
            if request.size >= 1 << 32:
                raise RuntimeError("BO allocation failed: the chip addresses less than 2^32 bytes")
            buffer = self._device.allocate(request.size, "u1", cacheable=request.cacheable)
            name = str(next(self._numbers))
            self._buffers[name] = buffer
            return buffer_pb2.AllocateResponse(buffer_id=name)

        return guarded(answer, buffer_pb2.AllocateResponse, context)

    def write(self, request_iterator: Iterator[Any], context: Any) -> Any:
        def answer() -> Any:
            name, start = None, 0
            for request in received(request_iterator, context):
                if name is not None and request.buffer_id != name:
                    raise ValueError("One stream is for one buffer")
                name, buffer = request.buffer_id, self._find(request)
                end = start + len(request.data)
                if end > buffer.nbytes:
                    raise ValueError(
                        f"Buffer {name!r} has {buffer.nbytes} bytes, and {end} at least were sent"
                    )
                buffer[start:end] = memoryview(request.data)
                start = end
            if name is None:
                raise ValueError("The stream names no buffer: it must hold a request at least")
            return buffer_pb2.BufferWriteResponse()

        return guarded(answer, buffer_pb2.BufferWriteResponse, context)

    def read(self, request: Any, context: Any) -> Iterator[Any]:
        with statuses(context):
            try:
                buffer = self._find(request)
            except RuntimeError as error:
                raise Refused(_Code.NOT_FOUND, str(error)) from None
        for start in range(0, buffer.nbytes, CHUNK):
            data = buffer[start : start + CHUNK].tobytes()
            yield buffer_pb2.BufferReadResponse(data=data)

    def freebuffer(self, request: Any, context: Any) -> Any:
        def answer() -> Any:
            self._find(request).freebuffer()
            del self._buffers[request.buffer_id]
            return buffer_pb2.FreeBufferResponse()

        return guarded(answer, buffer_pb2.FreeBufferResponse, context)

    def flush(self, request: Any, context: Any) -> Any:
        return self._with(request, PynqBuffer.flush, buffer_pb2.FlushResponse, context)

    def invalidate(self, request: Any, context: Any) -> Any:
        return self._with(request, PynqBuffer.invalidate, buffer_pb2.InvalidateResponse, context)

    def physical_address(self, request: Any, context: Any) -> Any:
        return guarded(
            lambda: buffer_pb2.AddressResponse(address=self._find(request).device_address),
            buffer_pb2.AddressResponse,
            context,
        )

    def cacheable(self, request: Any, context: Any) -> Any:
        return guarded(
            lambda: buffer_pb2.CacheableResponse(cacheable=self._find(request).cacheable),
            buffer_pb2.CacheableResponse,
            context,
        )

    def _find(self, request: Any) -> PynqBuffer:
        """The buffer that ``request`` names, for the whole of which it asks."""
        if request.buffer_id not in self._buffers:
            name = request.buffer_id[:64]
            text = f"There is no buffer {name!r}: it was freed, or never allocated"
            if not request.buffer_id:  # PYNQ passes over the message of a refused allocation
                raise RuntimeError(f"{text} for want of memory")
            raise Refused(_Code.NOT_FOUND, text)
        if getattr(request, "start", 0) or getattr(request, "end", 0):
            raise Refused(_Code.UNIMPLEMENTED, "Buffers are read and written as a whole")
        return self._buffers[request.buffer_id]

    def _with(
        self, request: Any, action: Callable[[Any], None], response: Any, context: Any
    ) -> Any:
        def answer() -> Any:
            action(self._find(request))
            return response()

        return guarded(answer, response, context)

"""The simulated PYNQ-Z2 behind PYNQ.remote's services: another process drives it with stock PYNQ.

Serve it, then name it to PYNQ in the other process::

    python -m drivers.simulated.pynq.remote
    PYNQ_REMOTE_DEVICES=127.0.0.1 python my_script.py

The services have no authentication, as on a board: they listen on loopback unless told otherwise.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
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

from drivers.errors import EyasError
from drivers.simulated.pynq.device import SimulatedPynqZ2
from drivers.simulated.pynq.files import stand_in_name
from drivers.simulated.pynq.run import chosen_device, device_options
from eyas.interfaces.overlays import REGISTER_BASE

__all__ = ["PORT", "serve"]

PORT = 7967
"""Where PYNQ looks for a remote board."""
CYCLES_PER_READ = 1000
"""Cycles that pass at each read of the overlay: 10 µs at 100 MHz, for a client can only poll."""
CHUNK = 1 << 20
"""Bytes in one message; gRPC takes 4 MiB."""
_FIRMWARE, _MANAGER = "/lib/firmware/", "/sys/class/fpga_manager/fpga0/"


def serve(
    device: SimulatedPynqZ2 | None = None, *, host: str = "127.0.0.1", port: int = PORT
) -> tuple[grpc.Server, int]:
    """Start serving ``device``; return the server, to be stopped, and its port.

    Parameters
    ----------
    device : SimulatedPynqZ2 or None
        By default one with the default overlays.
    host : str
        Address to listen on. The services let anyone who reaches them use the device.
    port : int
        0 for any that is free.

    Raises OSError when the port is taken.
    """
    device = device or SimulatedPynqZ2()
    # One thread: requests come one after the other, as the simulation needs it.
    server = grpc.server(ThreadPoolExecutor(max_workers=1), options=[("grpc.so_reuseport", 0)])
    remote_device_pb2_grpc.add_RemoteDeviceServicer_to_server(_Device(device), server)
    mmio_pb2_grpc.add_MmioServicer_to_server(_Mmio(device), server)
    buffer_pb2_grpc.add_RemoteBufferServicer_to_server(_Buffers(device), server)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise OSError(
            f"Port {port} of {host} cannot be had; end what listens there or choose another"
        ) from error
    server.start()
    return server, bound


def _guarded(answer: Callable[[], Any], response: Any) -> Any:
    """What ``answer`` gives; an error of ours, or of PYNQ's, as the response's message."""
    try:
        return answer()
    except (EyasError, RuntimeError, KeyError, ValueError) as error:
        return response(msg=str(error) or type(error).__name__)


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

    def set_bitstream_attrs(self, request: Any, context: Any) -> Any:
        return remote_device_pb2.SetBitstreamAttrsResponse(status=True)

    def existsfile(self, request: Any, context: Any) -> Any:
        # Bitstreams are sent each time: one of another kind may have the same name.
        known = request.file_path in self._files and not request.file_path.startswith(_FIRMWARE)
        return remote_device_pb2.ExistsFileResponse(exists=known)

    def readfile(self, request: Any, context: Any) -> Iterator[Any]:
        if request.file_path == "/proc/uptime":
            data = f"{self._device.clock.now():.9f} 0\n".encode()
        elif request.file_path in self._files:
            data = self._files[request.file_path]
        else:
            context.abort(grpc.StatusCode.NOT_FOUND, f"There is no file {request.file_path}")
        yield remote_device_pb2.ReadFileResponse(data=data)

    def writefile(self, request_iterator: Iterator[Any], context: Any) -> Any:
        path, data = "", b""
        for request in request_iterator:
            path, data = request.file_path, data + request.data
        self._files[path] = data
        if path == _MANAGER + "firmware":
            try:
                self._load(data.decode())
            except EyasError as error:
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return remote_device_pb2.WriteFileResponse()

    def _load(self, name: str) -> None:
        """A stand-in names its overlay; a real bitstream's overlay is known by the file's name."""
        data = self._files.get(_FIRMWARE + name, b"")
        self._device.load(stand_in_name(data) or Path(name).stem)


class _Mmio(mmio_pb2_grpc.MmioServicer):  # type: ignore[misc]  # PYNQ is untyped
    """Words at physical addresses."""

    def __init__(self, device: SimulatedPynqZ2) -> None:
        self._device = device
        self._windows: dict[str, int] = {}
        field = mmio_pb2.ReadResponse.DESCRIPTOR.fields_by_name["data"]
        # PYNQ 3.1.2 declares the word signed, 4.0.0 unsigned.
        self._signed = field.type == field.TYPE_INT32

    def get_mmio(self, request: Any, context: Any) -> Any:
        # The address itself is the handle: any number of clients may ask, and none ever closes.
        self._windows[str(request.base_addr)] = request.base_addr
        return mmio_pb2.GetMmioResponse(status=True, mmio_id=str(request.base_addr))

    def read(self, request: Any, context: Any) -> Any:
        return _guarded(lambda: self._read(request), mmio_pb2.ReadResponse)

    def write(self, request: Any, context: Any) -> Any:
        return _guarded(lambda: self._write(request), mmio_pb2.WriteResponse)

    def _read(self, request: Any) -> Any:
        base = self._windows[request.mmio_id]
        if base == REGISTER_BASE:
            self._device.run(CYCLES_PER_READ)
        word = int.from_bytes(self._device.read_registers(base + request.offset, 4), "little")
        if self._signed and word >> 31:
            word -= 1 << 32
        return mmio_pb2.ReadResponse(status=True, data=word)

    def _write(self, request: Any) -> Any:
        address = self._windows[request.mmio_id] + request.offset
        self._device.write_registers(address, request.data)
        return mmio_pb2.WriteResponse(status=True)


class _Buffers(buffer_pb2_grpc.RemoteBufferServicer):  # type: ignore[misc]  # PYNQ is untyped
    """Contiguous memory, by handles."""

    def __init__(self, device: SimulatedPynqZ2) -> None:
        self._device = device
        self._buffers: dict[str, Any] = {}
        self._numbers = itertools.count(1)

    def allocate(self, request: Any, context: Any) -> Any:
        def answer() -> Any:
            name = str(next(self._numbers))
            self._buffers[name] = self._device.allocate(
                request.size, "u1", cacheable=request.cacheable
            )
            return buffer_pb2.AllocateResponse(buffer_id=name)

        return _guarded(answer, buffer_pb2.AllocateResponse)

    def write(self, request_iterator: Iterator[Any], context: Any) -> Any:
        def answer() -> Any:
            start = 0
            for request in request_iterator:
                buffer = self._buffers[request.buffer_id]
                end = start + len(request.data)
                buffer[start:end] = memoryview(request.data)
                start = end
            return buffer_pb2.BufferWriteResponse()

        return _guarded(answer, buffer_pb2.BufferWriteResponse)

    def read(self, request: Any, context: Any) -> Iterator[Any]:
        buffer = self._buffers.get(request.buffer_id)
        if buffer is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"There is no buffer {request.buffer_id!r}")
            return
        for start in range(0, buffer.nbytes, CHUNK):
            data = buffer[start : start + CHUNK].tobytes()
            yield buffer_pb2.BufferReadResponse(data=data)

    def freebuffer(self, request: Any, context: Any) -> Any:
        buffer = self._buffers.pop(request.buffer_id, None)
        if buffer is not None:
            buffer.freebuffer()
        return buffer_pb2.FreeBufferResponse()

    def flush(self, request: Any, context: Any) -> Any:
        return self._with(request, PynqBuffer.flush, buffer_pb2.FlushResponse)

    def invalidate(self, request: Any, context: Any) -> Any:
        return self._with(request, PynqBuffer.invalidate, buffer_pb2.InvalidateResponse)

    def physical_address(self, request: Any, context: Any) -> Any:
        return _guarded(
            lambda: buffer_pb2.AddressResponse(address=self._find(request).device_address),
            buffer_pb2.AddressResponse,
        )

    def cacheable(self, request: Any, context: Any) -> Any:
        return _guarded(
            lambda: buffer_pb2.CacheableResponse(cacheable=self._find(request).cacheable),
            buffer_pb2.CacheableResponse,
        )

    def _find(self, request: Any) -> PynqBuffer:
        if request.buffer_id not in self._buffers:
            raise RuntimeError(
                f"There is no buffer {request.buffer_id!r}: it was freed, or never allocated for "
                f"want of memory"
            )
        return self._buffers[request.buffer_id]

    def _with(self, request: Any, action: Callable[[Any], None], response: Any) -> Any:
        def answer() -> Any:
            action(self._find(request))
            return response()

        return _guarded(answer, response)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m drivers.simulated.pynq.remote",
        description="Serve a simulated PYNQ-Z2 to PYNQ in other processes.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=PORT, help="port to listen on (%(default)s)")
    device_options(parser)
    options = parser.parse_args()
    try:
        server, port = serve(chosen_device(options), host=options.host, port=options.port)
    except OSError as error:
        parser.error(str(error))
    print(
        f"a simulated PYNQ-Z2 listens on {options.host}:{port}; in the other process set "
        f"PYNQ_REMOTE_DEVICES={options.host}",
        flush=True,
    )
    try:
        server.wait_for_termination()
    except KeyboardInterrupt:
        server.stop(None)


if __name__ == "__main__":
    main()

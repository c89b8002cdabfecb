"""A worker's connection to the aggregation service, which makes up for lost packets."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import socket
import subprocess
import sys
import time
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from eyas.interfaces.switch.packet import Lanes, Packet, PacketKind
from eyas.services.aggregation.aggregator import AggregatorError, Sums
from eyas.services.aggregation.collectives import Peers
from eyas.services.aggregation.hello import TOKEN_VARIABLE, hello
from eyas.services.aggregation.sums import WINDOW
from eyas.services.aggregation.training_job import DEFAULT_TIMEOUT, TrainingJob
from eyas.services.aggregation.wire import Frames, line

__all__ = ["ServiceAggregator"]

_START = 600.0
"""Seconds in which the service must listen: the simulator may have to be built first."""
_CONNECT = 60.0
"""Seconds in which a service that listens must answer."""
_LEEWAY = 10.0
"""Seconds that the service has to say which worker is missing, before a worker gives it up."""
_SHORTEST, _LONGEST = 0.05, 2.0
"""Limits of the silence, in seconds, after which packets are sent again."""
_WRAP = 1 << 32


class ServiceAggregator:
    """Sends packets to an aggregation service over TCP and waits for their results.

    Parameters
    ----------
    unit : str
        What adds in the service that rank 0 starts: ``"simulated"``, the Verilated overlay, or
        ``"model"``, its model.
    address : str or None
        ``host:port`` of a service that runs already (:mod:`eyas.services.aggregation.service`);
        None: rank 0 starts one.
    token : str or None
        Secret of the service at ``address``; that of EYAS_AGGREGATION_TOKEN when None.
    host : str
        Where the service that rank 0 starts listens: an address that all workers reach.
    loss_rate : float
        Share of packets that this service drops on purpose, each way.
    quorum : int or None
        Contributions after which a sum is complete; all when None.
    timeout : float
        Seconds that a sum may lack a slow worker, which the service then names.  A worker or a
        service that has ended is noticed at once, by its connection.
    """

    def __init__(
        self,
        unit: str = "simulated",
        *,
        address: str | None = None,
        token: str | None = None,
        host: str = "127.0.0.1",
        loss_rate: float = 0.0,
        quorum: int | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        self.resent_bytes = 0
        self._unit = unit
        self._host = host
        self._address = address
        self._token = token or os.environ.get(TOKEN_VARIABLE, "")
        self._timeout = timeout
        if address is not None and (loss_rate or quorum is not None):
            raise ValueError(
                "loss_rate and quorum belong to the service: give them to the one at this address "
                "when it is started, or leave out address and this worker starts one with them"
            )
        self._quorum, self._loss_rate = quorum, loss_rate
        self._options = ["--loss-rate", str(loss_rate), "--timeout", str(timeout)]
        if quorum is not None:
            self._options += ["--quorum", str(quorum)]
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._frames = Frames()
        self._sequence = 0
        self._latency = 0.25  # until it is known better
        self._sound = False

    def facts(self) -> dict[str, object]:
        """What must be alike on all workers."""
        return {
            "aggregator": self._unit,
            "aggregator's address": self._address,
            "quorum": self._quorum,
            "loss rate": self._loss_rate,
        }

    def start(self, job: TrainingJob, peers: Peers) -> None:
        """Start the service where it is ours to start, and introduce this worker."""
        if job.table.bits == 2:
            raise ValueError("Packets carry two indices to a byte: tables of 3 or 4 bits")
        address = self._address
        if address is None:
            started = peers.from_first(
                lambda: self._launch(job), "Starting the aggregation service", _START
            )
            address, self._token = started.split()
        self._where = f"the aggregator at {address}"
        self._job, self._worker = job, peers.rank
        self._lanes = Lanes.UINT8 if job.lane_bits == 8 else Lanes.UINT16
        host, _, port = address.rpartition(":")
        try:
            self._socket = socket.create_connection((host, int(port)), timeout=_CONNECT)
        except (OSError, ValueError) as error:
            raise AggregatorError(f"{self._where} cannot be reached ({error})") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sound = True
        self._write(line(hello(peers.rank, job, self._token)))
        answer = self._next(time.monotonic() + _CONNECT)
        if not isinstance(answer, dict) or answer.get("accepted") != peers.rank:
            self._lost("gave no answer")

    def aggregate(self, packed: Tensor, count: int) -> Sums:
        """Exchange one vector's packets, sending again what is not answered."""
        per_packet, lanes = self._lanes.coordinates, self._lanes
        data = packed.numpy().tobytes()
        total, first = -(-count // per_packet), self._sequence
        self._sequence = (first + total) % _WRAP
        values = np.empty(count, lanes.dtype)
        bitmaps: list[int | None] = [None] * total
        shortest = min(max(_SHORTEST, 4 * self._latency), _LONGEST)
        began, silence, patience = time.monotonic(), shortest, self._timeout + _LEEWAY
        sent = base = 0
        heard = asked = began
        answered = False
        while base < total:
            if sent < min(base + WINDOW, total):
                to = min(base + WINDOW, total)
                self._send(range(sent, to), first, base, data, count, PacketKind.DATA)
                sent = to
            frame = self._next(min(asked + silence, heard + patience))
            now = time.monotonic()
            if isinstance(frame, Packet):
                number = (frame.seq - first) % _WRAP
                if frame.kind is PacketKind.RESULT and number < sent and bitmaps[number] is None:
                    start = number * per_packet
                    values[start : start + frame.coordinates] = frame.sums()
                    bitmaps[number] = frame.bitmap
                    if not answered and asked == began:
                        # How long a sum takes; what waited for a lost packet would mislead.
                        self._latency += (now - began - self._latency) / 8
                    answered = True
                    heard = asked = now
                    while base < total and bitmaps[base] is not None:
                        base += 1
            elif now - heard >= patience:
                self._lost(
                    f"gave no result of packet {first + base} for {patience:g} s, although its "
                    f"connection stands"
                )
            else:
                waiting = [number for number in range(base, sent) if bitmaps[number] is None]
                self._send(waiting, first, base, data, count, PacketKind.RESEND)
                asked, silence = now, min(2 * silence, 8 * shortest)
        return self._sums(values, bitmaps, count)

    def close(self) -> None:
        """BYE, and wait for the acknowledgement that all workers have said it."""
        if self._socket is not None:
            with contextlib.suppress(AggregatorError, OSError):
                if self._sound:
                    self._write(self._packet(PacketKind.BYE).to_bytes())
                    last = time.monotonic() + self._timeout
                    while time.monotonic() < last:
                        frame = self._next(last)
                        if isinstance(frame, Packet) and frame.kind is PacketKind.BYE_ACK:
                            break
            self._sound = False
            self._socket.close()
            self._socket = None
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _sums(self, values: Any, bitmaps: list[int | None], count: int) -> Sums:
        sums = torch.from_numpy(values.astype(np.int32))
        everyone = (1 << self._job.workers) - 1
        if all(bitmap == everyone for bitmap in bitmaps):
            return Sums(sums, self._job.workers)
        # A quorum: how many are in each packet, and whether this worker is.
        sizes = torch.full((len(bitmaps),), self._lanes.coordinates)
        counts = torch.tensor([bin(bitmap or 0).count("1") for bitmap in bitmaps])
        mine = torch.tensor([bool((bitmap or 0) >> self._worker & 1) for bitmap in bitmaps])
        return Sums(
            sums,
            counts.repeat_interleave(sizes)[:count],
            mine.repeat_interleave(sizes)[:count],
        )

    def _send(
        self,
        numbers: range | list[int],
        first: int,
        base: int,
        data: bytes,
        count: int,
        kind: PacketKind,
    ) -> None:
        per_packet = self._lanes.coordinates
        wire = b"".join(
            self._packet(
                kind,
                seq=(first + number) % _WRAP,
                base=(first + base) % _WRAP,
                bitmap=1 << self._worker,
                count=1,
                coordinates=min(per_packet, count - number * per_packet),
                payload=data[number * per_packet // 2 : (number + 1) * per_packet // 2],
            ).to_bytes()
            for number in numbers
        )
        if kind is PacketKind.RESEND:
            self.resent_bytes += len(wire)
        self._write(wire)

    def _packet(self, kind: PacketKind, **fields: Any) -> Packet:
        return Packet(kind, job=0, epoch=0, worker=self._worker, lanes=self._lanes, **fields)

    def _write(self, data: bytes) -> None:
        assert self._socket is not None
        try:
            self._socket.sendall(data)
        except OSError as error:
            self._lost(f"does not take packets any more ({error})")

    def _next(self, last: float) -> Packet | dict[str, Any] | None:
        """The next packet or line; None when ``last`` is past."""
        assert self._socket is not None
        data = b""
        while True:
            for frame in self._frames.feed(data):
                if isinstance(frame, dict) and "error" in frame:
                    self._sound = False
                    raise AggregatorError(f"{self._where} ended the job: {frame['error']}")
                return frame
            left = last - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                return None
            try:
                data = self._socket.recv(1 << 18)
            except OSError as error:
                self._lost(f"broke the connection ({error})")
            if not data:
                self._lost("closed the connection")

    def _lost(self, how: str) -> Any:
        self._sound = False
        raise AggregatorError(f"{self._where} {how}")

    def _launch(self, job: TrainingJob) -> str:
        """Start the service; its address and its token."""
        command = [sys.executable, "-m", "eyas.services.aggregation.service"]
        command += ["--unit", self._unit, "--host", self._host, *self._options]
        command += ["--workers", str(job.workers), "--lane-bits", str(job.lane_bits)]
        command += ["--table", ",".join(map(str, job.table.entries))]
        token = secrets.token_hex(16)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, TOKEN_VARIABLE: token},
        )
        assert self._process.stdout is not None
        answer = json.loads(_first_line(self._process.stdout) or "{}")
        if "port" not in answer:
            raise AggregatorError(
                f"the aggregation service did not start: {answer.get('error', 'it said nothing')}"
            )
        return f"{self._host}:{answer['port']} {token}"


def _first_line(pipe: IO[bytes]) -> bytes:
    """The service's first line; empty when it ends, or says nothing in time."""
    if not select.select([pipe], [], [], _START)[0]:
        return b""
    return pipe.readline()

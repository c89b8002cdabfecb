"""The aggregation service: a process of its own that adds the packets of one job's workers.

``python -m eyas.services.aggregation.server`` prints one line of JSON with its address once it
listens, or with an ``error``.  It ends when all workers have said goodbye, when the job fails, or
when its standard input is closed: whoever started it is gone then.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any

from eyas.interfaces.switch.packet import MAX_WORKERS, Packet, PacketKind
from eyas.interfaces.thc.formats import LookupTable
from eyas.services.aggregation.sums import Addressed, JobSums
from eyas.services.aggregation.training_job import TrainingJob
from eyas.services.aggregation.units import UNITS, Unit
from eyas.services.aggregation.wire import Frames, line

__all__ = ["AggregationServer", "JobFailed"]

_READ = 1 << 18
_TICK = 0.01


class JobFailed(RuntimeError):
    """The job cannot go on; the message, which names the worker, goes to all workers."""


class AggregationServer:
    """Serves one job.

    Parameters
    ----------
    unit : Unit
        Adds.
    loss_rate : float
        Share of contributions and of results that are dropped on purpose, each by itself.
    quorum : int or None
        See :class:`eyas.services.aggregation.sums.JobSums`.
    timeout : float
        Seconds that a sum may lack a worker before the job ends with an error naming it.
    seed : int
        Of what is dropped.
    """

    def __init__(
        self,
        unit: Unit,
        *,
        loss_rate: float = 0.0,
        quorum: int | None = None,
        timeout: float = 60.0,
        seed: int = 1,
    ) -> None:
        if not 0 <= loss_rate < 1:
            raise ValueError(f"A loss rate is from 0 to less than 1, not {loss_rate}")
        self._unit = unit
        self._quorum = quorum
        self._loss_rate = loss_rate
        self._random = random.Random(seed)
        self._timeout = timeout
        self._hello: dict[str, Any] | None = None
        self._job: JobSums | None = None
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._gone: set[int] = set()
        self._over: asyncio.Future[None] | None = None

    async def serve(self, host: str, port: int, ready: Any) -> None:
        """Listen, tell ``ready`` the port, and serve to the end; JobFailed when it is a bad one."""
        self._over = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(self._connection, host, port)
        ready(server.sockets[0].getsockname()[1])
        ticker = asyncio.create_task(self._tick())
        try:
            await self._over
        except JobFailed as error:
            for writer in self._writers.values():
                writer.write(line({"error": str(error)}))
            raise
        finally:
            ticker.cancel()
            server.close()
            for writer in self._writers.values():
                with contextlib.suppress(OSError, asyncio.TimeoutError):
                    await asyncio.wait_for(writer.drain(), 2)
                writer.close()

    def stop(self) -> None:
        """End serving."""
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _fail(self, message: str) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_exception(JobFailed(message))

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One worker, from its introduction to its goodbye."""
        frames, worker = Frames(), None
        try:
            while data := await reader.read(_READ):
                for frame in frames.feed(data):
                    if worker is None:
                        worker = self._introduce(frame, writer)
                    elif isinstance(frame, Packet):
                        self._packet(worker, frame)
                if worker is not None:
                    self._finish()
        except (ValueError, OSError) as error:
            if worker is None:
                # Nobody of the job: it alone is told.
                writer.write(line({"error": str(error)}))
                writer.close()
                return
            self._fail(f"Worker {worker}: {error}")
            return
        except Exception as error:  # of the unit: a board's errors say what to do
            self._fail(f"The aggregator failed: {error}")
            return
        if worker is not None and worker not in self._gone:
            self._fail(f"Worker {worker} closed its connection in the middle of the job")

    def _introduce(self, hello: object, writer: asyncio.StreamWriter) -> int:
        """Admit a worker; the first one says what the job is."""
        if not isinstance(hello, dict) or not {"worker", "workers", "table"} <= hello.keys():
            raise ValueError("a worker begins with a line that says who it is and what its job is")
        worker, mine = hello["worker"], {k: v for k, v in hello.items() if k != "worker"}
        if self._hello is None:
            if not 1 <= hello["workers"] <= MAX_WORKERS:
                raise ValueError(
                    f"Packets name workers 0 to {MAX_WORKERS - 1}: a job of {hello['workers']} "
                    f"does not go through this aggregator"
                )
            job = TrainingJob(LookupTable(hello["table"]), hello["workers"], hello["lane_bits"])
            self._unit.configure(job)
            self._job = JobSums(job, self._unit, self._quorum)
            self._hello = mine
        if mine != self._hello:
            names = [key for key in mine if mine[key] != self._hello.get(key)]
            raise ValueError(
                f"Worker {worker} has another {', '.join(names)} than the worker that began the job"
            )
        if not 0 <= worker < hello["workers"] or worker in self._writers:
            raise ValueError(f"There is no place for a worker {worker} in the job")
        self._writers[worker] = writer
        writer.write(line({"accepted": worker}))
        return worker

    def _packet(self, worker: int, packet: Packet) -> None:
        assert self._job is not None
        if packet.worker != worker:
            raise ValueError(f"a packet in the name of worker {packet.worker}")
        if packet.kind is PacketKind.BYE:
            self._gone.add(worker)
            if len(self._gone) == self._job.job.workers:
                for writer in self._writers.values():
                    writer.write(Packet(PacketKind.BYE_ACK, job=0, epoch=0).to_bytes())
                self.stop()
            return
        if not self._lost():
            self._send(self._job.take(packet, time.monotonic()))

    def _finish(self) -> None:
        assert self._job is not None
        self._send(self._job.finish(time.monotonic()))

    def _send(self, outgoing: Iterable[Addressed]) -> None:
        encoded: dict[int, bytes] = {}
        for worker, packet in outgoing:
            if packet.seq not in encoded:
                encoded[packet.seq] = packet.to_bytes()
            writer = self._writers.get(worker)
            if writer is not None and not self._lost():
                writer.write(encoded[packet.seq])

    def _lost(self) -> bool:
        return self._loss_rate > 0 and self._random.random() < self._loss_rate

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            if self._job is None:
                continue
            try:
                self._finish()
            except Exception as error:
                self._fail(f"The aggregator failed: {error}")
            for seq, missing in self._job.overdue(time.monotonic(), self._timeout):
                names = ", ".join(map(str, missing)) or "none"
                self._fail(f"Packet {seq} has waited {self._timeout:g} s; workers missing: {names}")


def main() -> None:
    """The command line; see the module."""
    parser = argparse.ArgumentParser("python -m eyas.services.aggregation.server")
    parser.add_argument("--unit", choices=sorted(UNITS), default="simulated", help="what adds")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--loss-rate", type=float, default=0.0, help="packets dropped on purpose")
    parser.add_argument("--quorum", type=int, help="contributions that may do (all)")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for a missing worker")
    arguments = parser.parse_args()

    def tell(content: dict[str, Any]) -> None:
        print(json.dumps(content), flush=True)

    try:
        unit = UNITS[arguments.unit]()
        server = AggregationServer(
            unit,
            loss_rate=arguments.loss_rate,
            quorum=arguments.quorum,
            timeout=arguments.timeout,
        )
    except Exception as error:
        tell({"error": str(error)})
        sys.exit(2)

    async def run() -> None:
        loop = asyncio.get_running_loop()

        def watch() -> None:
            sys.stdin.buffer.read()
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(server.stop)

        threading.Thread(target=watch, daemon=True).start()
        await server.serve(arguments.host, arguments.port, lambda port: tell({"port": port}))

    try:
        asyncio.run(run())
    except (JobFailed, OSError) as error:
        tell({"error": str(error)})
        sys.exit(1)
    finally:
        unit.close()


if __name__ == "__main__":
    main()

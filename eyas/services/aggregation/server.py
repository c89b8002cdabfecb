"""The aggregation service's server: adds the packets of one training job's workers, over TCP.

Anybody may connect; whoever is not admitted as a worker is told why and disconnected, and changes
nothing for the job.  What the service keeps is limited by the constants of this module and of
:mod:`eyas.services.aggregation.sums`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterable

from eyas.interfaces.switch.packet import MAX_WORKERS, Packet, PacketKind
from eyas.services.aggregation.hello import admitted
from eyas.services.aggregation.sums import Addressed, JobSums
from eyas.services.aggregation.training_job import DEFAULT_TIMEOUT, TrainingJob
from eyas.services.aggregation.units import Unit
from eyas.services.aggregation.wire import LONGEST_LINE, Frames, line

__all__ = ["HELLO_SECONDS", "MAX_STRANGERS", "MAX_UNSENT", "AggregationServer", "JobFailed"]

HELLO_SECONDS = 10.0
"""In which a connection must say who it is."""
MAX_STRANGERS = 32
"""Connections that have not yet said who they are; one more, and the oldest is closed."""
MAX_UNSENT = 1 << 22
"""Bytes that may wait for a worker to read; results beyond are dropped, and it asks again."""
_READ = 1 << 18
_TICK = 0.01
_FAREWELL = 2.0
"""Seconds in which connections take what is still to be sent when the service ends."""


class JobFailed(RuntimeError):
    """The job cannot go on; the message, which names the worker, goes to all workers."""


class AggregationServer:
    """Serves one training job.

    Parameters
    ----------
    job : TrainingJob
        Of at most 32 workers, which packets can name.
    unit : Unit
        Adds.
    token : str
        Secret that workers must know.
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
        job: TrainingJob,
        unit: Unit,
        token: str,
        *,
        loss_rate: float = 0.0,
        quorum: int | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        seed: int = 1,
    ) -> None:
        if not 0 <= loss_rate < 1:
            raise ValueError(f"A loss rate is from 0 to less than 1, not {loss_rate}")
        if timeout <= 0:
            raise ValueError(f"A timeout is more than 0 seconds, not {timeout}")
        if job.workers > MAX_WORKERS:
            raise ValueError(
                f"Packets name workers 0 to {MAX_WORKERS - 1}: a job of {job.workers} does not go "
                f"through this aggregator"
            )
        self._job = job
        self._unit = unit
        self._token = token
        self._loss_rate = loss_rate
        self._random = random.Random(seed)
        self._timeout = timeout
        self._sums = JobSums(job, unit, quorum)
        unit.configure(job)
        self._workers: dict[int, asyncio.StreamWriter] = {}
        self._strangers: dict[asyncio.StreamWriter, None] = {}
        self._frames: dict[asyncio.StreamWriter, Frames] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._gone: set[int] = set()
        self._over: asyncio.Future[str] | None = None

    @property
    def buffered_bytes(self) -> int:
        """Bytes of packets and lines that the server keeps now."""
        return (
            sum(frames.buffered_bytes for frames in self._frames.values())
            + sum(w.transport.get_write_buffer_size() for w in self._frames)
            + self._sums.buffered_bytes
        )

    async def serve(self, host: str, port: int, ready: Callable[[int], None]) -> None:
        """Listen, tell ``ready`` the port, and serve to the end; JobFailed when it is a bad one."""
        self._over = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(self._connection, host, port)
        ready(server.sockets[0].getsockname()[1])
        ticker = asyncio.create_task(self._tick())
        farewell = ""
        try:
            farewell = await self._over
        except JobFailed as error:
            farewell = str(error)
            raise
        finally:
            ticker.cancel()
            server.close()
            for writer in self._workers.values() if farewell else ():
                writer.write(line({"error": farewell}))
            await self._close_all()

    def stop(self, reason: str = "") -> None:
        """End serving; the workers are told the ``reason``, if there is one."""
        if self._over is not None and not self._over.done():
            self._over.set_result(reason)

    def _fail(self, message: str) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_exception(JobFailed(message))

    async def _close_all(self) -> None:
        for stranger in self._strangers:
            stranger.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._workers.values():
            writer.close()
        closing = {asyncio.create_task(w.wait_closed()): w for w in self._workers.values()}
        if closing:
            _, late = await asyncio.wait(closing, timeout=_FAREWELL)
            for task in late:
                closing[task].transport.abort()
        await asyncio.gather(*closing, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until it ends or the service does."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._frames[writer] = frames = Frames()
        try:
            worker = await self._admit(reader, writer, frames)
            if worker is not None:
                await self._listen(worker, reader, frames)
        except asyncio.CancelledError:
            pass  # the service ends
        finally:
            self._tasks.discard(task)
            del self._frames[writer]
            if writer not in self._workers.values():  # those are told first how the job ended
                writer.close()

    async def _admit(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, frames: Frames
    ) -> int | None:
        """Who has connected; None when it is no worker of the job, or gone."""
        if len(self._strangers) >= MAX_STRANGERS:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.transport.abort()
        self._strangers[writer] = None
        try:
            said = await asyncio.wait_for(_first_frame(reader, frames), HELLO_SECONDS)
            if said is None:
                return None
            worker = admitted(said, self._job, self._token)
            if worker in self._workers:
                raise ValueError(f"There is no place for a worker {worker}: it is here already")
            self._workers[worker] = writer
            writer.write(line({"accepted": worker}))
            return worker
        except asyncio.TimeoutError:
            writer.write(line({"error": f"nobody said who it is for {HELLO_SECONDS:g} s"}))
        except ValueError as error:
            writer.write(line({"error": str(error)}))
        except OSError:
            pass  # it is gone
        finally:
            self._strangers.pop(writer, None)
        return None

    async def _listen(self, worker: int, reader: asyncio.StreamReader, frames: Frames) -> None:
        """An admitted worker's packets; whatever breaks the rules ends the job."""
        try:
            data = b""  # what came behind the introduction first
            while True:
                for frame in frames.feed(data):
                    if not isinstance(frame, Packet):
                        raise ValueError("a line, where packets are expected")
                    self._packet(worker, frame)
                self._finish()
                data = await reader.read(_READ)
                if not data:
                    break
        except ValueError as error:
            if worker not in self._gone:
                self._fail(f"Worker {worker}: {error}")
            return
        except OSError:
            pass  # it broke the connection: as if it had closed it
        if worker not in self._gone:
            self._fail(f"Worker {worker} closed its connection in the middle of the job")

    def _packet(self, worker: int, packet: Packet) -> None:
        if packet.worker != worker:
            raise ValueError(f"a packet in the name of worker {packet.worker}")
        if packet.kind is PacketKind.BYE:
            self._gone.add(worker)
            if len(self._gone) == self._job.workers:
                for writer in self._workers.values():
                    writer.write(Packet(PacketKind.BYE_ACK, job=0, epoch=0).to_bytes())
                self.stop()
            return
        if not self._lost():
            self._send(self._sums.take(packet, time.monotonic()))

    def _finish(self) -> None:
        """Send what is complete."""
        try:
            outgoing = self._sums.finish(time.monotonic())
        except Exception as error:  # of the unit: a board's errors say what to do
            self._fail(f"The aggregator failed: {error}")
            return
        self._send(outgoing)

    def _send(self, outgoing: Iterable[Addressed]) -> None:
        encoded: dict[int, bytes] = {}
        for worker, packet in outgoing:
            if packet.seq not in encoded:
                encoded[packet.seq] = packet.to_bytes()
            writer = self._workers.get(worker)
            if writer is None or self._lost():
                continue
            if writer.transport.get_write_buffer_size() < MAX_UNSENT:
                writer.write(encoded[packet.seq])

    def _lost(self) -> bool:
        return self._loss_rate > 0 and self._random.random() < self._loss_rate

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._finish()
            for seq, missing in self._sums.overdue(time.monotonic(), self._timeout):
                names = ", ".join(map(str, missing)) or "none"
                self._fail(f"Packet {seq} has waited {self._timeout:g} s; workers missing: {names}")


async def _first_frame(reader: asyncio.StreamReader, frames: Frames) -> object:
    """The first packet or line of a connection; None when it ends before."""
    while data := await reader.read(LONGEST_LINE):
        with contextlib.suppress(StopIteration):
            return next(frames.feed(data))
    return None

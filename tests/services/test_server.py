"""The aggregation server on its socket, with workers made by hand: who fails is named to all."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from inspect import signature

import pytest

from eyas.interfaces.switch.packet import Packet, PacketKind
from eyas.services.aggregation.hello import hello
from eyas.services.aggregation.server import MAX_STRANGERS, AggregationServer, JobFailed
from eyas.services.aggregation.sums import LEAD, WINDOW
from eyas.services.aggregation.training_job import TrainingJob
from eyas.services.aggregation.units import ModelUnit
from eyas.services.aggregation.wire import LONGEST_LINE, line
from tests.services.test_service import TABLE, data, entries

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
JOB = TrainingJob(TABLE, 2, 8)
TOKEN = "secret"
LIMIT = 60.0


def serve(act: Callable[..., Awaitable[None]], **options) -> None:
    """Run a server; ``act`` gets a function that connects to it, and the server if it wants."""

    async def run() -> None:
        server = AggregationServer(JOB, ModelUnit(), TOKEN, **options)
        listening = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(server.serve("127.0.0.1", 0, listening.set_result))
        port = await listening
        writers = []

        async def connect() -> Streams:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
            return reader, writer

        try:
            await (act(connect, server) if len(signature(act).parameters) == 2 else act(connect))
            server.stop()
        finally:
            for writer in writers:
                writer.close()
            await asyncio.gather(*(w.wait_closed() for w in writers), return_exceptions=True)
            await serving

    asyncio.run(asyncio.wait_for(run(), LIMIT))


async def worker(connect, number: int, **changes) -> Streams:
    reader, writer = await connect()
    writer.write(line({**hello(number, JOB, TOKEN), **changes}))
    assert json.loads(await reader.readline()) == {"accepted": number}
    return reader, writer


async def packet(reader: asyncio.StreamReader) -> Packet:
    return Packet.from_bytes(await reader.readexactly(32 + 5))


def test_a_round_and_a_goodbye() -> None:
    async def act(connect) -> None:
        workers = [await worker(connect, number) for number in range(2)]
        for number, (_, writer) in enumerate(workers):
            writer.write(data(number, 0).to_bytes())
        expected = (entries(data(0, 0)) + entries(data(1, 0))).tolist()
        for reader, _ in workers:
            result = await packet(reader)
            assert (result.kind, result.bitmap) == (PacketKind.RESULT, 0b11)
            assert result.sums().tolist() == expected
        for number, (_, writer) in enumerate(workers):
            writer.write(Packet(PacketKind.BYE, 0, 0, worker=number).to_bytes())
        for reader, _ in workers:
            last = await reader.read()
            assert Packet.from_bytes(last).kind is PacketKind.BYE_ACK
            assert len(last) == 32, "something came after the end"

    serve(act)


def test_a_worker_that_goes_without_a_goodbye_is_named_to_the_others() -> None:
    async def act(connect) -> None:
        (reader, writer), (_, gone) = [await worker(connect, number) for number in range(2)]
        writer.write(data(0, 0).to_bytes())
        gone.close()
        answer = json.loads(await reader.readline())
        assert answer == {"error": "Worker 1 closed its connection in the middle of the job"}

    with pytest.raises(JobFailed, match="Worker 1 closed its connection"):
        serve(act)


def test_a_worker_that_is_silent_is_named_in_time() -> None:
    async def act(connect) -> None:
        (reader, writer), _ = [await worker(connect, number) for number in range(2)]
        writer.write(data(0, 0).to_bytes())
        answer = json.loads(await reader.readline())
        assert answer == {"error": "Packet 0 has waited 0.5 s; workers missing: 1"}

    with pytest.raises(JobFailed, match="workers missing: 1"):
        serve(act, timeout=0.5)


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"GET / HTTP/1.1\r\n", "Worker 1: the stream holds neither a packet nor a line"),
        (data(0, 0).to_bytes(), "Worker 1: a packet in the name of worker 0"),
        (data(1, 0).to_bytes()[:-1] + b"?", "Worker 1: 35 bytes are not an aggregation packet"),
        (data(1, 0).with_changes(job=1).to_bytes(), "Worker 1: a packet of job 1, epoch 0"),
        (data(1, 0).with_changes(epoch=7).to_bytes(), "Worker 1: a packet of job 0, epoch 7"),
        (data(1, WINDOW).to_bytes(), "Worker 1: packet 256 is beyond the window of 256 from 0"),
        (data(1, LEAD + 1, base=LEAD + 1).to_bytes(), "Worker 1: packet 1025 cannot have a result"),
        (line({"worker": 1}), "Worker 1: a line, where packets are expected"),
        (b"{" + b"[" * 4000 + b"\n", "Worker 1: a line of the stream is not JSON"),
    ],
)
def test_a_worker_that_breaks_the_rules_ends_the_job(sent: bytes, message: str) -> None:
    async def act(connect) -> None:
        (reader, _), (_, bad) = [await worker(connect, number) for number in range(2)]
        bad.write(sent)
        assert json.loads(await reader.readline())["error"].startswith(message)

    with pytest.raises(JobFailed, match=message):
        serve(act)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": 3}, "Worker 0 has another workers than the service's job"),
        ({"lane_bits": 16}, "Worker 0 has another lane_bits than"),
        ({"table": [0, 1, 2, 3]}, "Worker 0 has another table than"),
        ({"worker": 2}, "There is no place for a worker 2 in a job of 2"),
        ({"worker": -1}, "There is no place for a worker -1"),
        ({"worker": "0"}, "a worker's worker must be a whole number"),
        ({"worker": [0]}, "a worker's worker must be a whole number"),
        ({"worker": 0.5}, "a worker's worker must be a whole number"),
        ({"worker": True}, "a worker's worker must be a whole number"),
        ({"workers": {}}, "a worker's workers must be a whole number"),
        ({"lane_bits": None}, "a worker's lane_bits must be a whole number"),
        ({"table": "0"}, "a worker's table must be a list of whole numbers"),
        ({"table": [0, [1]]}, "a worker's table must be a list of whole numbers"),
        ({"token": 5}, "the token is not this job's"),
        ({"token": "\ud800"}, "the token is not this job's"),
        ({"token": TOKEN + " "}, "the token is not this job's"),
    ],
)
def test_a_stranger_is_told_why_and_the_job_goes_on(changes, message: str) -> None:
    async def act(connect) -> None:
        reader, writer = await connect()
        writer.write(line({**hello(0, JOB, TOKEN), **changes}))
        assert message in json.loads(await reader.readline())["error"]
        assert await reader.read() == b""
        for number in range(2):
            await worker(connect, number)

    serve(act)


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b'{"who": 1}\n', "a worker begins with a line that says who it is"),
        (b'{"a":' * 800 + b"\n", "is not JSON as this service writes it"),
        (b"{" + b"x" * LONGEST_LINE, "a line does not end within 4096 bytes"),
        (b"GET / HTTP/1.1\r\n\r\n", "the stream holds neither a packet nor a line"),
        (data(0, 0).to_bytes(), "a worker begins with a line that says who it is"),
    ],
)
def test_other_bytes_are_told_why(sent: bytes, message: str) -> None:
    async def act(connect) -> None:
        reader, writer = await connect()
        writer.write(sent)
        assert message in json.loads(await reader.readline())["error"]
        assert await reader.read() == b""
        for number in range(2):
            await worker(connect, number)

    serve(act)


def test_silent_strangers_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """In time, and the oldest before where there are many; workers come in between."""

    async def act(connect) -> None:
        streams = [await connect() for _ in range(MAX_STRANGERS)]
        await worker(connect, 0)
        assert await streams[0][0].read() == b""
        for reader, _ in streams[1:]:
            assert "nobody said who it is" in json.loads(await reader.readline())["error"]
        await worker(connect, 1)

    monkeypatch.setattr("eyas.services.aggregation.server.HELLO_SECONDS", 3.0)
    serve(act)


def test_a_worker_that_does_not_read_costs_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 1 << 16

    async def act(connect, server: AggregationServer) -> None:
        (reader, writer), (_, idle) = [await worker(connect, number) for number in range(2)]
        idle.transport.pause_reading()
        for number, stream in ((0, writer), (1, idle)):
            stream.write(data(number, 0, 1024).to_bytes())
        result = await reader.readexactly(32 + 1024)
        ask = data(1, 0, 1024, PacketKind.RESEND).to_bytes() * 200
        for _ in range(100):
            idle.write(ask)
            await idle.drain()
            assert server.buffered_bytes <= limit + (1 << 18) + 4096
        assert len(result) == 1056

    monkeypatch.setattr("eyas.services.aggregation.server.MAX_UNSENT", limit)
    serve(act)


def test_a_second_worker_of_one_number_is_refused() -> None:
    async def act(connect) -> None:
        await worker(connect, 0)
        reader, writer = await connect()
        writer.write(line(hello(0, JOB, TOKEN)))
        assert (
            "There is no place for a worker 0: it is here already"
            in json.loads(await reader.readline())["error"]
        )

    serve(act)

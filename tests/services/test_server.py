"""The aggregation server on its socket, with workers made by hand: who fails is named to all."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from eyas.interfaces.switch.packet import Packet, PacketKind
from eyas.services.aggregation.server import AggregationServer, JobFailed
from eyas.services.aggregation.units import ModelUnit
from eyas.services.aggregation.wire import line
from tests.services.test_service import TABLE, data, entries

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
HELLO = {"workers": 2, "lane_bits": 8, "table": TABLE.entries}
LIMIT = 20.0


def serve(act: Callable[[Callable[[], Awaitable[Streams]]], Awaitable[None]], **options) -> None:
    """Run a server; ``act`` gets a function that connects to it."""

    async def run() -> None:
        server = AggregationServer(ModelUnit(), **options)
        listening = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(server.serve("127.0.0.1", 0, listening.set_result))
        port = await listening
        writers = []

        async def connect() -> Streams:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
            return reader, writer

        try:
            await act(connect)
            server.stop()
        finally:
            for writer in writers:
                writer.close()
            await asyncio.gather(*(w.wait_closed() for w in writers), return_exceptions=True)
            await serving

    asyncio.run(asyncio.wait_for(run(), LIMIT))


async def worker(connect, number: int, **changes) -> Streams:
    reader, writer = await connect()
    writer.write(line({"worker": number, **HELLO, **changes}))
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
    ("hello", "message"),
    [
        ({"worker": 0, **HELLO, "workers": 33}, "Packets name workers 0 to 31"),
        ({"worker": 0, **HELLO, "workers": 9}, "use 16-bit lanes"),
        ({"worker": 0, **HELLO, "table": [0, 1, 2]}, "A table has 4, 8 or 16 entries"),
        ({"worker": 2, **HELLO}, "There is no place for a worker 2"),
        ({"who": 1}, "a worker begins with a line that says who it is"),
    ],
)
def test_a_stranger_is_told_why_and_the_job_goes_on(hello, message: str) -> None:
    async def act(connect) -> None:
        reader, writer = await connect()
        writer.write(line(hello))
        assert message in json.loads(await reader.readline())["error"]
        assert await reader.read() == b""
        for number in range(2):
            await worker(connect, number)

    serve(act)


def test_a_second_worker_of_one_number_is_refused() -> None:
    async def act(connect) -> None:
        await worker(connect, 0)
        reader, writer = await connect()
        writer.write(line({"worker": 0, **HELLO}))
        assert "There is no place for a worker 0" in json.loads(await reader.readline())["error"]

    serve(act)

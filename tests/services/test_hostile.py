"""The aggregation service among strangers: the job's sums are right, memory is bounded, it ends."""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import torch

from eyas.interfaces.switch.packet import MAX_PACKET_BYTES, Packet, PacketKind
from eyas.services.aggregation.hello import TOKEN_VARIABLE, hello
from eyas.services.aggregation.server import MAX_STRANGERS, AggregationServer
from eyas.services.aggregation.training_job import TrainingJob
from eyas.services.aggregation.units import ModelUnit
from eyas.services.aggregation.wire import LONGEST_LINE, line
from tests.services import jobs
from tests.services.ranks import Failed, Ranks
from tests.services.test_service import TABLE, data, entries

JOB = TrainingJob(TABLE, 2, 8)
TOKEN = "secret"
SEED = 20
STRANGERS = 3000
AT_ONCE = 15
BOUND = MAX_STRANGERS * (2 * LONGEST_LINE + MAX_PACKET_BYTES) + 64 * MAX_PACKET_BYTES
"""Bytes: what all strangers may leave unfinished, and a few packets of the job."""
MINUTE = 60.0

VALUES = ["0", 0.5, [], {}, None, True, -1, 2, 10**30, 1e308, "\ud800", [[[]]], "x" * 3000]


def hostile(source: random.Random) -> bytes:
    """Something that a stranger, who does not know the token, may send."""
    guess = hello(source.randrange(3), JOB, source.choice(["", "guess", TOKEN[:-1]]))
    packet = data(source.randrange(2), source.randrange(400)).to_bytes()
    kind = source.randrange(9)
    if kind == 0:
        return line(guess) + packet
    if kind == 1:
        return line({**guess, source.choice(list(guess)): source.choice(VALUES)})
    if kind == 2:
        return line({**guess, "workers": source.randrange(-3, 300)})
    if kind == 3:
        return line({key: value for key, value in guess.items() if source.random() < 0.5})
    if kind == 4:
        return b"{" + source.choice([b"[", b'"a":{', b"\\", b"1"]) * source.randrange(5000) + b"\n"
    if kind == 5:
        return source.randbytes(source.randrange(200))
    if kind == 6:
        place = source.randrange(8 * len(packet))
        flipped = bytearray(packet)
        flipped[place // 8] ^= 1 << place % 8
        return bytes(flipped)
    if kind == 7:
        return packet[: source.randrange(len(packet))]
    return packet + Packet(PacketKind.BYE, 0, 0, worker=source.randrange(2)).to_bytes()


async def strangers(port: int, number: int) -> list[asyncio.StreamWriter]:
    """Connections one after the other; some leave at once, and some, returned, stay."""
    source, staying = random.Random(SEED + number), []
    for _ in range(STRANGERS // AT_ONCE):
        with suppress(ConnectionResetError, BrokenPipeError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(hostile(source))
            if source.random() < 0.5:
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(reader.read(), 0.05)
            if source.random() < 0.05:
                staying.append(writer)
            else:
                writer.close()
    return staying


async def worker(port: int, number: int, sums: list[int], last: "asyncio.Future[int]") -> None:
    """A worker's part of the job, up to sum ``last``; ``sums`` counts those that were right."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(line(hello(number, JOB, TOKEN)))
    assert json.loads(await reader.readline()) == {"accepted": number}
    while not last.done() or sums[number] < last.result():
        seq = sums[number]
        writer.write(data(number, seq, base=seq).to_bytes())
        result = Packet.from_bytes(await reader.readexactly(32 + 5))
        expected = entries(data(0, seq)) + entries(data(1, seq))
        assert (result.seq, result.bitmap) == (seq, 0b11)
        assert result.sums().tolist() == expected.tolist()
        sums[number] += 1
        await asyncio.sleep(0.005)
    writer.write(Packet(PacketKind.BYE, 0, 0, worker=number).to_bytes())
    assert Packet.from_bytes(await reader.read()).kind is PacketKind.BYE_ACK
    writer.close()


def test_a_job_goes_on_among_thousands_of_strangers() -> None:
    async def run() -> None:
        server = AggregationServer(JOB, ModelUnit(), TOKEN)
        listening = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(server.serve("127.0.0.1", 0, listening.set_result))
        port, last, sums, most = await listening, listening.get_loop().create_future(), [0, 0], 0
        crowd = asyncio.gather(*(strangers(port, number) for number in range(AT_ONCE)))
        await asyncio.sleep(0.1)  # strangers come first
        job = asyncio.gather(*(worker(port, number, sums, last) for number in range(2)))
        while not job.done():
            if crowd.done() and not last.done():
                last.set_result(max(sums) + 2)
            most = max(most, server.buffered_bytes)
            await asyncio.sleep(0.001)
        await job
        await serving
        for staying in crowd.result():
            for writer in staying:
                writer.close()
        await asyncio.sleep(0.1)  # closed sockets need a turn of the loop
        assert min(sums) > 100
        assert 0 < most <= BOUND

    asyncio.run(asyncio.wait_for(run(), 2 * MINUTE))


@contextmanager
def service(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A service process for two workers, and its port."""
    command = [sys.executable, "-m", "eyas.services.aggregation.service", "--unit", "model"]
    process = subprocess.Popen(
        [*command, "--workers", "2", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, TOKEN_VARIABLE: TOKEN},
    )
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told["token"] == TOKEN
        yield process, told["port"]
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()


def connected(port: int, sent: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), MINUTE)
    connection.sendall(sent)
    return connection


def answer(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    found = b""
    with connection:
        while part := connection.recv(4096):
            found += part
    return found


def test_workers_join_a_service_that_runs_already(ranks: Ranks) -> None:
    expected = ranks.run(jobs.by_reference, 2)[0][0]
    with service("--workers", "3") as (process, port):
        place = {"address": f"127.0.0.1:{port}"}
        for found in ranks.run(jobs.by_service, 2, {**place, "token": "guess"}):
            assert isinstance(found, Failed)
            assert "the token is not this job's: give the workers the service's" in found.message
        for weights, _ in ranks.run(jobs.by_service, 2, {**place, "token": TOKEN}):
            assert torch.equal(weights, expected)
        assert process.wait(MINUTE) == 0


STOPS = {
    "SIGTERM": lambda process: process.send_signal(signal.SIGTERM),
    "SIGINT": lambda process: process.send_signal(signal.SIGINT),
    "end of input": lambda process: process.stdin.close(),
}


@pytest.mark.parametrize("how", STOPS)
def test_a_stopped_service_tells_its_workers_and_ends_with_0(how: str) -> None:
    with service() as (process, port):
        mine = connected(port, line(hello(0, JOB, TOKEN)))
        stranger = connected(port, b'{"worker":"0"}\n')
        assert b"error" in answer(stranger)
        silent = connected(port, b"")
        assert json.loads(mine.recv(100)) == {"accepted": 0}
        STOPS[how](process)
        assert process.wait(MINUTE) == 0
        message = json.loads(answer(mine))["error"]
        assert "was stopped (SIG" in message or "is gone" in message
        assert process.stderr is not None
        assert process.stderr.read() == b""
        silent.close()


def test_a_failed_job_ends_with_1_and_no_traceback() -> None:
    with service() as (process, port):
        gone, left = (connected(port, line(hello(number, JOB, TOKEN))) for number in range(2))
        assert json.loads(gone.recv(100)) == {"accepted": 0}
        assert json.loads(left.recv(100)) == {"accepted": 1}
        gone.close()
        assert b"Worker 0 closed its connection" in answer(left)
        assert process.wait(MINUTE) == 1
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"Worker 0 closed its connection" in process.stdout.read()
        assert process.stderr.read() == b""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--workers", "40"), "Packets name workers 0 to 31: a job of 40"),
        (("--workers", "0"), "Workers must be 1 to 255, not 0"),
        (("--table", "0,1,2"), "A table has 4, 8 or 16 entries"),
        (("--workers", "9", "--lane-bits", "8"), "use 16-bit lanes"),
        (("--timeout", "0"), "A timeout is more than 0 seconds, not 0.0"),
        (("--quorum", "3"), "A quorum of 2 workers is 1 to that, not 3"),
    ],
)
def test_what_cannot_begin_ends_with_2(arguments: tuple[str, ...], message: str) -> None:
    command = [sys.executable, "-m", "eyas.services.aggregation.service", "--unit", "model"]
    done = subprocess.run(
        [*command, "--workers", "2", *arguments],
        capture_output=True,
        text=True,
        timeout=MINUTE,
        check=False,
    )
    assert done.returncode == 2
    assert message in json.loads(done.stdout)["error"]
    assert done.stderr == ""

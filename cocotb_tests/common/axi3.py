"""The processing system's two sides of AXI3: a master for registers, DRAM for a high-performance
port, both with random delays."""

import random
from collections import deque
from dataclasses import dataclass, field

import cocotb
from cocotb.triggers import FallingEdge

from cocotb_tests.common.streams import (
    Independence,
    Stream,
    StreamContract,
    StreamSink,
    StreamSource,
)
from cocotb_tests.common.timing import cycle, until

__all__ = ["FIXED", "INCR", "WRAP", "Axi3Master", "Axi3Memory", "beat_addresses"]

FIXED, INCR, WRAP = 0, 1, 2
PAGE = 4096
REQUEST = ("id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos")
CHANNELS = {
    "aw": REQUEST,
    "w": ("id", "data", "strb", "last"),
    "b": ("id", "resp"),
    "ar": REQUEST,
    "r": ("id", "data", "resp", "last"),
}


def beat_addresses(address: int, beats: int, size: int, burst: int) -> list[int]:
    """Addresses of a burst's beats, by the standard's formulas."""
    width = 1 << size
    if burst == FIXED:
        return [address] * beats
    aligned = address // width * width
    following = [aligned + index * width for index in range(1, beats)]
    if burst == WRAP:
        block = width * beats
        low = address // block * block
        following = [low + (item - low) % block for item in following]
    return [address, *following]


def _streams(dut, name: str) -> dict[str, Stream]:
    return {channel: Stream(dut, f"{name}__{channel}", f) for channel, f in CHANNELS.items()}


def _independent(dut, name: str, streams: dict[str, Stream], driven: str, rng) -> None:
    """No output of the design depends combinationally on an input; ``driven`` channels are
    the bench's."""
    inputs, outputs = [], []
    for channel, stream in streams.items():
        forward = [stream.valid, *stream.payload.values()]
        ours = channel in driven.split()
        (inputs if ours else outputs).extend(forward)
        (outputs if ours else inputs).append(stream.ready)
    Independence(dut.aclk, name, inputs, outputs, rng)


@dataclass
class _Request:
    """A burst that was sent and not yet answered."""

    ident: int
    beats: int
    answer: list = field(default_factory=list)
    done: bool = False


class Axi3Master:
    """Sends bursts with gaps and takes answers with stalls; bursts may be sent before others are
    answered.

    The design must answer in the order of requests, with their IDs, RLAST on the last beat alone.

    Parameters
    ----------
    dut : handle
        The design.
    name : str
        Its AXI3 slave.
    rng : random.Random
        Source of IDs, gaps and stalls.
    gaps : float
        Share of the cycles held up, on every channel.
    """

    def __init__(self, dut, name: str, rng: random.Random, gaps: float = 0.0):
        self._clock = dut.aclk
        self._rng = rng
        self._name = name
        streams = _streams(dut, name)
        _independent(dut, name, streams, "aw w ar", rng)
        self.contracts = {channel: StreamContract(streams[channel]) for channel in "br"}
        self._sources = {c: StreamSource(streams[c], rng, gaps) for c in ("aw", "w", "ar")}
        self._sinks = {c: StreamSink(streams[c], rng, gaps) for c in "br"}
        self._waiting: dict[str, deque[_Request]] = {"b": deque(), "r": deque()}
        cocotb.start_soon(self._collect())

    def _request(self, channel: str, address, beats, size, burst) -> _Request:
        request = _Request(self._rng.getrandbits(12), beats)
        self._sources[channel].send(
            {
                "id": request.ident, "addr": address, "len": beats - 1, "size": size,
                "burst": burst, "lock": self._rng.randrange(3), "cache": self._rng.randrange(16),
                "prot": self._rng.randrange(8), "qos": self._rng.randrange(16),
            }
        )  # fmt: skip
        return request

    def post_write(self, address, beats: list[tuple[int, int]], size=2, burst=INCR) -> _Request:
        """Send a write of (data, strobes); the answer will be one response."""
        request = self._request("aw", address, len(beats), size, burst)
        for index, (data, strobes) in enumerate(beats):
            last = int(index == len(beats) - 1)
            self._sources["w"].send(
                {"id": request.ident, "data": data, "strb": strobes, "last": last}
            )
        self._waiting["b"].append(request)
        return request

    def post_read(self, address, beats=1, size=2, burst=INCR) -> _Request:
        """Send a read; the answer will be (data, response) of each beat."""
        request = self._request("ar", address, beats, size, burst)
        self._waiting["r"].append(request)
        return request

    async def answered(self, request: _Request, cycles: int = 3000) -> list:
        """Wait for the answer to ``request``."""
        await until(self._clock, lambda: request.done, f"an answer of {self._name}", cycles)
        return request.answer

    async def write(self, address: int, *data: int) -> int:
        """Write words from ``address`` on; return the response."""
        return (await self.answered(self.post_write(address, [(item, 15) for item in data])))[0]

    async def read(self, address: int, beats: int = 1) -> list[tuple[int, int]]:
        """Read words from ``address`` on; return (data, response) of each."""
        return await self.answered(self.post_read(address, beats))

    def check_rest(self) -> None:
        """Fail when a request has no answer, or an answer no request."""
        for channel, waiting in self._waiting.items():
            assert not waiting, f"{self._name}: {len(waiting)} requests without {channel}"
            self._sinks[channel].check_empty()

    async def _collect(self) -> None:
        while True:
            await FallingEdge(self._clock)
            for channel, sink in self._sinks.items():
                while sink.items:
                    item = sink.items.popleft()
                    assert self._waiting[channel], f"{self._name}: {channel} {item} nobody asked"
                    request = self._waiting[channel][0]
                    assert item["id"] == request.ident, (
                        f"{self._name}: {channel} has ID {item['id']:#x}, not {request.ident:#x}"
                    )
                    if channel == "b":
                        request.answer.append(item["resp"])
                        request.done = True
                    else:
                        request.answer.append((item["data"], item["resp"]))
                        request.done = len(request.answer) == request.beats
                        assert item["last"] == request.done, (
                            f"{self._name}: RLAST {item['last']} on beat {len(request.answer)} "
                            f"of {request.beats}"
                        )
                    if request.done:
                        self._waiting[channel].popleft()


class Axi3Memory:
    """DRAM behind an AXI3 port: 8-byte beats; checks each burst against AXI3's rules.

    Bursts are INCR, aligned, inside 4 KiB, with one ID throughout; WID is that of the address,
    WLAST stands on the last beat alone.

    Parameters
    ----------
    dut : handle
        The design.
    name : str
        Its AXI3 master.
    rng : random.Random
        Source of delays.
    base : int
        Address of the first byte.
    data : bytearray
        The contents.
    gaps : float
        Share of the cycles held up, on every channel.
    latency : int
        A burst is answered up to this many cycles after it came whole.

    Attributes
    ----------
    lengths : dict
        ``ar`` and ``aw`` to beats of each burst.
    faults : list of (range, int)
        Offsets at which a burst is answered with a response other than OKAY.
    """

    def __init__(self, dut, name, rng, base, data: bytearray, gaps=0.0, latency=1):
        self.data = data
        self.base = base
        self.lengths: dict[str, list[int]] = {"ar": [], "aw": []}
        self.faults: list[tuple[range, int]] = []
        self._clock = dut.aclk
        self._rng = rng
        self._latency = latency
        streams = _streams(dut, name)
        _independent(dut, name, streams, "b r", rng)
        self.contracts = {c: StreamContract(streams[c]) for c in ("aw", "w", "ar")}
        self._sinks = {c: StreamSink(streams[c], rng, gaps) for c in ("aw", "w", "ar")}
        self._sources = {c: StreamSource(streams[c], rng, gaps) for c in "br"}
        self._reads: deque = deque()
        self._writes: deque = deque()
        self._beats: list[dict[str, int]] = []
        self._answers: deque = deque()
        cocotb.start_soon(self._run())

    def check_rest(self) -> None:
        """Fail when a burst is under way."""
        under_way = [len(items) for items in (self._reads, self._writes, self._beats)]
        assert not any(under_way), f"reads, writes, beats under way: {under_way}"

    def _check(self, channel: str, item: dict[str, int]) -> None:
        beats = item["len"] + 1
        where = f"{channel} burst of {beats} beats at {item['addr']:#x}"
        assert (item["size"], item["burst"], item["lock"]) == (3, INCR, 0), f"{where}: {item}"
        assert item["addr"] % 8 == 0, f"{where} is not aligned"
        assert item["addr"] % PAGE + 8 * beats <= PAGE, f"{where} crosses 4 KiB"
        assert item["cache"] == 0b0011, f"{where} has AxCACHE {item['cache']:#x}"
        self.lengths[channel].append(beats)

    def _place(self, item: dict[str, int]) -> slice:
        start = item["addr"] - self.base
        size = 8 * (item["len"] + 1)
        assert 0 <= start <= len(self.data) - size, f"no memory at {item['addr']:#x}"
        return slice(start, start + size)

    def _response(self, place: slice) -> int:
        hits = [
            code
            for part, code in self.faults
            if part.start < place.stop and place.start < part.stop
        ]
        return max(hits, default=0)

    def _write(self, item: dict[str, int], beats: list[dict[str, int]]) -> int:
        place = self._place(item)
        for index, beat in enumerate(beats):
            assert beat["id"] == item["id"], f"WID {beat['id']}, AWID {item['id']}"
            assert beat["last"] == (index == item["len"]), f"WLAST on beat {index} of {item}"
            data = beat["data"].to_bytes(8, "little")
            for byte in range(8):
                if beat["strb"] >> byte & 1:
                    self.data[place.start + 8 * index + byte] = data[byte]
        return self._response(place)

    def _when(self, queue: deque) -> int:
        """When to answer what came now: not before the one ahead."""
        earliest = queue[-1][0] if queue else 0
        return max(earliest, cycle() + self._rng.randint(0, self._latency))

    async def _run(self) -> None:
        while True:
            await FallingEdge(self._clock)
            sinks = self._sinks
            while sinks["ar"].items:
                item = sinks["ar"].items.popleft()
                self._check("ar", item)
                self._reads.append((self._when(self._reads), item))
            while sinks["aw"].items:
                item = sinks["aw"].items.popleft()
                self._check("aw", item)
                self._writes.append(item)
            while sinks["w"].items:
                self._beats.append(sinks["w"].items.popleft())
            while self._writes and len(self._beats) > self._writes[0]["len"]:
                item = self._writes.popleft()
                beats = self._beats[: item["len"] + 1]
                del self._beats[: len(beats)]
                response = self._write(item, beats)
                answer = {"id": item["id"], "resp": response}
                self._answers.append((self._when(self._answers), answer))
            while self._reads and self._reads[0][0] <= cycle():
                self._read(self._reads.popleft()[1])
            while self._answers and self._answers[0][0] <= cycle():
                self._sources["b"].send(self._answers.popleft()[1])

    def _read(self, item: dict[str, int]) -> None:
        place = self._place(item)
        response = self._response(place)
        for index in range(item["len"] + 1):
            start = place.start + 8 * index
            self._sources["r"].send(
                {
                    "id": item["id"],
                    "data": int.from_bytes(self.data[start : start + 8], "little"),
                    "resp": response,
                    "last": int(index == item["len"]),
                }
            )

"""DRAM on ``m_axi`` with pauses and faults, and a monitor of the bursts that it is asked for."""

import logging
import random
from dataclasses import dataclass, field

import cocotb
from cocotb.triggers import FallingEdge
from cocotbext.axi import AxiBus, AxiSlave

from cocotb_tests.common.streams import Independence, Stream, StreamContract

__all__ = ["AxiMonitor", "Memory"]

PAGE = 4096
MAXIMUM_BURST = 16
BEAT = 8


@dataclass
class _Contents:
    """Target of the slave: bytes, the order of writes, ranges that answer with an error."""

    data: bytearray
    writes: list[int] = field(default_factory=list)
    faults: list[tuple[int, int, int]] = field(default_factory=list)
    # The worst answer since the last response went out, by the response's name.
    answers: dict[str, int] = field(default_factory=lambda: {"rresp": 0, "bresp": 0})

    def _touch(self, address, answer):
        for start, end, response in self.faults:
            if start <= address < end:
                self.answers[answer] = max(self.answers[answer], response)

    async def read(self, address, length):
        self._touch(address, "rresp")
        return bytes(self.data[address : address + length])

    async def write(self, address, data):
        self._touch(address, "bresp")
        self.writes.append(address)
        self.data[address : address + len(data)] = data


class Memory:
    """Memory behind cocotbext-axi's slave on ``m_axi``.

    Parameters
    ----------
    dut : handle
        The design.
    rng : random.Random
        Source of the pauses.
    size : int
        Bytes from address 0.
    """

    def __init__(self, dut, rng: random.Random, size: int = 1 << 20):
        # The slave logs every burst.
        logging.getLogger(f"cocotb.{dut._name}.m_axi").setLevel(logging.WARNING)
        self._contents = _Contents(bytearray(size))
        self._rng = rng
        slave = AxiSlave(
            AxiBus.from_prefix(dut, "m_axi"),
            dut.aclk,
            dut.aresetn,
            target=self._contents,
            reset_active_level=False,
        )
        read, write = slave.read_if, slave.write_if
        self._channels = (
            read.ar_channel, read.r_channel, write.aw_channel, write.w_channel, write.b_channel,
        )  # fmt: skip
        self._answer(read.r_channel, "rresp")
        self._answer(write.b_channel, "bresp")

    def _answer(self, channel, name):
        """Let the faults decide the response; the slave itself knows no DECERR."""
        send = channel.send

        async def send_answer(item):
            setattr(item, name, self._contents.answers[name])
            self._contents.answers[name] = 0
            await send(item)

        channel.send = send_answer

    @property
    def data(self) -> bytearray:
        return self._contents.data

    @property
    def writes(self) -> list[int]:
        """Addresses of the beats written, in order."""
        return self._contents.writes

    def fail(self, start: int, size: int, response: int) -> None:
        """Answer a beat read, or a burst written, with ``response`` where it touches the range."""
        self._contents.faults.append((start, start + size, response))

    def heal(self) -> None:
        """Forget all faults."""
        self._contents.faults.clear()

    def pause(self, share: float) -> None:
        """Hold up each channel, by itself, in this share of the cycles."""
        for channel in self._channels:
            channel.clear_pause_generator()
            channel.pause = False
            if share:
                channel.set_pause_generator(self._pauses(share))

    def _pauses(self, share):
        rng = random.Random(self._rng.random())
        while True:
            yield rng.random() < share


class AxiMonitor:
    """Watches ``m_axi``: the streams' contract, the rules of bursts, what is under way.

    Bursts have at most 16 beats of 8 bytes, are aligned and never cross 4 KiB; no data of a write
    is offered before its address; no output of the design depends combinationally on an input.

    Parameters
    ----------
    dut : handle
        The design.
    rng : random.Random
        Chooses when the design's independence is probed.

    Attributes
    ----------
    streams : dict
        Channel (``ar``, ``r``, ``aw``, ``w``, ``b``) to its :class:`StreamContract`.
    bursts : list of (str, int, int)
        Channel, address and beats of each burst, in order.
    most_reads, most_writes : int
        The most bursts that were under way at once.
    late : int
        Cycles in which the design had written all its data and waited for an answer.
    """

    CHANNELS = {
        "ar": ("addr", "len", "size", "burst", "id"),
        "r": ("data", "resp", "last"),
        "aw": ("addr", "len", "size", "burst", "id"),
        "w": ("data", "strb", "last"),
        "b": ("resp",),
    }

    def __init__(self, dut, rng: random.Random):
        streams = {name: Stream(dut, f"m_axi_{name}", f) for name, f in self.CHANNELS.items()}
        self.streams = {name: StreamContract(stream) for name, stream in streams.items()}
        self.bursts: list[tuple[str, int, int]] = []
        self.most_reads = self.most_writes = self.late = 0
        self._reads = self._writes = self._beats = 0
        outgoing = [streams[name] for name in ("ar", "aw", "w")]
        incoming = [streams[name] for name in ("r", "b")]
        Independence(
            dut.aclk,
            "m_axi",
            [stream.ready for stream in outgoing]
            + [h for stream in incoming for h in (stream.valid, *stream.payload.values())],
            [stream.ready for stream in incoming]
            + [h for stream in outgoing for h in (stream.valid, *stream.payload.values())],
            rng,
        )
        cocotb.start_soon(self._run(dut, streams))

    def check_rest(self) -> None:
        """Fail when a burst is still under way."""
        under_way = self._reads, self._writes, self._beats
        assert under_way == (0, 0, 0), f"(reads, writes, beats) under way: {under_way}"

    def _check(self, channel, item) -> int:
        beats = item["len"] + 1
        address = item["addr"]
        where = f"{channel} burst of {beats} beats at {address:#x}"
        assert beats <= MAXIMUM_BURST, f"{where} is too long"
        assert address % BEAT == 0, f"{where} is not aligned"
        last = address + BEAT * beats - 1
        assert address // PAGE == last // PAGE, f"{where} crosses 4 KiB"
        assert (item["size"], item["burst"], item["id"]) == (3, 1, 0), f"{where}: {item}"
        self.bursts.append((channel, address, beats))
        return beats

    async def _run(self, dut, streams) -> None:
        while True:
            await FallingEdge(dut.aclk)
            if not dut.aresetn.value:
                self._reads = self._writes = self._beats = 0
                continue
            # The address first: it may come in the same cycle as the data.
            offered = bool(streams["aw"].valid.value)
            if streams["w"].valid.value:
                assert self._beats > 0 or offered, "write data before its address"
            if streams["ar"].happens():
                self._check("ar", streams["ar"].item())
                self._reads += 1
            if streams["aw"].happens():
                self._beats += self._check("aw", streams["aw"].item())
                self._writes += 1
            if streams["w"].happens():
                self._beats -= 1
            self.late += self._writes > 0 and self._beats == 0 and not streams["b"].valid.value
            self.most_reads = max(self.most_reads, self._reads)
            self.most_writes = max(self.most_writes, self._writes)
            if streams["r"].happens() and streams["r"].payload["last"].value:
                self._reads -= 1
                assert self._reads >= 0, "a read answer without a request"
            if streams["b"].happens():
                self._writes -= 1
                assert self._writes >= 0, "a write answer without a request"

"""DRAM behind cocotbext-axi's slave, with faults, gaps and a record of what was written when."""

import random

from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiBus, AxiSlave

__all__ = ["Memory", "watch_answers"]


class _Contents:
    """Target of the slave: bytes, a log of writes, and ranges that answer with an error."""

    def __init__(self, size):
        self.data = bytearray(size)
        self.writes = []
        self.faults = []
        self.pending = {"rresp": 0, "bresp": 0}  # worst answers since the last response

    def _note(self, address, field):
        for start, end, response in self.faults:
            if start <= address < end:
                self.pending[field] = max(self.pending[field], response)

    async def read(self, address, length):
        self._note(address, "rresp")
        return bytes(self.data[address : address + length])

    async def write(self, address, data):
        self._note(address, "bresp")
        self.writes.append(address)
        self.data[address : address + len(data)] = data


class Memory:
    """Memory on ``m_axi``.

    Parameters
    ----------
    dut : handle
        Design under test.
    rng : random.Random
        Source of the gaps.
    size : int
        Bytes from address 0.
    """

    def __init__(self, dut, rng: random.Random, size: int = 1 << 20):
        self._contents = _Contents(size)
        bus = AxiBus.from_prefix(dut, "m_axi")
        self.slave = AxiSlave(
            bus, dut.aclk, dut.aresetn, target=self._contents, reset_active_level=False
        )
        self._rng = rng
        self._answer(self.slave.read_if.r_channel, "rresp")
        self._answer(self.slave.write_if.b_channel, "bresp")

    def _answer(self, channel, field):
        """Let the range that was touched decide the response; the slave itself knows OKAY only."""
        send = channel.send

        async def send_with_fault(item):
            setattr(item, field, self._contents.pending[field])
            self._contents.pending[field] = 0
            await send(item)

        channel.send = send_with_fault

    @property
    def data(self) -> bytearray:
        return self._contents.data

    @property
    def writes(self) -> list[int]:
        """Addresses of the beats written, in order."""
        return self._contents.writes

    def fail(self, start: int, size: int, response: int) -> None:
        """Answer every burst that touches the range with ``response``, until :meth:`heal`."""
        self._contents.faults.append((start, start + size, response))

    def heal(self) -> None:
        """Forget all faults."""
        self._contents.faults.clear()

    def pause(self, probability: float) -> None:
        """Hold up each channel in this share of the cycles."""
        channels = (
            self.slave.read_if.ar_channel,
            self.slave.read_if.r_channel,
            self.slave.write_if.aw_channel,
            self.slave.write_if.w_channel,
            self.slave.write_if.b_channel,
        )
        for channel in channels:
            if probability:
                channel.set_pause_generator(self._gaps(probability))
            else:
                channel.clear_pause_generator()
                channel.pause = False

    def _gaps(self, probability):
        rng = random.Random(self._rng.random())
        while True:
            yield rng.random() < probability


async def watch_answers(dut, log):
    """Append ``(address, unanswered bursts before it)`` for each write burst to ``log``."""
    unanswered = 0
    while True:
        await RisingEdge(dut.aclk)
        if dut.m_axi_awvalid.value and dut.m_axi_awready.value:
            log.append((int(dut.m_axi_awaddr.value), unanswered))
            unanswered += 1
        if dut.m_axi_bvalid.value and dut.m_axi_bready.value:
            unanswered -= 1

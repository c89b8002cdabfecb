"""The whole switch overlay between random pauses of every channel, against the golden switch.

Software is cocotbext-axi's AXI4-Lite master, DRAM its AXI4 slave; what the overlay puts on the bus
is watched beat by beat, and nothing but the ring's entries may be written.
"""

import logging

import cocotb
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

from cocotb_tests.common.coverage import Coverage
from cocotb_tests.common.memory import AxiMonitor, Memory
from cocotb_tests.common.timing import generator, start, until, within
from cocotb_tests.switch.ingress_design import OVERLAY as CONFIG
from cocotb_tests.switch.traffic import Traffic
from eyas.interfaces.switch.packet import HEADER_BYTES, Packet
from eyas.interfaces.switch.registers import (
    EGRESS_STRIDE,
    FAULT_COUNTERS,
    SWITCH_REGISTERS,
    SwitchCode,
    SwitchPlace,
)
from eyas.interfaces.switch.states import Policy
from models.switch.golden import GoldenSwitch

LOG2 = 2
ENTRIES = 1 << LOG2
GUARD = 0xEE
DECERR = 3


class Bench:
    """Master, memory, monitor and the rings' software."""

    def __init__(self, dut, pauses: float, seed: int):
        self.dut = dut
        self.rng = rng = generator(seed)
        self.memory = Memory(dut, rng)
        self.memory.pause(pauses)
        self.memory.data[:] = bytes([GUARD]) * len(self.memory.data)
        self.monitor = AxiMonitor(dut, rng)
        # The master logs every access.
        logging.getLogger(f"cocotb.{dut._name}.s_axi").setLevel(logging.WARNING)
        self.master = AxiLiteMaster(
            AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, dut.aresetn, reset_active_level=False
        )
        self.ring, self.window, self.egress = 0x1008, 0x2010, 0x8018
        self.window_end = self.window + ENTRIES * EGRESS_STRIDE
        self.posted = self.reaped = 0

    async def read(self, name: str) -> dict[str, int]:
        register = SWITCH_REGISTERS[name]
        word = await within(200, f"read of {name}", self.master.read_dword(register.offset))
        return register.unpack(word)

    async def write(self, name: str, **fields: int) -> None:
        register = SWITCH_REGISTERS[name]
        word = register.pack(fields)
        await within(200, f"write of {name}", self.master.write_dword(register.offset, word))

    async def begin(self, traffic: Traffic) -> None:
        """Set the switch up for the traffic, and start the rings."""
        settings = traffic.settings
        await self.write("policy", policy=settings.policy, slots_log2=settings.slots_log2,
                         decay_after=settings.decay_after)  # fmt: skip
        await self.write("scan", salt=settings.salt)
        for job, entry in traffic.jobs.items():
            if not entry.enabled:
                continue
            await self.write("job_select", job=job)
            await self.write("job_setup", workers=entry.workers, needed=entry.needed,
                             epoch=entry.epoch, lanes=entry.lanes)  # fmt: skip
            await self.write("job_partition", base=entry.base, mask=entry.size - 1)
            for i in range(4):
                part = entry.table[4 * i : 4 * i + 4]
                await self.write(f"table{i}", **{f"entry{4 * i + j}": part[j] for j in range(4)})
            await self.write("job_command", enable=1)
            assert (await self.read("job_status")) == {"busy": 0, "code": SwitchCode.NONE}
        for name, address in (
            ("ingress_base", self.ring), ("egress_base", self.egress),
            ("window_base", self.window), ("window_end", self.window_end),
        ):  # fmt: skip
            await self.write(name, address=address)
        await self.write("ring_sizes", ingress_log2=LOG2, egress_log2=LOG2)
        await self.write("interrupt_enable", packets=1, drained=1, error=1)
        await self.write("control", start=1)

    async def post(self, *frames: bytes) -> None:
        """Put frames into the ring, which has room for them."""
        for frame in frames:
            entry = self.posted % ENTRIES
            address = self.window + entry * EGRESS_STRIDE
            self.memory.data[address : address + len(frame)] = frame
            descriptor = (address | len(frame) << 32).to_bytes(8, "little")
            place = self.ring + 8 * entry
            self.memory.data[place : place + 8] = descriptor
            self.posted = self.posted + 1 & 0xFFFF
        await self.write("ingress_doorbell", producer=self.posted)

    async def reap(self) -> list[bytes]:
        """What stands in the egress ring; the entries are wiped."""
        produced = (await self.read("egress"))["producer"]
        packets = []
        while self.reaped != produced:
            place = self.egress + self.reaped % ENTRIES * EGRESS_STRIDE
            entry = bytes(self.memory.data[place : place + EGRESS_STRIDE])
            size = HEADER_BYTES + len(Packet.from_bytes(entry).payload)
            padded = size + -size % 8
            assert not any(entry[size:padded]), "no zeros behind the packet"
            assert entry[padded:] == bytes([GUARD]) * (EGRESS_STRIDE - padded), "too much written"
            packets.append(entry[:size])
            self.memory.data[place : place + EGRESS_STRIDE] = bytes([GUARD]) * EGRESS_STRIDE
            self.reaped = self.reaped + 1 & 0xFFFF
        if packets:
            await self.write("egress_acknowledge", consumer=self.reaped)
        return packets

    async def room(self) -> int:
        consumed = (await self.read("ingress"))["consumer"]
        return ENTRIES - (self.posted - consumed & 0xFFFF)

    async def drained(self) -> list[bytes]:
        """Wait until the switch is idle; return what came meanwhile."""
        packets = []
        for _ in range(2000):
            idle = (await self.read("status"))["idle"]
            packets += await self.reap()
            if idle:
                return packets
        raise AssertionError("the switch does not become idle")

    def check_writes(self) -> None:
        """Nothing was written but entries of the ring."""
        end = self.egress + ENTRIES * EGRESS_STRIDE
        wrong = [address for address in self.memory.writes if not self.egress <= address < end]
        assert not wrong, f"written at {wrong[0]:#x}"


async def begin(dut, traffic: Traffic, pauses: float, seed: int) -> Bench:
    bench = Bench(dut, pauses, seed)
    await start(dut)
    await bench.begin(traffic)
    return bench


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(pauses=[0.0, 0.3, 0.7])
async def random_traffic(dut, pauses):
    """Rings of four entries wrap, run full and run empty; every packet is the golden switch's."""
    rng = generator(int(10 * pauses))
    coverage = Coverage(("ring full", "ring empty", "several at once", "faults"))
    traffic = Traffic(CONFIG, rng, Policy.ALWAYS, faults=0.2)
    traffic.longest = CONFIG.slot_bytes
    model = GoldenSwitch(CONFIG, traffic.settings)
    for job, entry in traffic.jobs.items():
        model.configure(job, entry)
    bench = await begin(dut, traffic, pauses, 1)
    frames = [traffic.frame() for _ in range(60)]
    expected = [packet for frame in frames for packet in model.receive(frame)]
    seen = []
    while frames:
        room = min(await bench.room(), rng.randint(1, ENTRIES))
        if room:
            await bench.post(*(frames.pop(0) for _ in range(min(room, len(frames)))))
        await ClockCycles(dut.aclk, rng.choice((1, 20, 400)))
        status = await bench.read("status")
        coverage.hit("ring full", status["full"])
        coverage.hit("ring empty", status["idle"])
        if not room or rng.random() < 0.1:
            packets = await bench.reap()
            coverage.hit("several at once", len(packets) > 1)
            seen += packets
    seen += await bench.drained()
    assert seen == expected, f"{len(seen)} packets, not {len(expected)}, or others"
    faults = [(await bench.read(name))["value"] for name in FAULT_COUNTERS]
    assert sum(faults) == sum(model.faults.values()), f"{faults}, not {model.faults}"
    coverage.hit("faults", sum(faults))
    assert (await bench.read("error"))["code"] == SwitchCode.NONE
    bench.check_writes()
    bench.monitor.check_rest()
    assert bench.monitor.most_reads > 1, "reads one by one"
    coverage.check()


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def interrupts_and_errors(dut):
    """The line rises with packets and with errors, and falls when both are dealt with."""
    rng = generator(5)
    traffic = Traffic(CONFIG, rng, Policy.ALWAYS, faults=0.0)
    bench = await begin(dut, traffic, 0.2, 2)
    job = next((j for j, entry in traffic.jobs.items() if entry.enabled), None)
    assert job is not None, "choose another seed"
    entry = traffic.jobs[job]
    frame = Packet(6, job, entry.epoch, 77).to_bytes()  # a QUERY goes on
    await bench.write("interrupt_status", packets=1, drained=1, error=1)
    assert dut.interrupt.value == 0, "an interrupt of nothing"
    await bench.post(frame)
    await until(dut.aclk, lambda: dut.interrupt.value == 1, "the packet's interrupt", 2000)
    assert await bench.drained() == [frame]
    await bench.write("interrupt_status", packets=1, drained=1)
    await until(dut.aclk, lambda: dut.interrupt.value == 0, "the line to fall", 100)
    # A frame that cannot be read.
    bench.memory.fail(bench.window + EGRESS_STRIDE, 8, DECERR)
    await bench.post(frame)
    await until(dut.aclk, lambda: dut.interrupt.value == 1, "the error's interrupt", 2000)
    error = await bench.read("error")
    assert error == {"code": SwitchCode.BUS_DECODE, "place": SwitchPlace.FRAMES, "index": 1}
    bench.memory.heal()
    await bench.post(frame)
    assert await bench.drained() == [frame]
    assert (await bench.read("packets_lost"))["value"] == 1
    bench.check_writes()
    bench.monitor.check_rest()

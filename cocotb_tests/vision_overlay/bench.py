"""Bench of the whole vision overlay: compiled networks, pictures in a queue, against the reference.

Software is cocotbext-axi's AXI4-Lite master, DRAM its AXI4 slave with random pauses.
"""

from dataclasses import dataclass, field

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from cocotb_tests.common.coverage import Coverage
from cocotb_tests.common.memory import AxiMonitor, Memory
from cocotb_tests.common.timing import generator, start, until, within
from cocotb_tests.vision_overlay.networks import OPERATIONS, operations, pooled, strided
from drivers.vision.engine import unpack_map
from eyas.compiler import compile_graph
from eyas.interfaces.vision.config import SMALL_VISION
from eyas.interfaces.vision.program_file import Program
from eyas.interfaces.vision.records import (
    DESCRIPTOR,
    DESCRIPTOR_MAGIC,
    DESCRIPTOR_VERSION,
    HEADER,
    RESULT,
    RESULT_MAGIC,
    ErrorCode,
    JobKind,
    Place,
)
from eyas.interfaces.vision.registers import IDENTITY, VISION_REGISTERS
from models.vision import reference
from models.vision.graph import Graph

CONFIG = SMALL_VISION
LIMIT = {"timeout_time": 2, "timeout_unit": "ms"}
RECORD = RESULT.width // 8
BUSY = 60_000
"""Cycles that the jobs of a test never need."""
GUARD = b"\xee" * 16
"""What stands between the buffers."""


@dataclass
class Network:
    """A network in a slot, and where its program goes in the memories."""

    graph: Graph
    slot: int
    bases: dict[str, int] = field(default_factory=dict)

    def __post_init__(self):
        self.program: Program = compile_graph(self.graph, CONFIG)
        self.header = HEADER.unpack_bytes(self.program.image)


@dataclass
class Job:
    """A job in memory; ``expected`` is the output map of a picture."""

    address: int
    descriptor: dict[str, int]
    network: Network
    expected: np.ndarray | None = None


class Bench:
    """Master, memory and monitor around the overlay, and the jobs in memory."""

    def __init__(self, dut, seed: int, pauses: float):
        self.dut = dut
        self.rng = rng = generator(seed)
        self.values = np.random.default_rng(rng.getrandbits(32))
        self.memory = Memory(dut, rng)
        self.memory.pause(pauses)
        self.memory.data[:] = GUARD * (len(self.memory.data) // len(GUARD))
        self.monitor = AxiMonitor(dut, rng)
        self.master = AxiLiteMaster(
            AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, dut.aresetn, reset_active_level=False
        )
        self.jobs: list[Job] = []
        self._free = 0x1000
        self._written: list[range] = []

    # Registers.

    async def read(self, name: str) -> dict[str, int]:
        register = VISION_REGISTERS[name]
        word = await within(200, f"read of {name}", self.master.read_dword(register.offset))
        return register.unpack(word)

    async def write(self, name: str, **fields: int) -> None:
        register = VISION_REGISTERS[name]
        word = register.pack(fields)
        await within(200, f"write of {name}", self.master.write_dword(register.offset, word))

    # Memory.

    def place(self, data: bytes) -> int:
        """Put ``data`` behind what is there already, at a random multiple of 8."""
        address = self._free + 8 * self.rng.randrange(1, 40)
        self._free = address + -(-len(data) // 8) * 8 + len(GUARD)
        self.memory.data[address : address + len(data)] = data
        return address

    def buffer(self, size: int) -> int:
        """Room that the overlay may write."""
        address = self.place(GUARD[:1] * size)
        self._written.append(range(address, address + size))
        return address

    def job(self, network: Network, expected=None, **values: int) -> Job:
        descriptor = {
            "magic": DESCRIPTOR_MAGIC,
            "version": DESCRIPTOR_VERSION,
            "slot": network.slot,
            "tag": self.rng.randrange(1 << 16),
            "result": self.buffer(RECORD),
        } | values
        job = Job(self.place(DESCRIPTOR.pack_bytes(descriptor)), descriptor, network, expected)
        self.jobs.append(job)
        return job

    def load_job(self, network: Network, **values: int) -> Job:
        image = network.program.image
        return self.job(
            network,
            kind=JobKind.LOAD,
            source=self.place(image),
            source_words=len(image) // 8,
            **network.bases,
            **values,
        )

    def picture_job(self, network: Network, **values: int) -> Job:
        shape = network.graph.tensors[network.graph.input].shape
        picture = self.values.integers(-128, 128, (1, *shape)).astype(np.int8)
        out = network.program.manifest.output_map
        return self.job(
            network,
            reference.run(network.graph, picture)[0],
            kind=JobKind.INFER,
            source=self.place(picture.tobytes()),
            source_words=network.header["source_words"],
            output=self.buffer(8 * out.blocks * out.count * CONFIG.beats_per_word),
            **values,
        )

    # Running.

    async def ring(self, job: Job) -> None:
        await self.write("doorbell", address=job.address)

    def record(self, job: Job) -> dict[str, int]:
        address = job.descriptor["result"]
        return RESULT.unpack_bytes(bytes(self.memory.data[address : address + RECORD]))

    def has_ended(self, job: Job) -> bool:
        """Whether the record's first word stands in memory: it is written last."""
        return self.record(job)["magic"] == RESULT_MAGIC

    async def ended(self, *jobs: Job) -> None:
        """Wait until each job's record is written."""
        for job in jobs:
            tag = job.descriptor["tag"]
            await until(
                self.dut.aclk,
                lambda job=job: self.has_ended(job),
                f"the record of tag {tag}",
                BUSY,
            )

    async def interrupted(self, what: str) -> None:
        await until(self.dut.aclk, lambda: self.dut.interrupt.value, what, BUSY)

    async def acknowledge(self, **causes: int) -> None:
        """The interrupt has just these causes; take them away."""
        found = await self.read("interrupt_status")
        assert found == {"done": 0, "error": 0} | causes, f"INTERRUPT_STATUS is {found}"
        await self.write("interrupt_status", **causes)
        await ClockCycles(self.dut.aclk, 2)
        assert not self.dut.interrupt.value, "the interrupt stays"

    # Checks.

    def check_right(self, job: Job) -> None:
        """The record says that all is well; the output is the reference's, bit for bit."""
        record, descriptor = self.record(job), job.descriptor
        expected = {"magic": RESULT_MAGIC, "code": 0, "place": 0}
        expected |= {name: descriptor[name] for name in ("slot", "tag")}
        found = {name: record[name] for name in expected}
        assert found == expected, f"record {found}, not {expected}"
        if job.expected is None:
            return
        assert 0 < record["core_cycles"] <= record["job_cycles"] < BUSY
        place = job.network.program.manifest.output_map
        size = 8 * place.blocks * place.count * CONFIG.beats_per_word
        start_ = descriptor["output"]
        raw = np.frombuffer(bytes(self.memory.data[start_ : start_ + size]), np.uint8)
        output = unpack_map(raw[np.newaxis], place, CONFIG)[0]
        wrong = np.argwhere(output != job.expected)
        assert not len(wrong), (
            f"{job.network.graph.name}: {len(wrong)} of {output.size} values differ, first at "
            f"(y, x, channel) {wrong[0]}: {output[tuple(wrong[0])]}, "
            f"not {job.expected[tuple(wrong[0])]}"
        )

    async def check_rest(self) -> None:
        """Nothing more comes, and nothing was written but outputs and records."""
        status = await self.read("status")
        assert (status["idle"], status["aborting"], status["queued"]) == (1, 0, 0), status
        bursts = len(self.monitor.bursts)
        await ClockCycles(self.dut.aclk, 300)
        assert len(self.monitor.bursts) == bursts, "bursts while nothing runs"
        self.monitor.check_rest()
        assert not self.dut.interrupt.value, "an interrupt while nothing runs"
        assert (await self.read("jobs_done"))["value"] == len(self.jobs)
        outside = [
            address
            for address in self.memory.writes
            if not any(address in part for part in self._written)
        ]
        assert not outside, f"{len(outside)} beats were written elsewhere, first {outside[0]:#x}"


def networks(bench: Bench) -> list[Network]:
    """Two networks that are resident side by side."""
    first, second = (
        Network(make(bench.values), slot) for slot, make in ((0, pooled), (2, strided))
    )
    first.bases = {"instruction_base": 0, "weight_base": 0, "parameter_base": 0}
    second.bases = {
        f"{name}_base": first.header[size]
        for name, size in (
            ("instruction", "instruction_words"),
            ("weight", "weight_rows"),
            ("parameter", "parameter_rows"),
        )
    }
    return [first, second]


async def loaded(bench: Bench) -> list[Network]:
    """The networks, with their programs resident."""
    found = networks(bench)
    await bench.write("interrupt_enable", done=1, error=1)
    jobs = [bench.load_job(network, interrupt=1) for network in found]
    for job in jobs:
        await bench.ring(job)
        await bench.interrupted("a program to load")
        await bench.ended(job)
        await bench.acknowledge(done=1)
        bench.check_right(job)
    slots = (await bench.read("status"))["slots"]
    assert slots == sum(1 << network.slot for network in found), f"slots {slots:#x}"
    return found


@cocotb.test(**LIMIT)
@cocotb.parametrize(pauses=[0.0, 0.5])
async def pictures_in_a_queue(dut, pauses):
    """Pictures of two networks in turn, the queue full; one interrupt at the end."""
    bins = [*OPERATIONS, "queue of four", "networks in turn", "interrupt of the last job alone"]
    # The overlay holds up beats while the banks are busy; a memory without pauses nothing.
    held = ("ar", "r", "aw", "w") if pauses else ("r",)
    bins += [f"{channel} held" for channel in held] + ["b late"]
    coverage = Coverage(bins)
    bench = Bench(dut, int(10 * pauses), pauses)
    await start(dut)
    found = await loaded(bench)
    jobs = [
        bench.picture_job(found[index % 2 if index < 6 else 0], interrupt=int(index == 8))
        for index in range(9)
    ]
    for job in jobs:
        while (queued := (await bench.read("status"))["queued"]) == CONFIG.queue_depth:
            coverage.hit("queue of four")
        assert queued <= CONFIG.queue_depth
        assert not dut.interrupt.value, "an interrupt that no descriptor asks for"
        await bench.ring(job)
    await bench.interrupted("the last picture")
    assert all(bench.has_ended(job) for job in jobs), "the interrupt came too early"
    coverage.hit("interrupt of the last job alone")
    await bench.ended(*jobs)
    await bench.acknowledge(done=1)
    for before, job in zip([None, *jobs], jobs, strict=False):
        bench.check_right(job)
        for name in operations(job.network.graph):
            coverage.hit(name)
        coverage.hit("networks in turn", before and before.network is not job.network)
    assert not any((await bench.read("error")).values())
    await bench.check_rest()
    for channel in held:
        coverage.hit(f"{channel} held", bench.monitor.streams[channel].held)
    coverage.hit("b late", bench.monitor.late)
    coverage.check()


@cocotb.test(**LIMIT)
async def registers_answer(dut):
    """Identity and capabilities; DECERR where there is no register, also while a job runs."""
    coverage = Coverage(["read unmapped", "write unmapped", "read while busy"])
    bench = Bench(dut, 20, 0.2)
    await start(dut)
    assert (await bench.read("identity"))["value"] == IDENTITY
    capabilities = {}
    for name in (
        "shape", "activation_capacity", "weight_capacity", "program_capacity", "queue_capacity",
    ):  # fmt: skip
        capabilities |= await bench.read(name)
    assert capabilities == CONFIG.as_dict()
    found = await loaded(bench)
    job = bench.picture_job(found[0], interrupt=1)
    await bench.ring(job)
    mapped = {register.offset for register in VISION_REGISTERS.registers}
    holes = [address for address in range(0, 0x100, 4) if address not in mapped] + [0xFFC]
    for address in bench.rng.sample(holes, 10):
        answer = await within(100, "an unmapped read", bench.master.read(address, 4))
        assert (answer.resp, answer.data) == (AxiResp.DECERR, bytes(4)), f"{address:#x}: {answer}"
        coverage.hit("read unmapped")
        answer = await within(100, "an unmapped write", bench.master.write(address, b"\xff" * 4))
        assert answer.resp == AxiResp.DECERR, f"{address:#x}: {answer}"
        coverage.hit("write unmapped")
        coverage.hit("read while busy", not (await bench.read("status"))["idle"])
    await bench.interrupted("the picture")
    await bench.ended(job)
    await bench.acknowledge(done=1)
    bench.check_right(job)
    await bench.check_rest()
    coverage.check()


@cocotb.test(**LIMIT)
async def a_bus_error_in_a_queue(dut):
    """The job that meets it ends with the error; those around it are right."""
    coverage = Coverage(["SLVERR at INPUT", "DECERR at OUTPUT"])
    bench = Bench(dut, 30, 0.3)
    await start(dut)
    found = await loaded(bench)
    for what, place, code, response in (
        ("source", Place.INPUT, ErrorCode.BUS_SLAVE, AxiResp.SLVERR),
        ("output", Place.OUTPUT, ErrorCode.BUS_DECODE, AxiResp.DECERR),
    ):
        jobs = [bench.picture_job(found[index % 2]) for index in range(4)]
        bad = jobs[2]
        bench.memory.fail(bad.descriptor[what], 8, response)
        for job in jobs:
            await bench.ring(job)
        await bench.ended(*jobs)
        for job in jobs:
            if job is not bad:
                bench.check_right(job)
        expected = {"code": code, "place": place, "tag": bad.descriptor["tag"]}
        record = bench.record(bad)
        assert {name: record[name] for name in expected} == expected, f"{record}"
        error = await bench.read("error")
        assert (error["code"], error["place"], error["count"]) == (code, place, 1), f"{error}"
        assert (await bench.read("error_tag"))["tag"] == bad.descriptor["tag"]
        await bench.acknowledge(error=1)
        await bench.write("control", clear_error=1)
        assert not any((await bench.read("error")).values())
        coverage.hit(f"{response.name} at {place.name}")
    bench.memory.heal()
    await bench.check_rest()
    coverage.check()

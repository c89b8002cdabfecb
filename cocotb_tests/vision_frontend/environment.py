"""What every test of the front end needs: the bus masters, programs for the stand-in, and what must
come out."""

import math
import zlib
from dataclasses import dataclass, field, replace

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, FallingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

from cocotb_tests.common.memory import AxiMonitor, Memory
from cocotb_tests.common.timing import cycle, generator, start, until
from cocotb_tests.vision_frontend.stand_in import NEVER, instruction_layout
from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import PARAMETER
from eyas.interfaces.vision.records import (
    DESCRIPTOR,
    DESCRIPTOR_MAGIC,
    DESCRIPTOR_VERSION,
    HEADER,
    PROGRAM_MAGIC,
    PROGRAM_VERSION,
    RESULT,
    RESULT_MAGIC,
    JobKind,
)
from eyas.interfaces.vision.registers import VISION_REGISTERS

__all__ = ["Environment", "Patching", "Program"]

TIMEOUT = 60_000
"""Cycles within which anything that is waited for happens."""


@dataclass(frozen=True)
class Patching:
    """How the input map's pixels are windows of a picture."""

    height: int
    width: int
    channels: int
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (1, 1, 1, 1)
    zero_point: int = -100

    @property
    def size(self) -> dict[str, int]:
        """Height, width and channels of the map."""
        top, bottom, left, right = self.padding
        taken = self.kernel[0] * self.kernel[1] * self.channels
        return {
            "height": (self.height + top + bottom - self.kernel[0]) // self.stride[0] + 1,
            "width": (self.width + left + right - self.kernel[1]) // self.stride[1] + 1,
            "channels": -(-taken // 8) * 8,
        }

    @property
    def header(self) -> dict[str, int]:
        """Fields of the program header."""
        row = self.width * self.channels
        return {
            "patch_kernel_rows": self.kernel[0],
            "patch_run_bytes": self.kernel[1] * self.channels,
            "patch_pixel_step": self.stride[1] * self.channels,
            "patch_row_bytes": row,
            "patch_row_step": self.stride[0] * row,
            "patch_start_byte": -self.padding[2] * self.channels,
            "patch_start": -self.padding[0] * row,
            "patch_zero_point": self.zero_point,
            "patch_picture_bytes": self.height * row,
        }

    def cut(self, picture: np.ndarray) -> np.ndarray:
        """The map of ``picture``."""
        size = self.size
        filling = self.zero_point & 0xFF
        margins = (self.padding[:2], self.padding[2:], (0, 0))
        padded = np.pad(picture, margins, constant_values=filling)
        result = np.full(tuple(size.values()), filling, np.uint8)
        for y in range(size["height"]):
            for x in range(size["width"]):
                rows = slice(y * self.stride[0], y * self.stride[0] + self.kernel[0])
                columns = slice(x * self.stride[1], x * self.stride[1] + self.kernel[1])
                window = padded[rows, columns].ravel()
                result[y, x, : len(window)] = window
        return result


@dataclass
class Program:
    """A program for the stand-in engine, and the layout of its maps."""

    config: VisionConfig
    rng: np.random.Generator
    height: int = 5
    width: int = 7
    channels: int = 3
    pitch: int | None = None
    output_blocks: int | None = None
    instruction_base: int = 0
    weight_base: int = 0
    parameter_base: int = 0
    weight_rows: int = 3
    parameter_rows: int = 2
    cycles: int = 50
    release: int = NEVER
    code: int = 0
    layer: int = 5
    input_base: int = 3
    header: dict = field(default_factory=dict)
    """Header fields to falsify."""
    patching: Patching | None = None
    """Where the map is cut out of a picture: gives the map's size."""

    def __post_init__(self):
        config = self.config
        if self.patching:
            vars(self).update(self.patching.size)
        self.pitch = self.pitch or self.width
        self.blocks = -(-self.channels // config.input_channels)
        self.output_blocks = self.output_blocks or self.blocks
        self.count = (self.height - 1) * self.pitch + self.width
        self.plane = -(-self.count // config.pixels) + 1
        self.output_base = self.input_base + self.plane * max(self.blocks, self.output_blocks) + 2
        if self.output_base + self.plane * self.output_blocks > config.bank_words:
            raise ValueError("Both maps do not fit in the activation memory")
        self.weights = self.rng.integers(
            0, 256, (self.weight_rows, config.output_channels, config.input_channels), np.uint8
        )
        self.parameters = [
            {
                "bias": int(self.rng.integers(-(1 << 31), 1 << 31)),
                "multiplier": int(self.rng.integers(0, 1 << 31)),
                "shift": int(self.rng.integers(0, 32)),
                "pre_shift": int(self.rng.integers(0, 16)),
            }
            for _ in range(self.parameter_rows * config.requantize_channels)
        ]

    @property
    def instructions(self) -> list[int]:
        values = {
            "in_base": self.input_base,
            "in_plane": self.plane,
            "out_base": self.output_base,
            "out_plane": self.plane,
            "count": self.count,
            "blocks": self.output_blocks,
            "cycles": self.cycles,
            "release": self.release,
            "code": self.code,
            "layer": self.layer,
            "_reserved": 0,
        }
        bits = instruction_layout.const(values).as_value().value
        return [bits >> (64 * i) & (1 << 64) - 1 for i in range(3)]

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        source = self.patching or self
        return source.height, source.width, source.channels

    @property
    def source_words(self) -> int:
        return -(-math.prod(self.picture_shape) // 8)

    def image(self) -> bytes:
        """The program image as it stands in DRAM."""
        config = self.config
        beat = 8 * config.beats_per_word
        weights = b"".join(
            column.tobytes().ljust(beat, b"\xa5") for row in self.weights for column in row
        )
        parameters = b"".join(PARAMETER.pack_bytes(values) for values in self.parameters)
        instructions = b"".join(word.to_bytes(8, "little") for word in self.instructions)
        sections = len(instructions) + len(weights) + len(parameters)
        skip_q, skip_r = divmod(self.pitch - self.width + 1, config.pixels)
        fields = {
            "magic": PROGRAM_MAGIC,
            "version": PROGRAM_VERSION,
            "output_channels": config.output_channels,
            "input_channels": config.input_channels,
            "pixels": config.pixels,
            "requantize_channels": config.requantize_channels,
            "instruction_words": len(instructions) // 8,
            "weight_rows": self.weight_rows,
            "parameter_rows": self.parameter_rows,
            "layers": 1,
            "input_base": self.input_base,
            "input_plane": self.plane,
            "input_height": self.height,
            "input_width": self.width,
            "input_channels_count": self.channels,
            "input_blocks": self.blocks,
            "input_skip_q": skip_q,
            "input_skip_r": skip_r,
            "output_base": self.output_base,
            "output_plane": self.plane,
            "output_count": self.count,
            "output_blocks": self.output_blocks,
            "image_words": HEADER.word_count + 1 + sections // 8,
            "source_words": self.source_words,
            **(self.patching.header if self.patching else {}),
        }
        body = HEADER.pack_bytes(fields | self.header) + instructions + weights + parameters
        return body + zlib.crc32(body).to_bytes(8, "little")

    def picture(self) -> np.ndarray:
        """A random picture, of uint8 bit patterns."""
        return self.rng.integers(0, 256, self.picture_shape, np.uint8)

    def addend(self, probe_layer: int | None = None) -> int:
        """What the stand-in adds to every byte."""
        extra = 0 if probe_layer is None else probe_layer + 1
        return (1 + int(self.weights[0, 0, 0]) + self.parameters[0]["bias"] + extra) & 0xFF

    def output(self, picture: np.ndarray, probe_layer: int | None = None) -> np.ndarray:
        """The map's words that stand for pixels, (blocks, height, width, input_channels)."""
        config = self.config
        if self.patching:
            picture = self.patching.cut(picture)
        padded = np.zeros((self.height, self.width, self.blocks * config.input_channels), np.uint8)
        padded[:, :, : self.channels] = picture
        words = padded.reshape(self.height, self.width, self.blocks, config.input_channels)
        words = words.transpose(2, 0, 1, 3)[: self.output_blocks]
        return words + np.uint8(self.addend(probe_layer))

    def unpack(self, data: bytes) -> np.ndarray:
        """The same words of an output as it stands in DRAM."""
        config = self.config
        words = np.frombuffer(data, np.uint8).reshape(self.output_blocks, self.count, -1)
        unused = words[:, :, config.input_channels :]
        if unused.any():
            raise AssertionError("An unused byte of an output beat is not zero")
        rows = np.zeros((self.output_blocks, self.height, self.width, config.input_channels))
        for y in range(self.height):
            start = y * self.pitch
            rows[:, y] = words[:, start : start + self.width, : config.input_channels]
        return rows.astype(np.uint8)

    @property
    def output_bytes(self) -> int:
        return self.output_blocks * self.count * 8 * self.config.beats_per_word

    def at(self, **changes) -> "Program":
        """The same program with other weights, parameters and the changes given."""
        return replace(self, **changes)


@dataclass
class Job:
    """A job that was rung, and where its results are."""

    address: int
    descriptor: dict
    program: Program | None = None
    picture: np.ndarray | None = None


class Environment:
    """Clock, reset, masters and memory around the design under test."""

    def __init__(self, dut, config: VisionConfig, seed: int):
        rng = generator(seed)
        self.dut = dut
        self.config = config
        self.rng = np.random.default_rng(rng.getrandbits(64))
        self.memory = Memory(dut, rng)
        self.monitor = AxiMonitor(dut, rng)
        self.bus = AxiLiteMaster(
            AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, dut.aresetn, reset_active_level=False
        )
        self.unanswered = {}
        """Address of a write burst to the bursts not yet answered when it began."""
        self._free = 0x1000

    @classmethod
    async def create(cls, dut, config, seed=1, pause=0.0):
        dut.peek_address.value = 0
        environment = cls(dut, config, seed)
        environment.memory.pause(pause)
        cocotb.start_soon(environment._watch_answers())
        await start(dut)
        return environment

    async def _watch_answers(self):
        dut = self.dut
        unanswered = 0
        while True:
            await FallingEdge(dut.aclk)
            if dut.m_axi_awvalid.value and dut.m_axi_awready.value:
                self.unanswered[int(dut.m_axi_awaddr.value)] = unanswered
                unanswered += 1
            if dut.m_axi_bvalid.value and dut.m_axi_bready.value:
                unanswered -= 1

    # Registers.

    async def read(self, name: str) -> dict[str, int]:
        register = VISION_REGISTERS[name]
        return register.unpack(await self.bus.read_dword(register.offset))

    async def write(self, name: str, **fields: int) -> None:
        register = VISION_REGISTERS[name]
        await self.bus.write_dword(register.offset, register.pack(fields))

    async def counter(self, name: str) -> int:
        return (await self.read(name))["value"]

    # Memory.

    def allocate(self, size: int) -> int:
        address = self._free
        self._free += -(-size // 8) * 8 + 8 * int(self.rng.integers(0, 40))
        if self._free > len(self.memory.data):
            raise MemoryError("The test needs more memory than there is")
        return address

    def place(self, data: bytes) -> int:
        address = self.allocate(len(data))
        self.memory.data[address : address + len(data)] = data
        return address

    # Jobs.

    def job(self, values: dict, program=None, picture=None) -> Job:
        """Write a descriptor (and clear its record) without ringing."""
        defaults = {
            "magic": DESCRIPTOR_MAGIC,
            "version": DESCRIPTOR_VERSION,
            "tag": int(self.rng.integers(1, 1 << 16)),
            "interrupt": 1,
            "result": self.place(bytes(64)),
        }
        descriptor = defaults | values
        return Job(self.place(DESCRIPTOR.pack_bytes(descriptor)), descriptor, program, picture)

    def load_job(self, program: Program, slot: int = 0, image=None, **values) -> Job:
        image = program.image() if image is None else image
        return self.job(
            {
                "kind": JobKind.LOAD,
                "slot": slot,
                "source": self.place(image),
                "source_words": len(image) // 8,
                "instruction_base": program.instruction_base,
                "weight_base": program.weight_base,
                "parameter_base": program.parameter_base,
            }
            | values,
            program,
        )

    def infer_job(self, program: Program, slot: int = 0, **values) -> Job:
        picture = program.picture()
        padding = self.rng.integers(0, 256, -picture.size % 8, np.uint8)
        return self.job(
            {
                "kind": JobKind.INFER,
                "slot": slot,
                "source": self.place(picture.tobytes() + padding.tobytes()),
                "source_words": program.source_words,
                "output": self.place(b"\xee" * (program.output_bytes + 8)),
            }
            | values,
            program,
            picture,
        )

    def probe_job(self, program: Program, layer: int, slot: int = 0, **values) -> Job:
        return self.infer_job(
            program,
            slot,
            **{
                "probe": 1,
                "probe_layer": layer,
                "probe_blocks": program.output_blocks,
                "probe_base": program.output_base,
                "probe_plane": program.plane,
                "probe_count": program.count,
            }
            | values,
        )

    async def ring(self, *jobs: Job) -> None:
        for job in jobs:
            await self.write("doorbell", address=job.address)

    def record(self, job: Job) -> dict[str, int]:
        address = job.descriptor["result"]
        return RESULT.unpack_bytes(bytes(self.memory.data[address : address + 64]))

    async def wait_until(self, condition, what: str) -> None:
        await until(self.dut.aclk, condition, what, TIMEOUT)

    async def idle(self) -> None:
        begin = cycle()
        while not (await self.read("status"))["idle"]:
            assert cycle() - begin < TIMEOUT, f"not idle after {TIMEOUT} cycles"

    async def ended(self, job: Job) -> dict[str, int]:
        """Wait for the job's record and return it."""
        await self.wait_until(
            lambda: self.record(job)["magic"] == RESULT_MAGIC,
            f"record of tag {job.descriptor['tag']}",
        )
        return self.record(job)

    async def run(self, *jobs: Job) -> list[dict[str, int]]:
        await self.ring(*jobs)
        records = [await self.ended(job) for job in jobs]
        await self.idle()
        return records

    def check_right(self, job: Job) -> None:
        """The record says that all is well, and the output is what the stand-in computes."""
        record = self.record(job)
        descriptor = job.descriptor
        found = {name: record[name] for name in ("magic", "code", "place", "slot", "tag")}
        expected = {
            "magic": RESULT_MAGIC,
            "code": 0,
            "place": 0,
            "slot": descriptor["slot"],
            "tag": descriptor["tag"],
        }
        assert found == expected, f"record {found}, expected {expected}"
        if descriptor["kind"] != JobKind.INFER:
            return
        program = job.program
        start = descriptor["output"]
        data = bytes(self.memory.data[start : start + program.output_bytes])
        layer = descriptor["probe_layer"] if descriptor.get("probe") else None
        expected_map = program.output(job.picture, layer)
        found_map = program.unpack(data)
        wrong = np.argwhere(found_map != expected_map)
        assert not len(wrong), (
            f"{len(wrong)} of {expected_map.size} bytes differ, first at (block, y, x, channel) "
            f"{wrong[0]}: {found_map[tuple(wrong[0])]}, expected {expected_map[tuple(wrong[0])]}"
        )
        behind = self.memory.data[start + len(data) : start + len(data) + 8]
        assert behind == b"\xee" * 8, "something was written behind the output"

    async def check_at_rest(self) -> None:
        """Nothing more comes, and no rule was broken."""
        before = len(self.monitor.bursts), await self.counter("jobs_done")
        await ClockCycles(self.dut.aclk, 300)
        after = len(self.monitor.bursts), await self.counter("jobs_done")
        assert before == after, f"(bursts, jobs done) went from {before} to {after} at rest"
        self.monitor.check_rest()
        assert not self.dut.violation.value, "the front end broke a rule of the engine's port"
        status = await self.read("status")
        assert (status["idle"], status["aborting"], status["queued"]) == (1, 0, 0), status

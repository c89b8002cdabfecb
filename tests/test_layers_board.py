"""What a board imports, with numpy alone: records, the program file, the driver's transactions.

The overlay is played by :class:`ScriptedBoard`: registers and jobs as the descriptions say, no RTL.
"""

import zlib
from pathlib import Path

import numpy as np
import pytest

from drivers.board import Board, Buffer
from drivers.errors import BoardTimeout, JobError, ProgramError, WrongOverlay
from drivers.vision import VisionEngine
from eyas.interfaces.vision.config import SMALL_VISION, VisionConfig
from eyas.interfaces.vision.isa import INSTRUCTION
from eyas.interfaces.vision.manifest import Manifest, ManifestError
from eyas.interfaces.vision.program_file import Program, ProgramFileError
from eyas.interfaces.vision.records import (
    DESCRIPTOR,
    DESCRIPTOR_MAGIC,
    DESCRIPTOR_VERSION,
    HEADER,
    PROGRAM_MAGIC,
    PROGRAM_VERSION,
    RESULT,
    RESULT_MAGIC,
    ErrorCode,
    JobKind,
    Place,
)
from eyas.interfaces.vision.registers import IDENTITY, VERSION_MAJOR, VISION_REGISTERS

SHAPE = (2, 3, 2)
SIZE = 12
OUTPUTS = 3


class PlainBuffer(Buffer):
    """Memory without caches."""

    def flush(self) -> None:
        pass

    def invalidate(self) -> None:
        pass

    def _free(self) -> None:
        pass


class ScriptedBoard(Board):
    """Answers each job at once: the output is the first three values of the picture plus one.

    ``fail`` maps a number of an INFER job to the error code it ends with; ``silent`` loses them.
    """

    clock_hz = 1e6

    def __init__(self, **registers: int) -> None:
        super().__init__()
        self.jobs: list[dict[str, int]] = []
        self.fail: dict[int, ErrorCode] = {}
        self.silent = False
        self.aborts = 0
        self._buffers: list[Buffer] = []
        self._next = 0x1000_0000
        config = SMALL_VISION.as_dict()
        self._registers = {item.name: item.reset for item in VISION_REGISTERS.registers}
        for item in VISION_REGISTERS.registers:
            if set(item.by_name) <= set(config):
                self._registers[item.name] = item.pack(
                    {name: config[name] for name in item.by_name}
                )
        self._registers["status"] = VISION_REGISTERS["status"].pack(idle=1)
        self._registers.update(registers)

    def _name(self, offset: int) -> str:
        (name,) = (item.name for item in VISION_REGISTERS.registers if item.offset == offset)
        return name

    def _read_register(self, offset: int) -> int:
        return self._registers[self._name(offset)]

    def _write_register(self, offset: int, value: int) -> None:
        name = self._name(offset)
        if name == "doorbell":
            self._job(value)
        elif name == "interrupt_status":
            self._registers[name] &= ~value
        elif name == "control":
            self.aborts += value & 1
        else:
            self._registers[name] = value

    def _at(self, address: int) -> np.ndarray:
        (found,) = (
            item.array.reshape(-1).view(np.uint8)[address - item.address :]
            for item in self._buffers
            if item._array is not None and item.address <= address < item.address + item.nbytes
        )
        return found

    def _job(self, address: int) -> None:
        job = DESCRIPTOR.unpack_bytes(self._at(address)[:64].tobytes())
        assert (job["magic"], job["version"]) == (DESCRIPTOR_MAGIC, DESCRIPTOR_VERSION)
        self.jobs.append(job)
        if self.silent:
            return
        code = ErrorCode.NONE
        if job["kind"] == JobKind.INFER:
            number = sum(item["kind"] == JobKind.INFER for item in self.jobs) - 1
            code = self.fail.get(number, code)
            picture = self._at(job["source"])[:OUTPUTS].view(np.int8)
            self._at(job["output"])[: 8 * OUTPUTS] = 0
            self._at(job["output"])[:OUTPUTS] = (picture + 1).view(np.uint8)
        self._registers["busy_cycles"] += 100
        place = Place.NONE if code == ErrorCode.NONE else Place.COMPUTE
        record = RESULT.pack_bytes(
            magic=RESULT_MAGIC, code=code, place=place, layer=1, slot=job["slot"], tag=job["tag"],
            core_cycles=70, job_cycles=90,
        )  # fmt: skip
        self._at(job["result"])[:64] = np.frombuffer(record, np.uint8)
        self._registers["interrupt_status"] |= 1

    def _allocate(self, shape: tuple[int, ...], dtype: np.dtype) -> Buffer:
        self._buffers.append(PlainBuffer(np.zeros(shape, dtype), self._next))
        self._next += -(-self._buffers[-1].nbytes // 4096) * 4096
        return self._buffers[-1]

    def _wait_interrupt(self, timeout_s: float, waiting_for: str) -> None:
        if not self._registers["interrupt_status"]:
            raise BoardTimeout(waiting_for, timeout_s)

    def _reset(self) -> None:
        raise AssertionError("a driver does not reset the board by itself")

    def _close(self) -> None:
        pass


def program(config: VisionConfig = SMALL_VISION) -> Program:
    """A program file with an image that is whole, though no network stands behind it."""
    header = HEADER.pack_bytes(
        magic=PROGRAM_MAGIC,
        version=PROGRAM_VERSION,
        output_channels=config.output_channels,
        input_channels=config.input_channels,
        pixels=config.pixels,
        requantize_channels=config.requantize_channels,
        instruction_words=24,
        weight_rows=5,
        parameter_rows=2,
        image_words=HEADER.word_count + 1,
        source_words=2,
    )
    trailer = zlib.crc32(header).to_bytes(8, "little")
    place = {"shape": [1, 1, OUTPUTS], "base": 0, "plane": 1, "pitch": 1, "blocks": 1, "count": 1}
    manifest = {
        "name": "scripted",
        "folded": {"channels": 0, "macs_before": 0},
        "sizes": {"weight_rows": 5, "parameter_rows": 2, "bank_words": 3},
        "config": config.as_dict(),
        "macs": 0,
        "input": {"shape": list(SHAPE), "scale": 0.5, "zero_point": -3},
        "output": {"shape": [1, 1, OUTPUTS], "scale": 0.25, "zero_point": 0},
        "preprocess": [0.25, 1.0],
        "labels": [],
        "layers": [
            {
                "name": "all",
                "op": "conv2d",
                "macs": 0,
                "cycles": 70,
                "tensor": None,
                "channels": None,
                "map": place,
            }
        ],
        "softmax": None,
        "output_map": place,
    }
    return Program(Manifest.from_dict(manifest), header + trailer, b"graph")


@pytest.fixture
def board() -> ScriptedBoard:
    return ScriptedBoard()


@pytest.fixture
def engine(board: ScriptedBoard) -> VisionEngine:
    driver = VisionEngine(board)
    driver.load(program())
    return driver


def test_records_keep_their_values() -> None:
    for record in (INSTRUCTION, HEADER, DESCRIPTOR, RESULT):
        for values in ("minimum", "maximum"):
            content = {item.name: getattr(item, values) for item in record.fields}
            assert record.unpack_bytes(record.pack_bytes(content)) == content


def test_a_program_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "scripted.eyas"
    program().save(path)
    assert Program.load(path) == program()
    assert Program.load(path).config == SMALL_VISION


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda image: image[:-16], "cut short"),
        (lambda image: image[:20] + b"\xff" + image[21:], "checksum is wrong"),
        (lambda image: b"EYAX" + image[4:], "does not begin with its magic number"),
    ],
)
def test_a_damaged_image_is_refused(change, message: str) -> None:
    whole = program()
    with pytest.raises(ProgramFileError, match=message):
        Program(whole.manifest, change(whole.image), whole.graph)


def test_loading_names_memory_and_slot(board: ScriptedBoard, engine: VisionEngine) -> None:
    engine.load(program())  # another object: a second program
    first, second = board.jobs
    assert [job["kind"] for job in board.jobs] == [JobKind.LOAD, JobKind.LOAD]
    assert (first["slot"], second["slot"]) == (0, 1)
    assert (first["weight_base"], second["weight_base"]) == (0, 5)
    assert (first["instruction_base"], second["instruction_base"]) == (0, 24)
    assert (first["parameter_base"], second["parameter_base"]) == (0, 2)
    assert first["source_words"] == second["source_words"] == HEADER.word_count + 1
    assert first["tag"] != second["tag"]


@pytest.mark.parametrize("count", [1, 11])
def test_pictures_are_quantised_and_answers_come_in_order(
    board: ScriptedBoard, engine: VisionEngine, count: int
) -> None:
    print("seed 5")
    pictures = np.random.default_rng(5).integers(0, 200, (count, *SHAPE), np.uint8)
    result = engine.infer(pictures)
    real = pictures.reshape(count, SIZE)[:, :OUTPUTS] * 0.25 + 1.0
    steps = np.floor(real / 0.5 + 0.5)  # all positive: ties away from zero
    expected = np.clip(steps - 3, -128, 127).astype(np.int8) + np.int8(1)
    np.testing.assert_array_equal(result.outputs.reshape(count, OUTPUTS), expected)
    assert result.outputs.dtype == np.int8
    assert result.core_cycles.tolist() == [70] * count
    assert result.job_cycles.tolist() == [90] * count
    assert result.busy_cycles == 100 * count
    assert len(board.jobs) == 1 + count, "one LOAD and a job a picture"
    tags = [job["tag"] for job in board.jobs]
    assert len(set(tags)) == len(tags)
    assert all(job["source_words"] == 2 for job in board.jobs[1:])


def test_a_failed_job_is_named_and_the_next_call_runs(
    board: ScriptedBoard, engine: VisionEngine
) -> None:
    board.fail[2] = ErrorCode.BUS_DECODE
    pictures = np.zeros((4, *SHAPE), np.int8)
    with pytest.raises(JobError, match=r"BUS_DECODE \(COMPUTE, layer 1\)") as caught:
        engine.infer(pictures)
    assert caught.value.code is ErrorCode.BUS_DECODE
    assert engine.infer(pictures).outputs.shape == (4, 1, 1, OUTPUTS)


def test_a_lost_interrupt_names_what_was_waited_for(
    board: ScriptedBoard, engine: VisionEngine
) -> None:
    board.silent = True
    with pytest.raises(BoardTimeout, match=r"Waited 0\.5 s for picture 0"):
        engine.infer(np.zeros((1, *SHAPE), np.int8), timeout_s=0.5)


@pytest.mark.parametrize(
    ("pictures", "error", "message"),
    [
        (np.zeros((1, 3, 2, 2), np.uint8), ValueError, "shape N × 2 × 3 × 2, not 1 × 3 × 2 × 2"),
        (np.zeros((1, *SHAPE), np.int32), TypeError, "uint8, int8 or floating, not int32"),
    ],
)
def test_wrong_pictures_start_nothing(
    board: ScriptedBoard, engine: VisionEngine, pictures: np.ndarray, error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        engine.infer(pictures)
    assert len(board.jobs) == 1, "only the LOAD"


def test_a_program_for_another_array_is_refused(board: ScriptedBoard) -> None:
    other = VisionConfig(**{**SMALL_VISION.as_dict(), "output_channels": 8})
    with pytest.raises(ProgramError, match="output_channels = 8, the overlay has 4"):
        VisionEngine(board).load(program(other))
    assert board.jobs == []


@pytest.mark.parametrize(
    ("registers", "message"),
    [
        ({"identity": IDENTITY + 1}, "identity 0x56415946"),
        ({"version": (VERSION_MAJOR + 1) << 16}, f"has version {VERSION_MAJOR + 1}.0"),
    ],
)
def test_an_unknown_overlay_is_refused(registers: dict[str, int], message: str) -> None:
    with pytest.raises(WrongOverlay, match=message):
        VisionEngine(ScriptedBoard(**registers))


def test_a_manifest_gives_back_what_it_was_made_of() -> None:
    manifest = program().manifest
    assert Manifest.from_dict(manifest.as_dict()) == manifest


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("name", 3, "name is no text"),
        ("macs", True, "macs is no integer"),
        ("config", {}, "the entry output_channels is missing"),
        ("config", SMALL_VISION.as_dict() | {"pixels": 2}, "config: pixels must be odd"),
        ("input", [], r"where an entry shape should be there is \[\]"),
        ("input", {"shape": [1, 2], "scale": 1, "zero_point": 0}, "shape is not three positive"),
        ("output", {"shape": [1, 1, 3], "scale": "1", "zero_point": 0}, "scale is no number"),
        ("preprocess", [1.0], "preprocess has 1 numbers instead of 2"),
        ("labels", ["cat", 1], "labels holds something else than text"),
        ("layers", None, "layers is no list"),
        ("layers", [3], "where an entry tensor should be there is 3"),
    ],
)
def test_a_damaged_manifest_is_named(entry: str, value: object, message: str) -> None:
    values = program().manifest.as_dict() | {entry: value}
    with pytest.raises(ManifestError, match=message):
        Manifest.from_dict(values)
    with pytest.raises(ManifestError, match=f"the entry {entry} is missing"):
        Manifest.from_dict({name: values[name] for name in values if name != entry})

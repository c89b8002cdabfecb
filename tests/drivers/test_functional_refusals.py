"""The functional board's refusals: bad jobs, images and answers of the memory end as in RTL."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from drivers.board import Board, Buffer
from eyas.compiler import compile_graph
from eyas.interfaces.vision.config import SMALL_VISION
from eyas.interfaces.vision.isa import INSTRUCTION, Op
from eyas.interfaces.vision.records import (
    DESCRIPTOR,
    DESCRIPTOR_MAGIC,
    DESCRIPTOR_VERSION,
    HEADER,
    RESULT,
    RESULT_MAGIC,
    ErrorCode,
    JobKind,
)
from eyas.interfaces.vision.registers import VISION_REGISTERS
from tests.small_network import small_network


@dataclass
class Desk:
    """Buffers of one board, at the same addresses on each, and jobs rung from them."""

    board: Board
    image: Buffer
    picture: Buffer
    output: Buffer
    job: Buffer

    def read(self, name: str) -> dict[str, int]:
        register = VISION_REGISTERS[name]
        return register.unpack(self.board.read_register(register.offset))

    def write(self, name: str, **fields: int) -> None:
        register = VISION_REGISTERS[name]
        self.board.write_register(register.offset, register.pack(fields))

    def ring(self, at: int = 0, raw: bytes | None = None, **fields: int) -> dict[str, Any]:
        """Everything that one job leaves behind, but cycles; the errors are cleared before."""
        self.write("control", clear_error=1)
        self.write("interrupt_status", done=1, error=1)
        self.job.array[64:] = 0xEE
        self.output.array[:] = 0x55
        values = {
            "magic": DESCRIPTOR_MAGIC, "version": DESCRIPTOR_VERSION, "interrupt": 1, "tag": 77,
            "result": self.job.address + 64,
        }  # fmt: skip
        self.job.array[:64] = np.frombuffer(DESCRIPTOR.pack_bytes({**values, **fields}), np.uint8)
        if raw is not None:
            self.job.array[: len(raw)] = np.frombuffer(raw, np.uint8)
        self.board.write_register(VISION_REGISTERS["doorbell"].offset, self.job.address + at)
        for _ in range(20_000):
            if self.read("status")["idle"]:
                break
        record: Any = self.job.array[64:128].tobytes()
        if record[:2] == RESULT_MAGIC.to_bytes(2, "little"):
            record = RESULT.unpack_bytes(record)
            del record["job_cycles"]
        return {
            "record": record,
            "output": self.output.array.tobytes(),
            **{name: self.read(name) for name in ("status", "error", "error_tag")},
            "interrupt_status": self.read("interrupt_status"),
        }

    def load(self, image: bytes, **fields: int) -> dict[str, Any]:
        self.image.array[:] = 0
        self.image.array[: len(image)] = np.frombuffer(image, np.uint8)
        values = {"source": self.image.address, "source_words": len(image) // 8}
        return self.ring(**{"kind": JobKind.LOAD, **values, **fields})

    def infer(self, **fields: int) -> dict[str, Any]:
        values = {
            "source": self.picture.address, "source_words": PICTURE_WORDS,
            "output": self.output.address,
        }  # fmt: skip
        return self.ring(**{"kind": JobKind.INFER, **values, **fields})


PICTURE_WORDS = 27
"""Of the small network: 8 × 9 × 3 bytes."""
Act = Callable[[Desk], dict[str, Any]]
PROGRAM = compile_graph(small_network(np.random.default_rng(3)), SMALL_VISION)


def image_with(change: dict[str, int], checksum: bool = True) -> bytes:
    """The small network's image with header fields changed."""
    image = bytearray(PROGRAM.image)
    image[:128] = HEADER.pack_bytes({**HEADER.unpack_bytes(bytes(image)), **change})
    return with_checksum(image) if checksum else bytes(image)


def with_checksum(image: bytearray) -> bytes:
    image[-8:] = zlib.crc32(bytes(image[:-8])).to_bytes(8, "little")
    return bytes(image)


def instruction_with(number: int, **change: int) -> bytes:
    """The small network's image with fields of an instruction changed."""
    image = bytearray(PROGRAM.image)
    start, size = 128 + number * INSTRUCTION.width // 8, INSTRUCTION.width // 8
    fields = INSTRUCTION.unpack_bytes(bytes(image[start : start + size]))
    image[start : start + size] = INSTRUCTION.pack_bytes({**fields, **change})
    return with_checksum(image)


def damaged(position: int) -> bytes:
    image = bytearray(PROGRAM.image)
    image[position] ^= 4
    return bytes(image)


ACTS: dict[str, Act] = {
    "right": lambda d: d.infer(),
    "without interrupt": lambda d: d.infer(interrupt=0),
    "wrong magic": lambda d: d.infer(magic=1),
    "wrong version": lambda d: d.infer(version=9),
    "wrong kind": lambda d: d.infer(kind=3),
    "wrong slot": lambda d: d.infer(slot=SMALL_VISION.program_slots + 1),
    "empty slot": lambda d: d.infer(slot=2),
    "empty slot, wrong size": lambda d: d.infer(slot=2, source_words=1),
    "wrong size": lambda d: d.infer(source_words=PICTURE_WORDS + 1),
    "picture misaligned": lambda d: d.infer(source=d.picture.address + 4),
    "output misaligned": lambda d: d.infer(output=d.output.address + 1),
    "record misaligned": lambda d: d.infer(result=d.job.address + 65),
    "record misaligned, wrong kind": lambda d: d.infer(result=d.job.address + 65, kind=9),
    "load with a misaligned output": lambda d: d.load(PROGRAM.image, output=3),
    "doorbell misaligned": lambda d: d.ring(at=4),
    "descriptor outside of memory": lambda d: d.ring(at=0x2000_0000),
    "picture outside of memory": lambda d: d.infer(source=0x0800_0000),
    "output outside of memory": lambda d: d.infer(output=0x0800_0000),
    "record outside of memory": lambda d: d.infer(result=0x0800_0000),
    "image outside of memory": lambda d: d.load(PROGRAM.image, source=0x0800_0000),
    "probe of the first layer": lambda d: d.infer(
        probe=1, probe_blocks=2, probe_base=3, probe_plane=9, probe_count=20
    ),
    "probe of no layer": lambda d: d.infer(probe=1, probe_layer=77, probe_blocks=1, probe_count=4),
    "probe of nothing": lambda d: d.infer(probe=1, probe_blocks=0, probe_count=4),
    "probe too large": lambda d: d.infer(probe=1, probe_count=3 * 1024 + 1),
    "load": lambda d: d.load(PROGRAM.image),
    "load to the last slot": lambda d: d.load(
        PROGRAM.image, slot=3, instruction_base=200, weight_base=300, parameter_base=90
    ),
    "load, wrong source_words": lambda d: d.load(PROGRAM.image, source_words=20),
    "instructions do not fit": lambda d: d.load(PROGRAM.image, instruction_base=1023),
    "weights do not fit": lambda d: d.load(PROGRAM.image, weight_base=511),
    "parameters do not fit": lambda d: d.load(PROGRAM.image, parameter_base=255),
    "image of another magic": lambda d: d.load(image_with({"magic": 5})),
    "image of another version": lambda d: d.load(image_with({"version": 1})),
    "image of another version and shape": lambda d: d.load(image_with({"version": 1, "pixels": 5})),
    "image of another shape": lambda d: d.load(image_with({"output_channels": 16})),
    "image with a skip beyond the banks": lambda d: d.load(image_with({"input_skip_r": 3})),
    "image whose picture is too large": lambda d: d.load(image_with({"source_words": 2000})),
    "image whose output is too large": lambda d: d.load(image_with({"output_count": 4000})),
    "image too large and of the wrong size": lambda d: d.load(
        image_with({"output_count": 4000, "image_words": 1})
    ),
    "image without a picture": lambda d: d.load(image_with({"source_words": 0})),
    "image with a row more": lambda d: d.load(image_with({"weight_rows": 3})),
    "header damaged": lambda d: d.load(damaged(40)),
    "image damaged": lambda d: d.load(damaged(400)),
    "checksum damaged": lambda d: d.load(damaged(len(PROGRAM.image) - 7)),
    "upper half of the trailer damaged": lambda d: d.load(damaged(len(PROGRAM.image) - 1)),
}
THEN_INFER: dict[str, bytes] = {
    "damaged, then used": damaged(400),
    "unknown instruction": instruction_with(1, op=9),
    "unknown first instruction": instruction_with(0, op=15, layer=6),
    "ends early": instruction_with(1, op=Op.END),
    "ends at once": instruction_with(0, op=Op.END),
    "picture of another width": image_with({"input_width": 8}),
    "picture of more channels": image_with({"input_channels_count": 40}),
    "picture with fewer bytes": image_with({"patch_picture_bytes": 200}),
    "patches behind the picture": image_with({"patch_start_byte": 100}),
    "output in other planes": image_with({"output_plane": 5, "output_blocks": 3}),
}


@pytest.fixture(scope="module")
def desks(rtl_board: Board, functional: Board) -> Iterator[list[Desk]]:
    sizes = (len(PROGRAM.image) + 64, 8 * PICTURE_WORDS, 16384, 128)
    found = []
    for board in (rtl_board, functional):
        board.reset()
        buffers = [board.allocate(size) for size in sizes]
        found.append(Desk(board, *buffers))
    picture = np.random.default_rng(6).integers(0, 256, 8 * PICTURE_WORDS, np.uint8)
    for desk in found:
        desk.picture.array[:] = picture
        assert desk.job.address == found[0].job.address
    yield found
    for desk in found:
        for buffer in (desk.image, desk.picture, desk.output, desk.job):
            buffer.close()


@pytest.fixture
def loaded(desks: list[Desk]) -> list[Desk]:
    """Both boards after a reset, with the small network in slot 0."""
    for desk in desks:
        desk.board.reset()
        desk.write("interrupt_enable", done=1, error=1)
        assert desk.load(PROGRAM.image)["error"]["code"] == ErrorCode.NONE
        desk.infer()  # the activation memory is the same on both, as far as the network writes it
    return desks


@pytest.mark.parametrize("name", ACTS)
def test_each_job_ends_as_in_rtl(loaded: list[Desk], name: str) -> None:
    rtl, played = (ACTS[name](desk) for desk in loaded)
    assert played == rtl
    rtl, played = (desk.infer() for desk in loaded)
    assert played == rtl, "the job behind it"


@pytest.mark.parametrize("name", THEN_INFER)
def test_each_strange_image_ends_as_in_rtl(loaded: list[Desk], name: str) -> None:
    rtl, played = (desk.load(THEN_INFER[name], slot=1) for desk in loaded)
    assert played == rtl
    rtl, played = (desk.infer(slot=1) for desk in loaded)
    assert played == rtl


@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize("what", ["job", "image", "picture", "output"])
def test_injected_errors_end_as_in_rtl(loaded: list[Desk], what: str, decode: bool) -> None:
    ends = []
    for desk in loaded:
        board: Any = desk.board
        place = getattr(desk, what).address
        (board.inject_write_error if what == "output" else board.inject_read_error)(
            place, 8, decode=decode
        )
        end = desk.load(PROGRAM.image, slot=2) if what == "image" else desk.infer()
        board.clear_faults()
        del end["output"]  # bursts before and behind the faulty one are written in RTL
        ends.append(end)
    assert ends[1] == ends[0]
    assert ends[0]["error"]["count"] == 1

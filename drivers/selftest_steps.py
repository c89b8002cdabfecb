"""The steps of the self-test: what is tried on each overlay."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.errors import BoardTimeout, EyasError
from drivers.overlay import OverlayDriver
from drivers.switch import Switch
from drivers.thc import ThcAggregator, ThcError
from drivers.vision import VisionEngine
from eyas.interfaces.fields import RegisterBlock
from eyas.interfaces.switch.packet import HEADER_BYTES, Lanes, Packet, PacketError, PacketKind
from eyas.interfaces.switch.registers import SWITCH_REGISTERS
from eyas.interfaces.thc.formats import LookupTable, unpack
from eyas.interfaces.thc.registers import THC_REGISTERS
from eyas.interfaces.vision.program_file import Program
from eyas.interfaces.vision.registers import VISION_REGISTERS

__all__ = ["DATA", "STEPS"]

DATA = Path(__file__).with_name("selftest_data")
"""Known programs and answers; ``python -m tests.drivers.known_answers`` makes them."""

PATTERN_BYTES = 8192
QUIET_S = 0.001
"""How long the interrupt line must stay low when nothing is to be told."""
JOB_S = 0.1
"""How long a job may take, in seconds of the board's clock; each takes less than a millisecond."""

AGAIN = (
    "load the overlay again, and if it stays, check the clock against the bitstream's timing report"
)


class _Wrong(EyasError):
    """A step's finding: what is wrong and what to do."""


def _doorbell(registers: RegisterBlock, driver: OverlayDriver) -> str:
    """A job of zeros is refused, and the refusal raises the interrupt."""
    causes = {"done": 1, "error": 1}
    _write(driver, registers, "control", clear_error=1)
    _write(driver, registers, "interrupt_status", **causes)
    _write(driver, registers, "interrupt_enable", **causes)
    with driver.board.allocate(PATTERN_BYTES) as zeros:
        zeros.flush()

        def refused() -> None:
            _write(driver, registers, "doorbell", address=zeros.address)

        seen = _interrupt(registers, driver, causes, refused)
        _write(driver, registers, "control", clear_error=1)
    return seen


def _switch_interrupt(switch: Switch) -> str:
    """A frame that is no packet is dropped, and the switch says that it has nothing more to do."""
    causes = {"packets": 1, "drained": 1, "error": 1}
    _write(switch, SWITCH_REGISTERS, "interrupt_status", **causes)
    return _interrupt(SWITCH_REGISTERS, switch, causes, lambda: switch.post([bytes(HEADER_BYTES)]))


def _interrupt(
    registers: RegisterBlock,
    driver: OverlayDriver,
    causes: dict[str, int],
    job: Callable[[], None],
) -> str:
    """The line is low, ``job`` raises it, and clearing the ``causes`` lowers it."""
    board = driver.board

    def require_low(when: str) -> None:
        try:
            board.wait_interrupt(QUIET_S, "a quiet interrupt line")
        except BoardTimeout:
            return
        raise _Wrong(
            f"The interrupt is raised {when}; load the overlay again, and if it stays, take "
            f"another build of the bitstream"
        )

    require_low("before there was a job")
    job()
    try:
        board.wait_interrupt(JOB_S, "the interrupt of a job that is refused")
    except BoardTimeout:
        status = registers["interrupt_status"]
        remedy = (
            "the overlay refused the job: check the interrupt's connection in the bitstream, and "
            "/dev/uio on the board"
            if board.read_register(status.offset)
            else "the overlay did not see the job: load the overlay again"
        )
        raise _Wrong(f"No interrupt came in {JOB_S:g} s; {remedy}") from None
    arrives = board.interrupt_arrives()
    _write(driver, registers, "interrupt_status", **causes)
    require_low("after its cause was cleared")
    if arrives is False:
        raise _Wrong(
            "The overlay raised its interrupt and the processor did not get it, so that each wait "
            "takes longer; check /dev/uio on the board, and whether other software took its line"
        )
    seen = "" if arrives else "; polled: no UIO device to be had here, or an event loop runs"
    return f"raised by a refused job, low before and after{seen}"


def _write(driver: OverlayDriver, registers: RegisterBlock, name: str, **fields: int) -> None:
    driver.board.write_register(registers[name].offset, registers[name].pack(fields))


def _vision_memory(engine: VisionEngine) -> str:
    program = Program.load(DATA / "copy.eyas")
    patterns = _patterns(engine.config.queue_depth)
    shape = program.manifest.input.shape
    engine.load(program)
    try:
        copied = engine.infer(patterns.view(np.int8).reshape(-1, *shape), timeout_s=JOB_S).logits
    finally:
        engine.unload(program)
    return _compared(copied.view(np.uint8).reshape(len(patterns), -1), patterns)


def _vision_network(engine: VisionEngine) -> str:
    known = np.load(DATA / "answers.npz")
    program = Program.load(DATA / "network.eyas")
    engine.load(program)
    try:
        result = engine.infer(known["pictures"], timeout_s=JOB_S)
    finally:
        engine.unload(program)
    wrong = int((result.logits != known["logits"]).sum())
    _require_equal(wrong, result.logits.size, "logits of the known network")
    return (
        f"{len(result.logits)} pictures, {result.logits.size} logits as expected, "
        f"{int(result.core_cycles[0]):,} cycles a picture"
    )


def _thc_memory(unit: ThcAggregator) -> str:
    """One worker's indices and a table that gives each index itself: the sums are the indices."""
    patterns = _patterns(4)
    count = 2 * PATTERN_BYTES
    unit.open(LookupTable(range(16)), 1)
    try:
        found = [
            unit.aggregate(pattern[np.newaxis], count, timeout_s=JOB_S) for pattern in patterns
        ]
    finally:
        with suppress(ThcError):  # a job that did not end was closed by a reset
            unit.close_job()
    return _compared(np.stack(found), unpack(patterns, 4, count))


def _thc_aggregation(unit: ThcAggregator) -> str:
    known = np.load(DATA / "answers.npz")
    expected = known["sums"]
    unit.open(LookupTable(known["table"]), len(known["contributions"]))
    try:
        sums = unit.aggregate(known["contributions"], len(expected), timeout_s=JOB_S)
    finally:
        with suppress(ThcError):  # a job that did not end was closed by a reset
            unit.close_job()
    _require_equal(int((sums != expected).sum()), len(expected), "sums of the known aggregation")
    return (
        f"{len(expected):,} sums of {len(known['contributions'])} workers as expected, "
        f"{unit.cycles:,} cycles"
    )


def _switch_memory(switch: Switch) -> str:
    """A worker's copies of results go on to the server as they came."""
    patterns = _patterns(4)
    size = min(switch.config.slot_bytes, PATTERN_BYTES)
    epoch = switch.configure(0, 1, table=LookupTable(range(16)))
    try:
        frames = [
            _packet(PacketKind.ANSWER, epoch, 0, number, size, piece.tobytes())
            for number, piece in enumerate(patterns.reshape(-1, size))
        ]
        packets = switch.exchange(frames, timeout_s=JOB_S)
    finally:
        switch.close_job(0)
    found = b"".join(packet[HEADER_BYTES : HEADER_BYTES + size] for packet in packets)
    copied = np.zeros_like(patterns)
    copied.reshape(-1)[: len(found)] = np.frombuffer(found[: patterns.size], np.uint8)
    return _compared(copied, patterns)


def _switch_aggregation(switch: Switch) -> str:
    """A packet of each worker, and the one RESULT."""
    known = np.load(DATA / "answers.npz")
    expected, contributions = known["sums"], known["contributions"]
    if len(expected) > switch.config.slot_bytes:
        return f"left out: slots of {switch.config.slot_bytes} bytes do not hold the known sums"
    epoch = switch.configure(0, len(contributions), table=LookupTable(known["table"]))
    try:
        frames = [
            _packet(PacketKind.DATA, epoch, worker, 0, len(expected), payload.tobytes())
            for worker, payload in enumerate(contributions)
        ]
        packets = switch.exchange(frames, timeout_s=JOB_S)
    finally:
        switch.close_job(0)
    if len(packets) != 1:
        raise _Wrong(
            f"{len(packets)} packets left the switch where one result was expected; load the "
            f"overlay again"
        )
    try:
        result = Packet.from_bytes(packets[0])
    except PacketError as error:
        raise _Wrong(f"The result of the known aggregation is damaged ({error}); {AGAIN}") from None
    found = result.sums() if result.coordinates == len(expected) else np.zeros(len(expected))
    _require_equal(int((found != expected).sum()), len(expected), "sums of the known aggregation")
    return f"{len(expected):,} sums of {len(contributions)} workers as expected, in one packet"


def _packet(
    kind: PacketKind, epoch: int, worker: int, seq: int, coordinates: int, payload: bytes
) -> bytes:
    return Packet(
        kind,
        0,
        epoch,
        seq=seq,
        worker=worker,
        lanes=Lanes.UINT8,
        bitmap=1 << worker,
        count=1,
        coordinates=coordinates,
        payload=payload,
    ).to_bytes()


def _patterns(count: int) -> npt.NDArray[np.uint8]:
    """Alternating bits, each word's own number, and noise: [count, PATTERN_BYTES]."""
    noise = np.random.default_rng(count)
    patterns = noise.integers(0, 256, (count, PATTERN_BYTES), np.uint8)
    patterns[0] = np.resize(np.array([0x55, 0xAA, 0x00, 0xFF], np.uint8), PATTERN_BYTES)
    patterns[1] = np.arange(PATTERN_BYTES // 4, dtype="<u4").view(np.uint8)
    patterns[2] = ~patterns[1]
    return patterns


def _compared(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> str:
    if found.shape == expected.shape and (found == expected).all():
        return f"{len(expected)} patterns of {PATTERN_BYTES:,} bytes came through the overlay"
    number, place = np.argwhere(found != expected)[0]
    raise _Wrong(
        f"{int((found != expected).sum()):,} of {expected.size:,} values are not what was written, "
        f"the first in pattern {number} at {place}: {expected[number, place]:#04x} became "
        f"{found[number, place]:#04x}; {AGAIN}"
    )


def _require_equal(wrong: int, total: int, what: str) -> None:
    if wrong:
        raise _Wrong(f"{wrong} of {total} {what} are wrong; {AGAIN}")


STEPS: dict[str, dict[str, Callable[[Any], str]]] = {
    "vision": {
        "memory": _vision_memory,
        "interrupt": partial(_doorbell, VISION_REGISTERS),
        "network": _vision_network,
    },
    "thc": {
        "memory": _thc_memory,
        "interrupt": partial(_doorbell, THC_REGISTERS),
        "aggregation": _thc_aggregation,
    },
    "switch": {
        "memory": _switch_memory,
        "interrupt": _switch_interrupt,
        "aggregation": _switch_aggregation,
    },
}
"""What is tried behind the identity, by overlay: each gives what it saw, or raises EyasError."""

"""The vision engine's driver: programs in, pictures in, answers out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.board import Board, Buffer
from drivers.errors import BoardTimeout, InterruptLost, JobError, ProgramError
from drivers.overlay import OverlayDriver, exclusive
from drivers.vision.pictures import PictureReader
from drivers.vision.ring import (
    RECORD_BYTES,
    JobRecord,
    JobRing,
    map_positions,
    read_record,
    unpack_map,
)
from drivers.vision.softmax import softmax
from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.manifest import Manifest
from eyas.interfaces.vision.program_file import Program
from eyas.interfaces.vision.records import (
    DESCRIPTOR,
    DESCRIPTOR_MAGIC,
    DESCRIPTOR_VERSION,
    HEADER,
    RESULT_MAGIC,
    ErrorCode,
    JobKind,
)
from eyas.interfaces.vision.registers import IDENTITY, VERSION_MAJOR, VISION_REGISTERS

__all__ = ["InferenceResult", "LayerCounters", "VisionEngine"]

TAG_LIMIT = 1 << 16
DOORBELL = VISION_REGISTERS["doorbell"].offset
BUSY_CYCLES = VISION_REGISTERS["busy_cycles"].offset
INTERRUPT_STATUS = VISION_REGISTERS["interrupt_status"].offset
EVERY_CAUSE = VISION_REGISTERS["interrupt_status"].pack(done=1, error=1)


@dataclass(frozen=True)
class InferenceResult:
    """What :meth:`VisionEngine.infer` gives.

    Parameters
    ----------
    outputs : int8 array [N, H, W, C]
        The network's answer to each picture: ``logits`` or, where the network ends in a softmax,
        the probabilities (scale 1/256, zero point −128), bit for bit what the network's own file
        gives.
    logits : int8 array [N, H, W, C]
        The output map as the engine wrote it; real value = ``scale · (q − zero_point)`` with the
        output's scale and zero point of the program's manifest.
    core_cycles : int array [N]
        From the first instruction's start to the last result written.
    job_cycles : int array [N]
        From the descriptor's fetch to the output's last write, the wait for the picture before it
        included.
    busy_cycles : int
        From the first doorbell to the last job's end, all pictures together. With a single
        picture this is its latency.
    host_us : float array [N]
        Microseconds of Python a picture, the waiting for the hardware left out.
    """

    outputs: npt.NDArray[np.int8]
    logits: npt.NDArray[np.int8]
    core_cycles: npt.NDArray[np.int64]
    job_cycles: npt.NDArray[np.int64]
    busy_cycles: int
    host_us: npt.NDArray[np.float64]

    @property
    def classes(self) -> npt.NDArray[np.int64]:
        """The greatest logit's number for each picture, the first of equals: [N, H, W]."""
        return self.logits.argmax(-1).astype(np.int64)


@dataclass(frozen=True)
class LayerCounters:
    """Where one layer's cycles went in the last run.

    ``cycles`` from its start to its last result; of them ``array_cycles`` the array took a pass,
    ``requantize_cycles`` it waited for requantisation, ``drain_cycles`` passed after its last pass.
    ``table_cycles`` passed before its start, in which an addition waited for its tables.
    """

    cycles: int
    array_cycles: int
    requantize_cycles: int
    drain_cycles: int
    table_cycles: int


@dataclass(frozen=True)
class _Resident:
    """A program in a slot, with the first and last-plus-one of what it takes of each memory.

    What every call of ``infer`` needs of the manifest stands here, worked out once.
    """

    program: Program
    slot: int
    instructions: range
    weights: range
    parameters: range
    source_words: int
    output_words: int
    reader: PictureReader
    positions: npt.NDArray[np.intp]
    cycles: int


class VisionEngine(OverlayDriver):
    """Classifies pictures on the vision overlay of ``board``.

    Several programs can be resident at once; switching between them costs nothing.  A context
    manager; leaving it frees the driver's memory, not the board.  Threads share one engine: their
    calls come one after the other (:class:`drivers.overlay.OverlayDriver`).

    Parameters
    ----------
    board : Board
        The board that carries the overlay. A driver made on it before is closed.

    Attributes
    ----------
    config : VisionConfig
        The array's shape and depths, read from the overlay.

    Raises
    ------
    WrongOverlay
        When the board carries something else, or a version this driver does not know.
    """

    keeps_overlay = True

    def __init__(self, board: Board) -> None:
        with board.lock:
            super().__init__(
                board,
                VISION_REGISTERS,
                name="vision",
                identity=IDENTITY,
                version_major=VERSION_MAJOR,
            )
            self.config = VisionConfig(
                **self._read("shape"),
                **self._read("activation_capacity"),
                **self._read("weight_capacity"),
                **self._read("program_capacity"),
                **self._read("queue_capacity"),
            )
            self._resident: dict[int, _Resident] = {}
            self._current: _Resident | None = None
            self._ring: JobRing | None = None
            self._ring_of: _Resident | None = None
            self._tag = 0
            self._recover()
            self._write("interrupt_enable", done=1, error=1)

    # Programs -----------------------------------------------------------------------------------

    @exclusive
    def load(self, program: Program) -> None:
        """Make ``program`` resident, and the one that :meth:`infer` runs.

        A program that is resident already is only chosen.

        Raises
        ------
        ProgramError
            When it was compiled for another array or there is no room for it.
        JobError
            When the overlay refuses it.
        """
        self._require_open("load a program")
        for resident in self._resident.values():
            if resident.program is program:
                self._current = resident
                return
        resident = self._place(program)
        with self.board.allocate(len(program.image)) as image, self.board.allocate(128) as job:
            image.array[:] = np.frombuffer(program.image, np.uint8)
            image.flush()
            descriptor = self._descriptor(
                kind=JobKind.LOAD,
                slot=resident.slot,
                source=image.address,
                source_words=len(program.image) // 8,
                result=job.address + RECORD_BYTES,
                instruction_base=resident.instructions.start,
                weight_base=resident.weights.start,
                parameter_base=resident.parameters.start,
            )
            job.array[:RECORD_BYTES] = np.frombuffer(descriptor, np.uint8)
            job.flush()
            what = f"program {program.manifest.name!r} to load"
            cycles = 64 * (len(program.image) // 8)
            self._ring_doorbell(job.address)
            self._finished(job, RECORD_BYTES, what, self._timeout(cycles, None))
        self._resident[resident.slot] = resident
        self._current = resident

    @exclusive
    def unload(self, program: Program | None = None) -> None:
        """Give the memory of ``program`` free, or of all programs."""
        self._resident = {
            slot: item
            for slot, item in self._resident.items()
            if program is not None and item.program is not program
        }
        if self._current and self._current.slot not in self._resident:
            self._current = None

    @property
    def program(self) -> Program | None:
        """The program that :meth:`infer` runs."""
        return self._current.program if self._current else None

    # Pictures -----------------------------------------------------------------------------------

    @exclusive
    def infer(
        self, pictures: npt.NDArray[Any], *, timeout_s: float | None = None
    ) -> InferenceResult:
        """Run the loaded program on ``pictures``.

        Pictures are queued, so that the next one comes in while this one is computed.

        Parameters
        ----------
        pictures : array [N, H, W, C], or [N, H, W] where C is 1, or as the network's file has them
            uint8: raw pictures, made real with the program's preprocessing; floating: real
            numbers; int8: quantised already.
        timeout_s : float or None
            How long to wait for each picture, in seconds of the board's clock; by default fifty
            times the compiler's estimate, and 50 ms.

        Raises
        ------
        ProgramError
            When no program is loaded.
        ValueError, TypeError
            When the pictures' shape or type is wrong.
        JobError, BoardTimeout
            When the overlay ends a job with an error, or does not end it. The engine is ready for
            the next call.
        """
        resident = self._require_program("infer")
        checked = resident.reader.check(pictures)
        ring = self._prepare_ring(resident)
        limit = self._timeout(resident.cycles, timeout_s)
        count = len(checked)
        raw = np.empty((count, resident.output_words * 8), np.uint8)
        core = np.empty(count, np.int64)
        job = np.empty(count, np.int64)
        host = np.empty(count, np.float64)
        busy_before = self.board.read_register(BUSY_CYCLES)
        waiting: deque[tuple[int, int]] = deque()
        sent = 0
        began = time.perf_counter()
        waited = 0.0
        try:
            while sent < count or waiting:
                while sent < count and len(waiting) < ring.entries:
                    entry = sent % ring.entries
                    resident.reader.quantize_into(checked[sent], ring.picture(entry))
                    waiting.append((sent, entry))
                    sent += 1
                    self._ring_doorbell(ring.submit(entry, self._next_tag()))
                number, entry = waiting[0]
                record = ring.result(entry)
                if record is None:
                    start = time.perf_counter()
                    record = self._await(f"picture {number}", limit, partial(ring.result, entry))
                    waited += time.perf_counter() - start
                if record is None:
                    # An error without a record; or the interrupt of a job whose record was there
                    # before it was looked for.
                    self._raise_if_error()
                    continue
                waiting.popleft()
                self._raise_if_failed(record)
                raw[number] = ring.output(entry)
                core[number], job[number] = record.core_cycles, record.job_cycles
                now = time.perf_counter()
                host[number] = (now - began - waited) * 1e6
                began, waited = now, 0.0
        except BaseException:
            self._recover()
            raise
        logits = raw[:, resident.positions].view(np.int8)
        return InferenceResult(
            outputs=_answers(logits, resident.program.manifest),
            logits=logits,
            core_cycles=core,
            job_cycles=job,
            busy_cycles=(self.board.read_register(BUSY_CYCLES) - busy_before) & 0xFFFF_FFFF,
            host_us=host,
        )

    @exclusive
    def probe(self, picture: npt.NDArray[Any], layer: int) -> npt.NDArray[np.int8]:
        """The output map of layer number ``layer`` for one picture: int8 [H, W, C].

        The program stops behind that layer; for finding where a result goes wrong.
        """
        resident = self._require_program("probe")
        checked = resident.reader.check(np.asarray(picture)[np.newaxis])
        place = resident.program.manifest.layers[layer].map
        words = place.blocks * place.count * self.config.beats_per_word
        with (
            self.board.allocate(resident.source_words * 8) as source,
            self.board.allocate(words * 8) as output,
            self.board.allocate(2 * RECORD_BYTES) as job,
        ):
            resident.reader.quantize_into(checked[0], source.array)
            source.flush()
            descriptor = self._descriptor(
                kind=JobKind.INFER,
                slot=resident.slot,
                probe=1,
                probe_layer=layer,
                probe_blocks=place.blocks,
                probe_base=place.base,
                probe_plane=place.plane,
                probe_count=place.count,
                source=source.address,
                source_words=resident.source_words,
                output=output.address,
                result=job.address + RECORD_BYTES,
            )
            job.array[:RECORD_BYTES] = np.frombuffer(descriptor, np.uint8)
            job.flush()
            self._ring_doorbell(job.address)
            limit = self._timeout(resident.cycles, None)
            self._finished(job, RECORD_BYTES, f"layer {layer} to end", limit)
            output.invalidate()
            return unpack_map(output.array[np.newaxis], place, self.config)[0]

    @exclusive
    def layer_counters(self) -> list[LayerCounters]:
        """Counters of every layer in the last run, in the program's order."""
        counters = []
        resident = self._require_program("read the counters")
        for number in range(len(resident.program.manifest.layers)):
            self._write("layer_select", layer=number)
            counters.append(
                LayerCounters(
                    cycles=self._read("layer_cycles")["value"],
                    array_cycles=self._read("layer_array_cycles")["value"],
                    requantize_cycles=self._read("layer_requantize_cycles")["value"],
                    drain_cycles=self._read("layer_drain_cycles")["value"],
                    table_cycles=self._read("layer_table_cycles")["value"],
                )
            )
        return counters

    @exclusive
    def counters(self) -> dict[str, int]:
        """Every counter of the overlay, by its register's name; each wraps at 2^32."""
        return self._counters(range(0x3C, 0x80))

    def _close(self) -> None:
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        self._resident.clear()
        self._current = None

    # Inside -------------------------------------------------------------------------------------

    def _ring_doorbell(self, address: int) -> None:
        self.board.write_register(DOORBELL, address)

    def _next_tag(self) -> int:
        self._tag = (self._tag + 1) % TAG_LIMIT
        return self._tag

    def _descriptor(self, **fields: int) -> bytes:
        return DESCRIPTOR.pack_bytes(
            {
                "magic": DESCRIPTOR_MAGIC,
                "version": DESCRIPTOR_VERSION,
                "interrupt": 1,
                "tag": self._next_tag(),
                **fields,
            }
        )

    def _require_program(self, action: str) -> _Resident:
        self._require_open(action)
        if self._current is None:
            raise ProgramError("No program is loaded; call load(program) first")
        return self._current

    def _place(self, program: Program) -> _Resident:
        """Find a slot and room in each memory."""
        mine = self.config.as_dict()
        for name in ("output_channels", "input_channels", "pixels", "requantize_channels"):
            wanted = getattr(program.manifest.config, name)
            if wanted != mine[name]:
                raise ProgramError(
                    f"Program {program.manifest.name!r} was compiled for {name} = {wanted}, "
                    f"the overlay has {mine[name]}; compile the network for this overlay"
                )
        header = HEADER.unpack_bytes(program.image)
        used = list(self._resident.values())
        slots = [slot for slot in range(self.config.program_slots) if slot not in self._resident]
        if not slots:
            raise ProgramError(
                f"All {self.config.program_slots} program slots are taken; unload a program"
            )
        places = {}
        for what, size, limit, taken in (
            ("instruction_words", "instruction_words", "instruction_words", "instructions"),
            ("weight_rows", "weight_rows", "weight_rows", "weights"),
            ("parameter_rows", "parameter_rows", "parameter_rows", "parameters"),
        ):
            intervals = [getattr(item, taken) for item in used]
            base = _first_fit(intervals, header[size], mine[limit])
            if base is None:
                raise ProgramError(
                    f"Program {program.manifest.name!r} needs {header[size]} {what}, of the "
                    f"overlay's {mine[limit]} too few are free; unload a program"
                )
            places[taken] = range(base, base + header[size])
        manifest = program.manifest
        out = manifest.output_map
        return _Resident(
            program=program,
            slot=slots[0],
            source_words=header["source_words"],
            output_words=out.blocks * out.count * self.config.beats_per_word,
            reader=PictureReader(manifest.input, manifest.preprocess),
            positions=map_positions(out, self.config),
            cycles=sum(layer.cycles for layer in manifest.layers),
            **places,
        )

    def _prepare_ring(self, resident: _Resident) -> JobRing:
        """Buffers and descriptors for ``resident``, kept while the same program runs."""
        if self._ring is not None:
            if self._ring_of is resident:
                return self._ring
            self._ring.close()
            self._ring = None
        ring = JobRing(
            self.board,
            self.config.queue_depth,
            resident.source_words * 8,
            resident.output_words * 8,
        )
        for entry in range(ring.entries):
            descriptor = self._descriptor(
                kind=JobKind.INFER,
                slot=resident.slot,
                source_words=resident.source_words,
                **ring.addresses(entry),
            )
            ring.describe(entry, descriptor)
        self._ring, self._ring_of = ring, resident
        return ring

    def _timeout(self, cycles: int, timeout_s: float | None) -> float:
        return timeout_s or (50 * cycles + 5_000_000) / self.board.clock_hz

    def _await(
        self, what: str, timeout_s: float, record: Callable[[], JobRecord | None]
    ) -> JobRecord | None:
        """Wait for the interrupt and take its cause away; only then look at the record, so that
        none is missed."""
        try:
            self.board.wait_interrupt(timeout_s, what)
        except BoardTimeout:
            if record() is not None:
                raise InterruptLost(what, timeout_s) from None
            raise
        self.board.write_register(INTERRUPT_STATUS, EVERY_CAUSE)
        return record()

    def _finished(self, job: Buffer, offset: int, what: str, timeout_s: float) -> None:
        """Wait until the single job whose record stands at ``offset`` has ended well."""

        def written() -> JobRecord | None:
            job.invalidate()
            record = read_record(job.array, offset)
            return record if record.magic == RESULT_MAGIC else None

        try:
            record = self._await(what, timeout_s, written)
            if record is None:
                self._raise_if_error()
                raise BoardTimeout(f"the record of {what}", timeout_s)
            self._raise_if_failed(record)
        except BaseException:
            self._recover()
            raise

    @staticmethod
    def _raise_if_failed(record: JobRecord) -> None:
        if record.code != ErrorCode.NONE:
            raise JobError(record.code, record.place, record.layer, record.tag)

    def _raise_if_error(self) -> None:
        error = self._read("error")
        if error["code"] != ErrorCode.NONE:
            tag = self._read("error_tag")["tag"]
            raise JobError(error["code"], error["place"], error["layer"], tag)

    def _recover(self) -> None:
        """Give up what runs, forget errors: the next call starts from idle."""
        if self.board.closed:
            return
        if not self._read("status")["idle"]:
            self._write("control", abort=1)
            for _ in range(100_000):
                status = self._read("status")
                if status["idle"] and not status["aborting"]:
                    break
            else:
                raise BoardTimeout("the overlay to give up its jobs", 0)
        self._write("control", clear_error=1)
        self._write("interrupt_status", done=1, error=1)


def _answers(logits: npt.NDArray[np.int8], manifest: Manifest) -> npt.NDArray[np.int8]:
    """The network's answers: probabilities where it ends in a softmax."""
    if manifest.softmax is None:
        return logits
    return softmax(logits, manifest.output.scale, manifest.softmax.beta)


def _first_fit(taken: list[range], size: int, capacity: int) -> int | None:
    base = 0
    for interval in sorted(taken, key=lambda item: item.start):
        if base + size <= interval.start:
            break
        base = max(base, interval.stop)
    return base if base + size <= capacity else None

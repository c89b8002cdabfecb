"""The vision engine's driver: programs in, pictures in, answers out."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.board import Board, Buffer
from drivers.errors import BoardTimeout, JobError, ProgramError
from drivers.overlay import OverlayDriver
from drivers.pictures import PictureReader
from drivers.softmax import softmax
from eyas.interfaces.configs import VisionConfig
from eyas.interfaces.program_file import Program
from eyas.interfaces.vision_program import (
    DESCRIPTOR,
    DESCRIPTOR_MAGIC,
    DESCRIPTOR_VERSION,
    HEADER,
    RESULT,
    RESULT_MAGIC,
    ErrorCode,
    JobKind,
)
from eyas.interfaces.vision_registers import IDENTITY, VERSION_MAJOR, VISION_REGISTERS

__all__ = ["InferenceResult", "LayerCounters", "VisionEngine"]

RECORD_BYTES = 64
TAG_OFFSET = DESCRIPTOR.offsets["tag"] // 8
TAG_LIMIT = 1 << 16


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
    """A program in a slot, with the first and last-plus-one of what it takes of each memory."""

    program: Program
    slot: int
    instructions: range
    weights: range
    parameters: range
    source_words: int
    output_words: int


class VisionEngine(OverlayDriver):
    """Classifies pictures on the vision overlay of ``board``.

    Several programs can be resident at once; switching between them costs nothing.  A context
    manager; leaving it frees the driver's memory, not the board.

    Parameters
    ----------
    board : Board
        The board that carries the overlay. The driver is its only user.

    Attributes
    ----------
    config : VisionConfig
        The array's shape and depths, read from the overlay.

    Raises
    ------
    WrongOverlay
        When the board carries something else, or a version this driver does not know.
    """

    def __init__(self, board: Board) -> None:
        super().__init__(
            board, VISION_REGISTERS, name="vision", identity=IDENTITY, version_major=VERSION_MAJOR
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
        self._ring: _Ring | None = None
        self._tag = 0
        self._recover()
        self._write("interrupt_enable", done=1, error=1)

    # Programs -----------------------------------------------------------------------------------

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
        for resident in self._resident.values():
            if resident.program is program:
                self._choose(resident)
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
            what = f"program {program.manifest['name']!r} to load"
            cycles = 64 * (len(program.image) // 8)
            self._ring_doorbell(job.address)
            self._finished(job, RECORD_BYTES, what, self._timeout(cycles, None))
        self._resident[resident.slot] = resident
        self._choose(resident)

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

    def infer(
        self, pictures: npt.NDArray[Any], *, timeout_s: float | None = None
    ) -> InferenceResult:
        """Run the loaded program on ``pictures``.

        Pictures are queued, so that the next one comes in while this one is computed.

        Parameters
        ----------
        pictures : array [N, H, W, C], or [N, H, W] where C is 1
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
        resident = self._require_program()
        manifest = resident.program.manifest
        reader = PictureReader(manifest["input"], manifest["preprocess"])
        checked = reader.check(pictures)
        ring = self._prepare_ring(resident)
        limit = self._timeout(sum(layer["cycles"] for layer in manifest["layers"]), timeout_s)
        count = len(checked)
        raw = np.empty((count, resident.output_words * 8), np.uint8)
        core = np.empty(count, np.int64)
        job = np.empty(count, np.int64)
        host = np.empty(count, np.float64)
        busy_before = self._read("busy_cycles")["value"]
        waiting: deque[tuple[int, int]] = deque()
        sent = 0
        began = time.perf_counter()
        waited = 0.0
        try:
            while sent < count or waiting:
                while sent < count and len(waiting) < ring.entries:
                    entry = sent % ring.entries
                    reader.quantize_into(checked[sent], ring.picture(entry))
                    waiting.append((sent, entry))
                    sent += 1
                    self._ring_doorbell(ring.submit(entry, self._next_tag()))
                ended = 0
                while waiting and (result := ring.result(waiting[0][1])) is not None:
                    number, entry = waiting.popleft()
                    self._raise_if_failed(result)
                    raw[number] = ring.output(entry)
                    core[number], job[number] = result["core_cycles"], result["job_cycles"]
                    ended += 1
                if ended:
                    now = time.perf_counter()
                    host[number + 1 - ended : number + 1] = (now - began - waited) * 1e6 / ended
                    began, waited = now, 0.0
                    continue
                start = time.perf_counter()
                self._await(f"picture {waiting[0][0]}", limit)
                waited += time.perf_counter() - start
                if ring.result(waiting[0][1]) is None:
                    # An error without a record; or the interrupt of a job whose record was there
                    # before it was looked for.
                    self._raise_if_error()
        except BaseException:
            self._recover()
            raise
        logits = unpack_map(raw, manifest["output_map"], self.config)
        return InferenceResult(
            outputs=_answers(logits, manifest),
            logits=logits,
            core_cycles=core,
            job_cycles=job,
            busy_cycles=(self._read("busy_cycles")["value"] - busy_before) & 0xFFFF_FFFF,
            host_us=host,
        )

    def probe(self, picture: npt.NDArray[Any], layer: int) -> npt.NDArray[np.int8]:
        """The output map of layer number ``layer`` for one picture: int8 [H, W, C].

        The program stops behind that layer; for finding where a result goes wrong.
        """
        resident = self._require_program()
        manifest = resident.program.manifest
        reader = PictureReader(manifest["input"], manifest["preprocess"])
        checked = reader.check(np.asarray(picture)[np.newaxis])
        place = manifest["layers"][layer]["map"]
        words = place["blocks"] * place["count"] * self.config.beats_per_word
        with (
            self.board.allocate(resident.source_words * 8) as source,
            self.board.allocate(words * 8) as output,
            self.board.allocate(2 * RECORD_BYTES) as job,
        ):
            reader.quantize_into(checked[0], source.array)
            source.flush()
            descriptor = self._descriptor(
                kind=JobKind.INFER,
                slot=resident.slot,
                probe=1,
                probe_layer=layer,
                probe_blocks=place["blocks"],
                probe_base=place["base"],
                probe_plane=place["plane"],
                probe_count=place["count"],
                source=source.address,
                source_words=resident.source_words,
                output=output.address,
                result=job.address + RECORD_BYTES,
            )
            job.array[:RECORD_BYTES] = np.frombuffer(descriptor, np.uint8)
            job.flush()
            limit = self._timeout(sum(item["cycles"] for item in manifest["layers"]), None)
            self._ring_doorbell(job.address)
            self._finished(job, RECORD_BYTES, f"layer {layer} to end", limit)
            output.invalidate()
            return unpack_map(output.array[np.newaxis], place, self.config)[0]

    def layer_counters(self) -> list[LayerCounters]:
        """Counters of every layer in the last run, in the program's order."""
        counters = []
        for number in range(len(self._require_program().program.manifest["layers"])):
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

    def counters(self) -> dict[str, int]:
        """Every counter of the overlay, by its register's name; each wraps at 2^32."""
        return self._counters(range(0x3C, 0x80))

    def close(self) -> None:
        """Free the driver's memory; the board stays open. Harmless twice."""
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        self._resident.clear()
        self._current = None

    # Inside -------------------------------------------------------------------------------------

    def _ring_doorbell(self, address: int) -> None:
        self.board.write_register(VISION_REGISTERS["doorbell"].offset, address)

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

    def _require_program(self) -> _Resident:
        if self._current is None:
            raise ProgramError("No program is loaded; call load(program) first")
        return self._current

    def _choose(self, resident: _Resident) -> None:
        self._current = resident

    def _place(self, program: Program) -> _Resident:
        """Find a slot and room in each memory."""
        mine = self.config.as_dict()
        for name in ("output_channels", "input_channels", "pixels", "requantize_channels"):
            wanted = program.manifest["config"][name]
            if wanted != mine[name]:
                raise ProgramError(
                    f"Program {program.manifest['name']!r} was compiled for {name} = {wanted}, "
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
                    f"Program {program.manifest['name']!r} needs {header[size]} {what}, of the "
                    f"overlay's {mine[limit]} too few are free; unload a program"
                )
            places[taken] = range(base, base + header[size])
        out = program.manifest["output_map"]
        return _Resident(
            program=program,
            slot=slots[0],
            source_words=header["source_words"],
            output_words=out["blocks"] * out["count"] * self.config.beats_per_word,
            **places,
        )

    def _prepare_ring(self, resident: _Resident) -> _Ring:
        """Buffers and descriptors for ``resident``, kept while the same program runs."""
        if self._ring is not None and self._ring.resident is resident:
            return self._ring
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        self._ring = _Ring(self, resident)
        return self._ring

    def _timeout(self, cycles: int, timeout_s: float | None) -> float:
        return timeout_s or (50 * cycles + 5_000_000) / self.board.clock_hz

    def _await(self, what: str, timeout_s: float) -> None:
        """Wait for the interrupt and take its cause away; then look at the records again, so that
        none is missed."""
        self.board.wait_interrupt(timeout_s, what)
        self._write("interrupt_status", done=1, error=1)

    def _finished(self, job: Buffer, offset: int, what: str, timeout_s: float) -> None:
        """Wait until the single job whose record stands at ``offset`` has ended well."""
        try:
            self._await(what, timeout_s)
            job.invalidate()
            result = RESULT.unpack_bytes(job.array[offset:].tobytes())
            if result["magic"] != RESULT_MAGIC:
                self._raise_if_error()
                raise BoardTimeout(f"the record of {what}", 0)
            self._raise_if_failed(result)
        except BaseException:
            self._recover()
            raise

    @staticmethod
    def _raise_if_failed(result: dict[str, int]) -> None:
        if result["code"] != ErrorCode.NONE:
            raise JobError(result["code"], result["place"], result["layer"], result["tag"])

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


class _Ring:
    """Pictures, outputs, descriptors and records for as many jobs as can be under way."""

    def __init__(self, engine: VisionEngine, resident: _Resident) -> None:
        self.resident = resident
        self.entries = engine.config.queue_depth
        board = engine.board
        self._buffers: list[Buffer] = []
        try:
            self._jobs = self._allocate(board, (self.entries, RECORD_BYTES))
            self._records = self._allocate(board, (self.entries, RECORD_BYTES))
            # A buffer for each picture and output: a driver cleans the caches of no other.
            sizes = (resident.source_words * 8, resident.output_words * 8)
            self._pictures, self._outputs = (
                [self._allocate(board, (size,)) for _ in range(self.entries)] for size in sizes
            )
        except BaseException:
            self.close()
            raise
        for entry in range(self.entries):
            descriptor = engine._descriptor(
                kind=JobKind.INFER,
                slot=resident.slot,
                source=self._pictures[entry].address,
                source_words=resident.source_words,
                output=self._outputs[entry].address,
                result=self._records.address + entry * RECORD_BYTES,
            )
            self._jobs.array[entry] = np.frombuffer(descriptor, np.uint8)
        self._tags = self._jobs.array[:, TAG_OFFSET : TAG_OFFSET + 2].view("<u2")[:, 0]

    def _allocate(self, board: Board, shape: tuple[int, ...]) -> Buffer:
        self._buffers.append(board.allocate(shape))
        return self._buffers[-1]

    def picture(self, entry: int) -> npt.NDArray[np.uint8]:
        """Where the picture of ``entry`` goes."""
        return self._pictures[entry].array

    def submit(self, entry: int, tag: int) -> int:
        """Make the job of ``entry`` ready; returns its descriptor's address."""
        self._tags[entry] = tag
        self._pictures[entry].flush()
        self._jobs.flush()
        return self._jobs.address + entry * RECORD_BYTES

    def result(self, entry: int) -> dict[str, int] | None:
        """The job's record; None until the overlay has written it.

        Software never writes records: an old one is told by its tag.
        """
        self._records.invalidate()
        result = RESULT.unpack_bytes(self._records.array[entry].tobytes())
        ended = result["magic"] == RESULT_MAGIC and result["tag"] == self._tags[entry]
        return result if ended else None

    def output(self, entry: int) -> npt.NDArray[np.uint8]:
        """The job's output as the overlay wrote it."""
        self._outputs[entry].invalidate()
        return self._outputs[entry].array

    def close(self) -> None:
        for buffer in self._buffers:
            buffer.close()


def unpack_map(
    raw: npt.NDArray[np.uint8], place: dict[str, Any], config: VisionConfig
) -> npt.NDArray[np.int8]:
    """Maps as the overlay writes them to DRAM, [N, bytes], as [N, H, W, C]."""
    height, width, channels = place["shape"]
    blocks, pitch = place["blocks"], place["pitch"]
    words = raw.view(np.int8).reshape(len(raw), blocks, place["count"], 8 * config.beats_per_word)
    padded = np.zeros((len(raw), blocks, height * pitch, config.input_channels), np.int8)
    padded[:, :, : place["count"]] = words[..., : config.input_channels]
    pixels = padded.reshape(len(raw), blocks, height, pitch, config.input_channels)[:, :, :, :width]
    return np.ascontiguousarray(
        pixels.transpose(0, 2, 3, 1, 4).reshape(len(raw), height, width, -1)[..., :channels]
    )


def _answers(logits: npt.NDArray[np.int8], manifest: dict[str, Any]) -> npt.NDArray[np.int8]:
    """The network's answers: probabilities where it ends in a softmax."""
    if manifest["softmax"] is None:
        return logits
    return softmax(logits, manifest["output"]["scale"], manifest["softmax"]["beta"])


def _first_fit(taken: list[range], size: int, capacity: int) -> int | None:
    base = 0
    for interval in sorted(taken, key=lambda item: item.start):
        if base + size <= interval.start:
            break
        base = max(base, interval.stop)
    return base if base + size <= capacity else None

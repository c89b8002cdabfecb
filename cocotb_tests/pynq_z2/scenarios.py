"""Work for an overlay as software gives it: memory, register writes, waits. The same for the bare
overlay on the simulated board and for the one inside the PS7."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cocotb_tests.vision_overlay.networks import pooled
from eyas.compiler import compile_graph
from eyas.interfaces.fields import Record, RegisterBlock
from eyas.interfaces.overlays import OVERLAYS
from eyas.interfaces.switch import registers as switch
from eyas.interfaces.switch.packet import Lanes, Packet, PacketKind
from eyas.interfaces.switch.registers import MAX_FRAME_BYTES
from eyas.interfaces.switch.states import Policy
from eyas.interfaces.thc import registers as thc
from eyas.interfaces.thc.formats import LookupTable, pack
from eyas.interfaces.vision import records as vision
from eyas.interfaces.vision.config import SMALL_VISION
from models.vision.graph import Graph

__all__ = ["DRAM", "SCENARIOS", "SIZE", "Scenario"]

DRAM = 0x1000_0000
SIZE = 1 << 18
GUARD = 0xEE
SEED = 20250117


@dataclass
class Scenario:
    """Memory from ``DRAM`` on, and what software does.

    Attributes
    ----------
    overlay, config : str
        What it is for.
    memory : bytearray
        The contents before.
    steps : list
        In order: ``("write", register, fields)``; ``("wait", what)``: until the interrupt is
        high, then clear its causes; ``("poll", register, fields)``: until it reads so.
    results : list of range
        Offsets of records and outputs that must have been written.
    cycles : list of range
        Offsets of cycle counts: they depend on the memory's pace and are not compared.
    causes : dict
        The interrupt's, as they stand at the end of each wait.
    """

    overlay: str
    config: str
    memory: bytearray = field(default_factory=lambda: bytearray([GUARD]) * SIZE)
    steps: list[tuple[Any, ...]] = field(default_factory=list)
    results: list[range] = field(default_factory=list)
    cycles: list[range] = field(default_factory=list)
    causes: dict[str, int] = field(default_factory=lambda: {"done": 1, "error": 0})
    _free: int = 0x38

    @property
    def registers(self) -> RegisterBlock:
        return OVERLAYS[self.overlay].registers

    def place(self, data: bytes) -> int:
        """Put ``data`` behind what is there, at a multiple of 8; return its address."""
        start = self._free
        self._free += -(-len(data) // 8) * 8 + 24
        assert self._free <= SIZE, "the scenario needs more memory"
        self.memory[start : start + len(data)] = data
        return DRAM + start

    def room(self, size: int) -> int:
        """Make room for a result; return its address."""
        address = self.place(bytes([GUARD]) * size)
        self.results.append(range(address - DRAM, address - DRAM + size))
        return address

    def record(self, record: Record, *names: str) -> int:
        """Make room for a result record; ``names`` are its cycle counts."""
        address = self.room(record.width // 8)
        for name in names:
            first = address - DRAM + record.offsets[name] // 8
            self.cycles.append(range(first, first + record.by_name[name].width // 8))
        return address

    def write(self, register: str, **fields: int) -> None:
        self.steps.append(("write", register, fields))

    def ring(self, record: Record, **fields: int) -> None:
        """Place a descriptor and ring for it."""
        self.write("doorbell", address=self.place(record.pack_bytes(fields)))


def _vision() -> Scenario:
    """A network and two pictures in the queue; then its first layer alone, a map."""
    work = Scenario("vision", "small")
    rng = np.random.default_rng(SEED)
    graph = pooled(rng)
    first = graph.nodes[0]
    tensors = {name: graph.tensors[name] for name in (graph.input, first.output)}
    layer = Graph(
        name="layer", tensors=tensors, nodes=(first,), input=graph.input, output=first.output
    )
    work.write("interrupt_enable", done=1, error=1)
    for network, pictures in ((graph, 2), (layer, 1)):
        _run_network(work, rng, network, pictures)
    return work


def _run_network(work: Scenario, rng: np.random.Generator, graph: Graph, pictures: int) -> None:
    program = compile_graph(graph, SMALL_VISION)
    common = {"magic": vision.DESCRIPTOR_MAGIC, "version": vision.DESCRIPTOR_VERSION, "slot": 1}
    counts = ("core_cycles", "job_cycles")
    work.ring(
        vision.DESCRIPTOR,
        **common,
        kind=vision.JobKind.LOAD,
        interrupt=1,
        source=work.place(program.image),
        source_words=len(program.image) // 8,
        result=work.record(vision.RESULT, *counts),
    )
    work.steps.append(("wait", f"{graph.name} to load"))
    header = vision.HEADER.unpack_bytes(program.image)
    output = header["output_blocks"] * header["output_count"] * 8 * SMALL_VISION.beats_per_word
    for number in range(pictures):
        picture = rng.integers(-128, 128, graph.tensors[graph.input].shape).astype(np.int8)
        work.ring(
            vision.DESCRIPTOR,
            **common,
            kind=vision.JobKind.INFER,
            interrupt=int(number == pictures - 1),
            tag=number,
            source=work.place(picture.tobytes()),
            source_words=header["source_words"],
            output=work.room(output),
            result=work.record(vision.RESULT, *counts),
        )
    work.steps.append(("wait", f"the last picture of {graph.name}"))


def _thc() -> Scenario:
    """An aggregation with sums of 16 bits and one of 8, then a block encoded."""
    work = Scenario("thc", "default")
    rng = np.random.default_rng(SEED)
    table = LookupTable([0, 3, 5, 7, 9, 11, 13, 14, 16, 17, 19, 21, 23, 25, 27, 30])
    work.write("interrupt_enable", done=1, error=1)
    common = {
        "magic": thc.DESCRIPTOR_MAGIC,
        "version": thc.DESCRIPTOR_VERSION,
        "interrupt": 1,
    }
    for job, wide, workers in ((3, 1, 9), (4, 0, 5)):
        work.write("job_select", job=job)
        work.write("job_limits", workers=workers, granularity=table.granularity, wide=wide)
        for row in range(4):
            entries = {f"entry{4 * row + i}": table.entries[4 * row + i] for i in range(4)}
            work.write(f"table{row}", **entries)
        work.write("job_command", open=1)
        work.steps.append(("poll", "job_status", {"busy": 0, "code": 0}))
        words = 300
        indices = pack(rng.integers(0, 16, (workers, 16 * words)), 4)
        work.ring(
            thc.DESCRIPTOR,
            **common,
            kind=thc.JobKind.AGGREGATE,
            job=job,
            source=work.place(indices.tobytes()),
            count=words,
            stride=8 * words,
            workers=workers,
            output=work.room((32 if wide else 16) * words),
            result=work.record(thc.RESULT, "cycles"),
        )
        work.steps.append(("wait", f"the sums of job {job}"))
    mantissas = rng.integers(-30_000, 30_000, 1024).astype("<i2")
    entries = int.from_bytes(bytes(table.entries), "little")
    work.ring(
        thc.DESCRIPTOR,
        **common,
        kind=thc.JobKind.ENCODE,
        source=work.place((21_000).to_bytes(8, "little") + mantissas.tobytes()),
        count=1,
        granularity=table.granularity,
        seed=SEED,
        step=5,
        worker=1,
        table_low=entries & (1 << 64) - 1,
        table_high=entries >> 64,
        output=work.room(512),
        result=work.record(thc.RESULT, "cycles"),
    )
    work.steps.append(("wait", "the block to be encoded"))
    return work


def _switch() -> Scenario:
    """Two jobs on one slot: one takes it over and completes, the other leaves in parts; a frame
    that is no packet."""
    causes = {"packets": 1, "drained": 1, "error": 0}
    work = Scenario("switch", "default", causes=causes)
    rng = np.random.default_rng(SEED)
    work.write("interrupt_enable", drained=1, error=1)
    work.write("policy", policy=Policy.ESA, slots_log2=0, decay_after=0, age_limit=0)
    for job, lanes in ((1, Lanes.UINT8), (2, Lanes.INT32)):
        work.write("job_select", job=job)
        work.write("job_setup", workers=2, needed=2, epoch=7, lanes=lanes)
        for row in range(4):
            work.write(f"table{row}", **{f"entry{4 * row + i}": 16 * row + i for i in range(4)})
        work.write("job_command", enable=1)
        work.steps.append(("poll", "job_status", {"busy": 0, "code": 0}))

    def frame(job: int, worker: int, coordinates: int) -> bytes:
        indices = rng.integers(0, 256, coordinates // 2 if job == 1 else 4 * coordinates)
        return Packet(
            PacketKind.DATA,
            job,
            7,
            worker=worker,
            priority=50 * job,
            lanes=Lanes.UINT8 if job == 1 else Lanes.INT32,
            bitmap=1 << worker,
            count=1,
            coordinates=coordinates,
            payload=indices.astype(np.uint8).tobytes(),
        ).to_bytes()

    frames = [frame(1, 0, 1000), frame(2, 0, 250), frame(1, 1, 1000), bytes(72), frame(2, 1, 250)]
    lengths = [1000, 500, 1000]  # PARTIAL, the second contribution as it came, RESULT
    start = work.place(b"".join(data.ljust(MAX_FRAME_BYTES, b"\0") for data in frames))
    ring = [
        switch.INGRESS_DESCRIPTOR.pack_bytes(address=start + i * MAX_FRAME_BYTES, size=len(data))
        for i, data in enumerate(frames)
    ]
    work.write("ingress_base", address=work.place(b"".join(ring).ljust(64, b"\0")))
    egress = work.place(bytes([GUARD]) * 4 * switch.EGRESS_STRIDE)
    for number, length in enumerate(lengths):
        first = egress - DRAM + number * switch.EGRESS_STRIDE
        work.results += [range(first, first + 32), range(first + 32, first + 32 + length)]
    work.write("egress_base", address=egress)
    work.write("window_base", address=start)
    work.write("window_end", address=start + len(frames) * MAX_FRAME_BYTES)
    work.write("ring_sizes", ingress_log2=3, egress_log2=2)
    work.write("control", start=1)
    work.write("ingress_doorbell", producer=len(frames))
    work.steps.append(("wait", "the frames to be done with"))
    work.steps.append(("poll", "egress", {"producer": len(lengths)}))
    work.steps.append(("poll", "faults_foreign", {"value": 1}))
    return work


SCENARIOS: dict[str, Callable[[], Scenario]] = {"vision": _vision, "thc": _thc, "switch": _switch}
"""Overlay to its work."""

"""The row engine against the model: random operations, every lane, both shapes, at full rate."""

import os
from collections import deque
from itertools import pairwise

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge

from cocotb_tests.common import timing
from cocotb_tests.common.coverage import Coverage
from cocotb_tests.common.streams import Stream, StreamContract, StreamSink, StreamSource
from cocotb_tests.switch.row_design import ENGINES
from cocotb_tests.switch.row_model import CONTRIBUTES, Operation, RowModel
from eyas.interfaces.switch.config import WORD_BYTES
from eyas.interfaces.switch.packet import HEADER_BYTES, Lanes
from eyas.interfaces.thc.formats import pack
from hdl.switch.layouts import RowAction, egress_layout

HEADER_BEATS = HEADER_BYTES // WORD_BYTES
OPERATIONS = int(os.environ.get("ROW_OPERATIONS", "200"))
"""Random operations a run."""
BINS = (
    *(f"{action.name} {lanes.name}" for action in CONTRIBUTES for lanes in Lanes),
    *(f"{action.name} emits" for action in (RowAction.NONE, RowAction.CLAIM, RowAction.ADD)),
    "PASS",
    "READ",
    "READ with a payload",
    "NONE with a payload",
    "slot after slot",
    "other slot between",
    "swap to fewer rows",
    "swap to more rows",
    "swap to other lanes",
    "saturated",
    "saturated below",
    "one beat",
    "whole slot",
    "part of a row",
    "queue full",
)


class Bench:
    """Stands for packet buffer, scheduler and sink.

    Payloads are put into the buffer as there is room, and overwritten with noise when released.
    """

    def __init__(self, dut, name: str, gaps: float = 0.0, stalls: float = 0.0):
        self.dut, self.name, self.config = dut, name, ENGINES[name]
        self.rng = timing.generator()
        self.np_rng = np.random.default_rng(cocotb.RANDOM_SEED)
        self.model = RowModel()
        self.source = StreamSource(Stream(dut, f"{name}__operation"), self.rng, gaps)
        egress = Stream(dut, f"{name}__egress")
        self.contract = StreamContract(egress, self.rng if name == "small" else None)
        self.sink = StreamSink(egress, self.rng, stalls)
        self.expected: deque[tuple[bytes, bool, bool]] = deque()
        self.compared = 0
        self.buffer = [self.noise() for _ in range(self.config.ingress_beats)]
        self.at = self.oldest = self.used = 0
        self.owed: deque[int] = deque()
        self.port("table__enable").value = 0
        self.tasks = [cocotb.start_soon(task()) for task in (self._serve, self._free, self._watch)]

    def noise(self) -> int:
        return self.rng.getrandbits(64)

    def port(self, member: str):
        return getattr(self.dut, f"{self.name}__{member}")

    async def set_table(self, job: int, highest: int) -> None:
        table = np.sort(self.np_rng.integers(0, highest + 1, 16))
        table[-1] = highest
        self.model.tables[job] = table
        self.port("table__enable").value = 1
        self.port("table__job").value = job
        self.port("table__table").value = int.from_bytes(table.astype("u1").tobytes(), "little")
        await FallingEdge(self.dut.aclk)
        self.port("table__enable").value = 0

    def contribution(self, action: RowAction, lanes: Lanes, coordinates: int, **rest) -> Operation:
        """An operation with random indices, or values of which many are near the limits."""
        if lanes is Lanes.INT32:
            values = self.np_rng.integers(-(1 << 31), 1 << 31, coordinates)
            values >>= self.np_rng.integers(0, 2, coordinates) * 12
            payload = values.astype("<i4").tobytes()
        else:
            payload = pack(self.np_rng.integers(0, 16, coordinates), 4).tobytes()
        return Operation(action, payload, lanes=lanes, coordinates=coordinates, **rest)

    async def send(self, operation: Operation) -> None:
        """Queue an operation, when its payload has room, and what is to leave."""
        beats, clock = operation.beats, self.dut.aclk
        room = self.config.ingress_beats
        await timing.until(clock, lambda: self.used + beats <= room, "room", 100_000)
        await timing.until(clock, lambda: not self.waiting, "the operations to be taken", 100_000)
        start = self.at
        for at in range(0, len(operation.payload), WORD_BYTES):
            word = operation.payload[at : at + WORD_BYTES]
            # What the frame held behind its payload is of no consequence.
            filled = word + self.rng.randbytes(WORD_BYTES - len(word))
            self.buffer[self.at] = int.from_bytes(filled, "little")
            self.at = (self.at + 1) % room
        self.used += beats
        if beats:
            self.owed.append(beats)
        rows = self.model.process(operation)
        if operation.emits:
            self.expected.append((operation.header.to_bytes(32, "little"), True, not rows))
            self.expected += [(row, False, i == len(rows) - 1) for i, row in enumerate(rows)]
        self.source.send(operation.item(self.config, start))

    @property
    def waiting(self) -> int:
        """Operations beyond two that are not taken yet."""
        return max(0, len(self.source._items) - 2)

    def forget(self) -> None:
        """Start anew, after a reset."""
        self.expected.clear()
        self.owed.clear()
        self.at = self.oldest = self.used = 0

    async def drained(self) -> None:
        """Wait until all that is expected has left."""
        await self.source.drained(100_000)
        await timing.until(self.dut.aclk, lambda: not self.expected, "all rows", 100_000)

    async def finish(self) -> None:
        clock = self.dut.aclk
        await self.source.drained(100_000)
        await timing.until(clock, lambda: self.port("idle").value == 1, "idle", 100_000)
        await self.drained()
        for _ in range(20):
            await FallingEdge(clock)
        assert self.compared, "nothing was compared"
        assert not self.used, f"{self.used} beats were not released"
        for task in self.tasks:
            task.cancel()

    async def _serve(self) -> None:
        """The packet buffer's read port."""
        while True:
            await FallingEdge(self.dut.aclk)
            address = self.port("read_address").value.to_unsigned()
            await RisingEdge(self.dut.aclk)
            self.port("read_data").value = self.buffer[address]

    async def _free(self) -> None:
        while True:
            await FallingEdge(self.dut.aclk)
            if not self.port("release").value:
                continue
            count = self.port("release_beats").value.to_unsigned()
            assert self.owed, f"{count} beats released that were given free before"
            beats = self.owed.popleft()
            assert count == beats, f"{count} beats released, not {beats}"
            await RisingEdge(self.dut.aclk)
            for _ in range(count):
                self.buffer[self.oldest] = self.noise()
                self.oldest = (self.oldest + 1) % self.config.ingress_beats
            self.used -= count

    async def _watch(self) -> None:
        while True:
            await FallingEdge(self.dut.aclk)
            while self.sink.items:
                seen = egress_layout.from_bits(self.sink.items.popleft())
                assert self.expected, f"a row that nobody expects, after {self.compared}"
                wanted, first, last = self.expected.popleft()
                row = seen.data.to_bytes(32, "little")[: len(wanted)]
                where = f"row {self.compared} (first {first}, last {last})"
                assert row == wanted, f"{where} is {row.hex()}, not {wanted.hex()}"
                assert (seen.first, seen.last) == (first, last), f"{where}: {seen}"
                self.compared += 1


async def open_bench(dut, name: str, highest: int = 90, **kwargs) -> Bench:
    await timing.start(dut)
    await FallingEdge(dut.aclk)
    bench = Bench(dut, name, **kwargs)
    for job in range(bench.config.jobs):
        await bench.set_table(job, highest)
    return bench


def some_coordinates(bench: Bench, lanes: Lanes) -> int:
    most = bench.config.slot_bytes // lanes.dtype.itemsize
    rng = bench.rng
    return min(most, rng.choice([1, rng.randint(1, 16), rng.randint(1, most), most]))


def random_operation(bench: Bench, number: int, slot: int) -> Operation:
    """Any that fits what the slot holds."""
    rng, model = bench.rng, bench.model
    job = rng.randrange(bench.config.jobs)
    choices = [RowAction.NONE, RowAction.PASS, RowAction.CLAIM]
    if slot in model.sums:
        choices += [RowAction.READ] + 2 * [RowAction.SWAP] + 4 * [RowAction.ADD]
    action = rng.choice(choices)
    lanes = rng.choice(list(Lanes))
    emits = rng.random() < 0.5
    common = {"slot": slot, "job": job, "number": number}
    if action in (RowAction.SWAP, RowAction.READ, RowAction.PASS):
        emits = True
    if action in CONTRIBUTES:
        coordinates = some_coordinates(bench, lanes)
        if action is RowAction.ADD:
            lanes, coordinates = model.lanes[slot], model.sums[slot].size
        return bench.contribution(action, lanes, coordinates, emits=emits, **common)
    payload = b""
    if action is RowAction.PASS or rng.random() < 0.5:
        payload = rng.randbytes(rng.randint(0, bench.config.slot_bytes))
    return Operation(action, payload, emits=emits, lanes=lanes, **common)


def note(coverage: Coverage, bench: Bench, operation: Operation, before: list[int]) -> None:
    """Count what is about to be seen."""
    action, slot, model = operation.action, operation.slot, bench.model
    payload = bool(operation.payload)
    if action in CONTRIBUTES:
        coverage.hit(f"{action.name} {operation.lanes.name}")
    if action in (RowAction.NONE, RowAction.CLAIM, RowAction.ADD):
        coverage.hit(f"{action.name} emits", operation.emits)
    if action in (RowAction.PASS, RowAction.READ):
        coverage.hit(action.name)
    if action in (RowAction.READ, RowAction.NONE):
        coverage.hit(f"{action.name} with a payload", payload)
    coverage.hit("slot after slot", before[-1:] == [slot])
    coverage.hit("other slot between", len(before) > 1 and before[-2] == slot != before[-1])
    coverage.hit("one beat", operation.beats == 1)
    size = operation.coordinates * operation.lanes.dtype.itemsize
    coverage.hit("whole slot", size == bench.config.slot_bytes)
    coverage.hit("part of a row", size % 32)
    if action is RowAction.SWAP:
        old, new = -(-model.length(slot) // 32), -(-size // 32)
        coverage.hit("swap to fewer rows", new < old or bench.config.slot_rows == 1)
        coverage.hit("swap to more rows", new > old or bench.config.slot_rows == 1)
        coverage.hit("swap to other lanes", model.lanes[slot] is not operation.lanes)


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(
    (
        ("name", "gaps", "stalls"),
        [("full", 0.0, 0.0), ("full", 0.5, 0.6), ("small", 0.0, 0.0), ("small", 0.3, 0.8)],
    )
)
async def random_operations(dut, name, gaps, stalls):
    """Any order of operations on two slots; the queue runs full, the sink stalls."""
    bench = await open_bench(dut, name, gaps=gaps, stalls=stalls)
    coverage = Coverage(BINS)
    before: list[int] = []
    for number in range(OPERATIONS):
        operation = random_operation(bench, number, bench.rng.randrange(2))
        note(coverage, bench, operation, before)
        await bench.send(operation)
        before.append(operation.slot)
        sums, lanes = bench.model.sums.get(operation.slot), bench.model.lanes.get(operation.slot)
        if sums is not None and operation.action is RowAction.ADD:
            coverage.hit("saturated", (sums == (255 if lanes is Lanes.UINT8 else 2**31 - 1)).any())
            coverage.hit("saturated below", (sums == -(1 << 31)).any())
        coverage.hit("queue full", not stalls or len(bench.expected) > bench.config.egress_rows)
    await bench.finish()
    coverage.check()


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(lanes=list(Lanes), slots=[1, 2], beats=[1, 2, 5])
async def full_rate(dut, lanes, slots, beats):
    """Swaps, sums and passed payloads at the rate at which packets come in, each emitting."""
    bench = await open_bench(dut, "full")
    coordinates = beats * (2 if lanes is Lanes.INT32 else 16)
    claims = [
        bench.contribution(RowAction.CLAIM, lanes, coordinates, slot=slot) for slot in range(slots)
    ]
    for claim in claims:
        await bench.send(claim)
    await bench.source.drained()
    count = 60
    for number in range(count):
        action = bench.rng.choice([RowAction.SWAP, RowAction.ADD, RowAction.PASS])
        if action is RowAction.PASS:
            operation = Operation(action, bench.rng.randbytes(8 * beats), emits=True, number=number)
        else:
            slot = number % slots
            operation = bench.contribution(
                action, lanes, coordinates, slot=slot, emits=True, number=number
            )
        await bench.send(operation)
    await bench.finish()
    taken = bench.source.sent[-count:]
    longest = max(later - earlier for earlier, later in pairwise(taken[2:]))
    assert longest <= beats + HEADER_BEATS, f"{longest} cycles from operation to operation"


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def latency(dut):
    """Cycles from an operation to its header and its first row, with nothing in the way."""
    bench = await open_bench(dut, "full")
    for number in range(4):
        await bench.send(
            bench.contribution(RowAction.CLAIM, Lanes.UINT16, 16, emits=True, number=number)
        )
        await bench.drained()
        sent, (header, row) = bench.source.sent[-1], bench.sink.taken[-2:]
        assert (header - sent, row - sent) == (5, 10), f"{header - sent} and {row - sent} cycles"
    await bench.finish()


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(name=list(ENGINES))
async def full_lanes_stay_full(dut, name):
    """A sum that does not fit stays at its limit; its neighbours are untouched."""
    bench = await open_bench(dut, name, highest=255)
    for lanes, times in ((Lanes.UINT8, 4), (Lanes.UINT16, 260), (Lanes.INT32, 4)):
        most = bench.config.slot_bytes // lanes.dtype.itemsize
        for number in range(times):
            if lanes is Lanes.INT32:
                limits = [(1 << 30) + number, -(1 << 30) - number, -1, 1]
                payload = np.resize(np.array(limits, "<i4"), most).tobytes()
            else:
                payload = pack(np.resize([15, 0], most), 4).tobytes()
            action = RowAction.ADD if number else RowAction.CLAIM
            emits = number == times - 1
            await bench.send(
                Operation(action, payload, emits, lanes=lanes, coordinates=most, number=number)
            )
        sums = bench.model.sums[0]
        highest = {Lanes.UINT8: 255, Lanes.UINT16: 65535, Lanes.INT32: 2**31 - 1}[lanes]
        assert sums[::2].max() == highest
        assert sums[1] == (-(1 << 31) if lanes is Lanes.INT32 else times * bench.model.tables[0][0])
    await bench.finish()


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def reset_in_an_operation(dut):
    """What a reset cuts off leaves no trace in what comes after it."""
    bench = await open_bench(dut, "full")
    for cycles in range(1, 24, 2):
        await bench.send(bench.contribution(RowAction.CLAIM, Lanes.UINT8, 200, emits=True))
        await bench.source.drained()
        for _ in range(cycles):
            await FallingEdge(dut.aclk)
        dut.aresetn.value = 0
        for _ in range(2):
            await FallingEdge(dut.aclk)
        assert bench.port("idle").value == 1, "not idle in reset"
        assert bench.port("egress__valid").value == 0, "a row is offered in reset"
        bench.forget()
        dut.aresetn.value = 1
        await bench.send(bench.contribution(RowAction.CLAIM, Lanes.UINT8, 40, emits=True, number=7))
        await bench.drained()
    await bench.finish()

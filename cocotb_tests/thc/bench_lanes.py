"""The lookup lanes against the model: random packets, back to back and with gaps, every shape."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from cocotb_tests.common.coverage import Coverage
from cocotb_tests.thc.design import LANES
from cocotb_tests.thc.lane_model import LaneModel, Packet
from cocotb_tests.thc.unit import Unit, generator, start
from eyas.interfaces.thc.config import ThcConfig
from hdl.thc.lanes.lookup_lanes import LookupLanes
from hdl.thc.lanes.packets import Emit, row_layout

BINS = (
    "same slot",
    "one beat",
    "whole slot",
    "odd beats",
    "silent",
    "sum",
    "old",
    "old of other width",
    "saturated",
    "narrow",
    "wide",
    "table changed",
)


class Lanes:
    """Drives a unit beat by beat and compares its rows with the model's, in order.

    Everything is driven and looked at on falling edges.
    """

    def __init__(self, unit: Unit, config: ThcConfig):
        self.unit = unit
        self.config = config
        self.model = LaneModel(config)
        self.expected: list[tuple[int, bool]] = []
        self.rows = 0
        self.watching = True
        self._monitor = cocotb.start_soon(self._watch())

    async def set_table(self, job: int, table: np.ndarray) -> None:
        raw = int.from_bytes(np.asarray(table, np.uint8).tobytes(), "little")
        self.unit.table__enable.value = 1
        self.unit.table__job.value = job
        self.unit.table__table.value = raw
        self.model.tables[job] = np.asarray(table, np.int64)
        await FallingEdge(self.unit.clk)
        self.unit.table__enable.value = 0

    async def send(self, packet: Packet, rng=None, gaps: float = 0.0) -> None:
        rows = self.model.process(packet)
        self.expected += [(row, i == len(rows) - 1) for i, row in enumerate(rows)]
        for beat in packet.beats(self.config):
            while rng is not None and rng.random() < gaps:
                self.unit.valid.value = 0
                self.unit.beat.value = int.from_bytes(rng.bytes(len(self.unit.beat) // 8), "little")
                await FallingEdge(self.unit.clk)
            self.unit.valid.value = 1
            self.unit.beat.value = beat
            await FallingEdge(self.unit.clk)
        self.unit.valid.value = 0

    async def finish(self) -> None:
        for _ in range(3 * LookupLanes.latency):
            await FallingEdge(self.unit.clk)
        assert self.unit.idle.value == 1, "not idle with nothing under way"
        assert not self.expected, f"{len(self.expected)} rows are missing"
        assert self.rows, "nothing was compared"
        self._monitor.cancel()

    async def _watch(self) -> None:
        layout = row_layout(self.config)
        while True:
            await FallingEdge(self.unit.clk)
            if not (self.watching and self.unit.row_valid.value):
                continue
            assert self.expected, "a row that nobody expects"
            seen = layout.from_bits(self.unit.row.value.to_unsigned())
            sums, last = self.expected.pop(0)
            assert seen.sums == sums, (
                f"row {self.rows} is {seen.sums:#x}, not {sums:#x} (sums, the first lowest)"
            )
            assert seen.last == last, f"row {self.rows}: last is {seen.last}"
            self.rows += 1


async def open_lanes(dut, shape: str) -> Lanes:
    unit = await start(dut, f"lanes_{shape}")
    unit.valid.value = unit.table__enable.value = 0
    return Lanes(unit, LANES[shape])


def random_table(rng, config: ThcConfig, granularity: int) -> np.ndarray:
    """A non-decreasing table from 0 to ``granularity``."""
    table = np.sort(rng.integers(0, granularity + 1, config.entries))
    table[0], table[-1] = 0, granularity
    return table


def random_indices(rng, config: ThcConfig, beats: int) -> np.ndarray:
    """Indices of so many beats, often with an odd tail."""
    count = beats * config.lanes - int(rng.integers(0, config.lanes)) * int(rng.integers(0, 2))
    return rng.integers(0, config.entries, count)


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(shape=list(LANES), gaps=[0.0, 0.4])
async def random_packets(dut, shape, gaps):
    """Any order of stores, adds, silent reads, completions and swaps, on few slots."""
    rng = generator()
    lanes = await open_lanes(dut, shape)
    config = lanes.config
    coverage = Coverage(BINS)
    for job in range(config.jobs):
        await lanes.set_table(job, random_table(rng, config, int(rng.integers(1, 256))))
    state: dict[int, tuple[int, int]] = {}  # slot: width and beats of its last store
    before = None
    for number in range(150):
        slot = int(rng.integers(0, 2))
        job = int(rng.integers(0, config.jobs))
        if number % 50 == 49:
            for _ in range(LookupLanes.latency):
                await FallingEdge(lanes.unit.clk)
            await lanes.set_table(job, random_table(rng, config, 255))
            coverage.hit("table changed")
        fresh = slot not in state or rng.random() < 0.3
        emit = Emit(int(rng.choice([0, 1, 2]))) if slot in state else Emit(int(rng.integers(0, 2)))
        if fresh:
            wide = int(rng.integers(0, 2))
            longest = config.packet_beats(wide)
            beats = int(rng.choice([1, 2, 3, int(rng.integers(1, longest + 1)), longest]))
            beats = min(beats, longest)
            if emit == Emit.OLD:
                # The rows of the old content, in the new packet's own beats.
                old_wide, old_beats = state[slot]
                rows = old_beats if old_wide else -(-old_beats // 2)
                beats = rows if wide else max(2 * rows - int(rng.integers(0, 2)), 1)
        else:
            wide, beats = state[slot]
        packet = Packet(
            random_indices(rng, config, beats),
            slot,
            job,
            wide,
            store=int(fresh),
            silent=int(not fresh and rng.random() < 0.2),
            emit=emit,
            old_wide=state[slot][0] if slot in state else 0,
        )
        coverage.hit("same slot", slot == before)
        coverage.hit("one beat", beats == 1)
        coverage.hit("whole slot", beats == config.packet_beats(wide))
        coverage.hit("odd beats", beats % 2 and not wide)
        coverage.hit("silent", packet.silent)
        coverage.hit("sum", emit == Emit.SUM)
        coverage.hit("old", emit == Emit.OLD)
        coverage.hit("old of other width", emit == Emit.OLD and packet.old_wide != wide)
        coverage.hit("wide" if wide else "narrow")
        state[slot] = wide, beats
        before = slot
        await lanes.send(packet, rng, gaps)
        coverage.hit("saturated", not wide and (lanes.model.slots[slot] == 255).any())
    await lanes.finish()
    coverage.check()


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(shape=list(LANES), wide=[0, 1])
async def one_beat_packets_on_one_slot(dut, shape, wide):
    """Packets of a beat, one a cycle, all on one row: each sees the sum of those before it."""
    rng = generator()
    lanes = await open_lanes(dut, shape)
    config = lanes.config
    for job, highest in enumerate((3, 2)):
        await lanes.set_table(job, np.minimum(np.arange(config.entries), highest))
    for number in range(84):
        kind = Emit.SUM if rng.random() < 0.7 else Emit.NONE
        indices = rng.integers(0, config.entries, config.lanes)
        packet = Packet(
            indices, slot=1, job=number % 2, wide=wide, store=int(number == 0), emit=kind
        )
        await lanes.send(packet)
        if number % 20 == 19:
            # Each distance that the memory's latency makes special.
            for _ in range(number // 20):
                await FallingEdge(lanes.unit.clk)
    await lanes.finish()
    assert lanes.model.slots[1].max() > 84


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(shape=list(LANES))
async def every_number_of_workers(dut, shape):
    """Sums of 1 to 255 workers at the greatest granularity that the lane holds."""
    rng = generator()
    lanes = await open_lanes(dut, shape)
    config = lanes.config
    for workers in (*range(1, 12), 31, 32, 33, 85, 127, 128, 254, 255):
        for wide in (0, 1):
            granularity = 255 if wide else 255 // workers
            table = random_table(rng, config, granularity)
            await lanes.set_table(workers % config.jobs, table)
            for worker in range(workers):
                indices = random_indices(rng, config, 3)
                if worker % 2:
                    indices[: config.lanes] = config.entries - 1
                packet = Packet(
                    np.resize(indices, 3 * config.lanes - 1),
                    job=workers % config.jobs,
                    wide=wide,
                    store=int(worker == 0),
                    emit=Emit.SUM if worker == workers - 1 else Emit.NONE,
                )
                await lanes.send(packet)
            for _ in range(LookupLanes.latency):
                await FallingEdge(lanes.unit.clk)
    await lanes.finish()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def full_lanes_stay_full(dut):
    """A sum that does not fit stays at the greatest value; its neighbours are untouched."""
    lanes = await open_lanes(dut, next(iter(LANES)))
    config = lanes.config
    table = np.arange(config.entries) * (255 // (config.entries - 1))
    await lanes.set_table(0, table)
    indices = np.tile([config.entries - 1, 0], config.lanes)
    for wide, count in ((0, 3), (1, 260)):
        for number in range(count):
            last = number == count - 1
            emit = Emit.SUM if last else Emit.NONE
            await lanes.send(
                Packet(indices, slot=wide, wide=wide, store=int(number == 0), emit=emit)
            )
        sums = lanes.model.slots[wide]
        assert sums[::2].min() == (0xFFFF if wide else 0xFF)
        assert sums[1::2].max() == 0
    await lanes.finish()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reset_in_mid_packet(dut):
    """What a reset cuts off leaves no trace in the packets after it."""
    rng = generator()
    lanes = await open_lanes(dut, next(iter(LANES)))
    config = lanes.config
    table = random_table(rng, config, 30)
    await lanes.set_table(0, table)
    for beats in range(1, 9):
        for wide in (0, 1):
            whole = Packet(random_indices(rng, config, 9), wide=wide, store=1, emit=Emit.SUM)
            lanes.watching = False  # rows of what the reset cuts off may still leave
            lanes.unit.valid.value = 1
            for beat in whole.beats(config)[:beats]:
                lanes.unit.beat.value = beat
                await FallingEdge(lanes.unit.clk)
            lanes.unit.valid.value = 0
            dut.aresetn.value = 0
            await FallingEdge(lanes.unit.clk)
            assert lanes.unit.row_valid.value == 0, "a row is offered in reset"
            assert lanes.unit.idle.value == 1, "not idle in reset"
            dut.aresetn.value = 1
            lanes.watching = True
            await lanes.send(
                Packet(random_indices(rng, config, 4), wide=wide, store=1, emit=Emit.SUM)
            )
            for _ in range(2 * LookupLanes.latency):
                await FallingEdge(lanes.unit.clk)
            assert not lanes.expected, "rows are missing after the reset"
    await lanes.finish()

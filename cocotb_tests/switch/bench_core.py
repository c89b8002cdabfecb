"""The core against the golden switch: packet for packet, record for record, in random episodes."""

import os
import random
from collections import Counter, deque
from dataclasses import replace

import cocotb
from cocotb.triggers import FallingEdge

from cocotb_tests.common import timing
from cocotb_tests.common.coverage import Coverage
from cocotb_tests.common.streams import Stream, StreamContract, StreamSink, StreamSource
from cocotb_tests.switch.frames import beats, verdict
from cocotb_tests.switch.traffic import Traffic
from eyas.interfaces.switch.config import ROW_BYTES, SwitchConfig
from eyas.interfaces.switch.packet import HEADER_BYTES, Packet, PacketFault
from eyas.interfaces.switch.states import COUNTED_OUTCOMES, Outcome, Policy, SlotState
from hdl.switch.decide.scheduler import Scheduler
from hdl.switch.decide.slot_records import slot_layout
from hdl.switch.layouts import (
    egress_layout,
    event_layout,
    settings_layout,
    training_job_layout,
)
from models.switch.golden import GoldenSwitch
from models.switch.records import JobEntry

CORES = {
    "few": SwitchConfig(slots=4, slot_bytes=64, jobs=4, ingress_beats=32, egress_rows=8),
    "least": SwitchConfig(slots=2, slot_bytes=32, jobs=2, ingress_beats=8, egress_rows=4),
    "full": SwitchConfig(slots=16, slot_bytes=1024, jobs=32, ingress_beats=512, egress_rows=128),
}
"""Configurations by name."""

BINS = (
    *(policy.name for policy in Policy),
    *(outcome.name for outcome in Outcome),
    *(fault.name for fault in PacketFault),
    "JOB",
    "flush",
    "epoch change with packets in flight",
    "flush that evicts",
    "look between packets",
    "one worker",
    "quorum completes",
    "seq wraps in a slot",
    "priority 0 by decay",
    "preemption of a preemption",
    "operations 4 cycles apart",
    "output held up",
)


def rows_of(packet: bytes) -> list[tuple[bytes, bool, bool]]:
    """Rows of a packet that leaves, its checksum 0: bytes, first, last."""
    packet = packet[: HEADER_BYTES - 4] + bytes(4) + packet[HEADER_BYTES:]
    starts = range(0, len(packet), ROW_BYTES)
    return [
        (packet[start : start + ROW_BYTES], start == 0, start == starts[-1]) for start in starts
    ]


class Bench:
    """Drives a core and follows it with the golden switch, event by event.

    The golden switch works on a frame when the core tells of it, with the job table as it was when
    the frame came to the scheduler: a fixed number of cycles before.
    """

    def __init__(self, dut, config: SwitchConfig, rng: random.Random, coverage: Coverage):
        self.dut, self.config = dut, config
        self.rng, self.coverage = rng, coverage
        self.source = StreamSource(Stream(dut, "i"), rng)
        stream = Stream(dut, "o")
        self.contract = StreamContract(stream)
        self.sink = StreamSink(stream, rng)
        self.layouts = {
            "event": event_layout(self.config),
            "event_record": slot_layout(self.config),
        }
        for member in ("job_write__enable", "table__enable", "flush", "clear_counters"):
            self.port(member).value = 0
        self.frames: deque[bytes] = deque()
        self.rows: deque[tuple[bytes, bool, bool]] = deque()
        self.events = self.compared = 0
        self.last_event = -100
        self.watching = False
        cocotb.start_soon(self._follow())
        cocotb.start_soon(self._watch_faults())

    def port(self, member: str):
        return getattr(self.dut, member)

    async def cycles(self, count: int) -> None:
        for _ in range(count):
            await FallingEdge(self.dut.aclk)

    async def begin(self, traffic: Traffic, scan_period: int) -> None:
        """Reset, and begin the episode."""
        self.watching = False
        self.dut.aresetn.value = 0
        await self.cycles(3)
        self.dut.aresetn.value = 1
        settings = traffic.settings
        values = {name: getattr(settings, name) for name in vars(settings)}
        values |= {"policy": int(settings.policy), "scan_period": scan_period}
        packed = settings_layout.const(values).as_value().value
        self.port("settings").value = packed
        self.golden = GoldenSwitch(self.config, settings, {})
        self.faults = Counter()
        self.expected_faults: deque[int] = deque()
        self.configured: deque[tuple[int, int, JobEntry]] = deque()
        self.entries: dict[int, JobEntry] = {}
        self.flush_job = None
        self.preempted: set[int] = set()
        for job in range(self.config.jobs):
            await self.configure(job, traffic.jobs.get(job, JobEntry()))
        await timing.until(
            self.dut.aclk,
            lambda: self.port("ready").value and not self.port("clearing").value,
            "the core to be ready",
        )
        self.watching = True

    async def configure(self, job: int, entry: JobEntry) -> None:
        """Set table and entry, the golden switch's when the core's has come into force."""
        self.port("table__job").value = job
        self.port("table__table").value = int.from_bytes(bytes(entry.table), "little")
        self.port("table__enable").value = 1
        await self.set_entry(job, entry)
        self.port("table__enable").value = 0

    async def set_entry(self, job: int, entry: JobEntry) -> None:
        """Set the entry alone."""
        values = {
            name: int(getattr(entry, name))
            for name in ("enabled", "epoch", "workers", "needed", "lanes", "base")
        }
        packed = (
            training_job_layout(self.config)
            .const(values | {"mask": entry.size - 1})
            .as_value()
            .value
        )
        self.entries[job] = entry
        self.port("job_write__enable").value = 1
        self.port("job_write__job").value = job
        self.port("job_write__entry").value = packed
        await FallingEdge(self.dut.aclk)
        # The edge before took it, in the cycle before this one.
        self.configured.append((timing.cycle() - 1, job, entry))
        self.port("job_write__enable").value = 0

    async def flush(self, job: int) -> None:
        """Flush a job's slots, to the end."""
        self.flush_job = job
        self.port("flush_job").value = job
        self.port("flush").value = 1
        await FallingEdge(self.dut.aclk)
        self.port("flush").value = 0
        await timing.until(
            self.dut.aclk, lambda: not self.port("flushing").value, "the flush to end"
        )
        self.coverage.hit("flush")

    async def change(self, traffic: Traffic) -> None:
        """Stop a job, flush, raise its epoch and enable it, as a driver does."""
        job = traffic.raise_epoch()
        await self.set_entry(job, replace(self.entries[job], enabled=False))
        await self.flush(job)
        self.coverage.hit("epoch change with packets in flight", self.frames)
        await self.configure(job, traffic.jobs[job])

    def send(self, frame: bytes) -> None:
        fault = verdict(frame, self.config)
        if isinstance(fault, Packet):
            self.frames.append(frame)
        else:
            self.expected_faults.append(fault)
        self.source.send(*beats(frame, self.rng))

    async def _watch_faults(self) -> None:
        names = [*(fault.name for fault in PacketFault), "JOB"]
        while True:
            await FallingEdge(self.dut.aclk)
            if not (self.watching and self.port("fault").value):
                continue
            assert self.expected_faults, "a fault that no frame has"
            seen, expected = int(self.port("fault_code").value), self.expected_faults.popleft()
            assert seen == expected, f"fault {names[seen]}, not {names[expected]}"
            self.coverage.hit(names[seen])

    def _value(self, member: str):
        return self.layouts[member].from_bits(int(self.port(member).value))

    async def _follow(self) -> None:
        while True:
            await FallingEdge(self.dut.aclk)
            if self.watching and self.port("event_strobe").value:
                self._compare(self._value("event"), self._value("event_record"))

    def _compare(self, event, record) -> None:
        """An event and the slot's record against the golden switch's."""
        golden, coverage, now = self.golden, self.coverage, timing.cycle()
        while self.configured and self.configured[0][0] < now - Scheduler.latency + 1:
            golden.configure(*self.configured.popleft()[1:])
        before = replace(golden.records[event.slot])
        if event.scan:
            leaving = golden.scan(event.slot, self.flush_job if event.flush else None)
        else:
            assert self.frames, "an event without a frame"
            frame = self.frames.popleft()
            leaving = golden.receive(frame)
        self.events += 1
        seen = (bool(event.scan), event.slot, Outcome(event.outcome).name)
        expected = golden.event
        wanted = (expected.scan, expected.slot, expected.outcome.name)
        context = f"event {self.events} of {golden.settings}, slot was {before}"
        assert seen == wanted, f"{seen}, not {wanted}: {context}"
        if expected.outcome is not Outcome.IDLE:
            assert event.job == expected.job, f"job {event.job}, not {expected.job}: {context}"
        after = golden.records[event.slot]
        told = {"state": record.status.state}
        known = {"state": int(after.state)}
        if after.state is not SlotState.EMPTY:
            for part in (record.key, record.status):
                for field in part.shape().members:
                    told[field] = part[field]
                    known[field] = int(getattr(after, field))
        assert told == known, f"record {told}, not {known} behind {wanted}: {context}"
        for packet in leaving:
            self.rows.extend(rows_of(packet))

        coverage.hit(expected.outcome.name)
        coverage.hit("look between packets", event.scan and self.frames)
        coverage.hit("flush that evicts", event.flush and expected.outcome is Outcome.EVICTED)
        entry = golden.jobs.get(expected.job, JobEntry())
        completes = expected.outcome is Outcome.COMPLETED
        coverage.hit("one worker", completes and entry.workers == 1)
        coverage.hit("quorum completes", completes and entry.needed < entry.workers)
        wraps = not event.scan and before.seq >> 31 and not after.seq >> 31
        coverage.hit("seq wraps in a slot", wraps and after.state is not SlotState.EMPTY)
        coverage.hit("priority 0 by decay", before.priority and not after.priority)
        preempts = expected.outcome is Outcome.PREEMPTED
        coverage.hit("preemption of a preemption", preempts and event.slot in self.preempted)
        if not event.scan:
            self.preempted = {event.slot} if preempts else set()
        coverage.hit("operations 4 cycles apart", now - self.last_event == Scheduler.spacing)
        self.last_event = now

    def check_rows(self) -> None:
        """What left so far against what was to leave."""
        while self.sink.items:
            assert self.rows, "a row that nobody expects"
            expected, first, last = self.rows.popleft()
            seen = egress_layout.from_bits(self.sink.items.popleft())
            row = seen.data.to_bytes(ROW_BYTES, "little")[: len(expected)]
            assert (row, bool(seen.first), bool(seen.last)) == (expected, first, last), (
                f"row {self.compared}: {row.hex()}, not {expected.hex()}"
            )
            self.compared += 1

    async def end(self) -> None:
        """Everything has left, and every counter is right."""
        self.sink.stalls = 0.0
        await self.source.drained()
        await self.cycles(12)  # what the parser still judges
        await timing.until(self.dut.aclk, lambda: self.port("idle").value, "the core to be idle")
        await self.cycles(2)
        self.check_rows()
        assert not self.frames, f"{len(self.frames)} packets without an event"
        assert not self.expected_faults, f"{len(self.expected_faults)} faults not told"
        assert not self.rows, f"{len(self.rows)} rows are missing"

    async def check_counters(self) -> None:
        """All counters of all jobs."""
        await self.cycles(4)
        for job in range(self.config.jobs):
            for outcome in COUNTED_OUTCOMES:
                self.port("counter_job").value = job
                self.port("counter_outcome").value = outcome
                await self.cycles(3)
                seen = int(self.port("counter_value").value)
                known = self.golden.counters[job, outcome]
                assert seen == known, f"{outcome.name} of job {job}: {seen}, not {known}"


async def episode(bench: Bench, traffic: Traffic, packets: int) -> None:
    """Packets, now and then a change of a job, at a random pace."""
    rng, coverage = bench.rng, bench.coverage
    coverage.hit(traffic.settings.policy.name)
    bench.source.gaps = rng.choice((0.0, 0.0, 0.3))
    bench.sink.stalls = rng.choice((0.0, 0.0, 0.5, 0.9))
    await bench.begin(traffic, rng.choice((0, 5, 23)))
    held = bench.contract.held
    changes = {rng.randrange(packets) for _ in range(rng.randint(0, 2))}
    for number in range(packets):
        bench.send(traffic.frame())
        if number in changes:
            await bench.change(traffic)
        elif rng.random() < 0.02:
            await bench.flush(rng.choice(list(traffic.jobs)))
        while len(bench.frames) > 8:
            await bench.cycles(1)
            bench.check_rows()
    await bench.end()
    coverage.hit("output held up", bench.contract.held > held)


@cocotb.test(timeout_time=40, timeout_unit="ms")
async def random_episodes(dut):
    """Any policy, any packets, any pace."""
    rng = timing.generator()
    await timing.start(dut)
    coverage = Coverage(BINS)
    config = CORES[os.environ["CORE"]]
    episodes, packets = int(os.environ["EPISODES"]), int(os.environ["PACKETS"])
    bench = Bench(dut, config, rng, coverage)
    for number in range(episodes):
        policy = list(Policy)[number % len(Policy)]
        await episode(bench, Traffic(config, rng, policy), packets)
        if number % 25 == 24:
            await bench.check_counters()
    cocotb.log.info("%d events, %d rows", bench.events, bench.compared)
    assert bench.events > episodes * packets // 2
    assert bench.compared
    if os.environ["CORE"] == "few":
        coverage.check()

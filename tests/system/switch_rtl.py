"""The RTL switch with the golden switch's interface; and both in lockstep."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass, field, replace

from drivers.simulated.board import SimulatedBoard
from drivers.simulated.memory import INFINITE
from eyas.interfaces.switch.config import WORD_BYTES, SwitchConfig
from eyas.interfaces.switch.packet import HEADER_BYTES, PACKET, Lanes
from eyas.interfaces.switch.states import COUNTED_OUTCOMES, Outcome, SlotState
from hdl.parts.flat import flat_verilog
from models.switch.golden import Event, GoldenSwitch, SwitchSettings
from models.switch.records import JobEntry, SlotRecord
from tests.system.switch_port import (
    EVENT_WORDS,
    PORT_REGISTERS,
    ROW_WORDS,
    SwitchPort,
    told_layout,
)

__all__ = ["Lockstep", "RtlSwitch", "switch_board"]

_REGISTERS = PORT_REGISTERS
_PATIENCE = 2000
"""Looks at the state until something must have happened."""


def switch_board(config: SwitchConfig) -> SimulatedBoard:
    """A board that carries a core; one serves many switches, one after the other."""
    return SimulatedBoard(
        flat_verilog(SwitchPort(config), "switch_port"), top="switch_port", memory=INFINITE
    )


def _sealed(rows: bytes) -> bytes:
    """The packet in the rows that left the core, which leaves the checksum to the framer."""
    packet = bytearray(rows[: HEADER_BYTES + PACKET.unpack_bytes(rows)["length"]])
    place = PACKET.offsets["checksum"] // 8
    assert packet[place : place + 4] == bytes(4), "the core filled the checksum in"
    packet[place : place + 4] = zlib.crc32(packet).to_bytes(4, "little")
    return bytes(packet)


@dataclass
class RtlSwitch:
    """A switch of Verilated RTL: frames in, packets out, as :class:`GoldenSwitch`.

    Looks are the hardware's, in slot order: :meth:`scan` makes as many as bring it to its slot.

    Attributes
    ----------
    board : SimulatedBoard
        From :func:`switch_board`, of this configuration; it is reset.
    told : list of (Event, bool, SlotRecord)
        For each event of the last call: whether it was of a flush, and the record behind it.
    records : list of SlotRecord
        As events told them.
    faults : int
        Frames that were no packets.
    """

    board: SimulatedBoard
    config: SwitchConfig
    settings: SwitchSettings = field(default_factory=SwitchSettings)
    jobs: dict[int, JobEntry] = field(default_factory=dict)
    told: list[tuple[Event, bool, SlotRecord]] = field(default_factory=list)
    faults: int = 0

    def __post_init__(self) -> None:
        self._told_layout = told_layout(self.config)
        self.records = [SlotRecord() for _ in range(self.config.slots)]
        self.board.reset()
        self._wait("slots and counters to be cleared", ready=1, clearing=0)
        settings = self.settings
        log2 = settings.slots_log2
        self._write(
            "policy",
            policy=settings.policy,
            slots_log2=self.config.slots.bit_length() - 1 if log2 is None else log2,
            decay_after=settings.decay_after,
            age_limit=settings.age_limit,
        )
        self._write("salt", salt=settings.salt)
        for job in range(self.config.jobs):
            self.configure(job, self.jobs.get(job, JobEntry()))

    @property
    def event(self) -> Event | None:
        """Of the last frame or look; None where a frame was no packet."""
        return self.told[-1][0] if self.told else None

    @property
    def counters(self) -> Counter[tuple[int, Outcome]]:
        """All counters, read from the hardware."""
        found: Counter[tuple[int, Outcome]] = Counter()
        for job in range(self.config.jobs):
            self._write("job", job=job)
            for outcome in COUNTED_OUTCOMES:
                self._write("outcome", outcome=outcome)
                if value := self._read("count")["value"]:
                    found[job, outcome] = value
        return found

    def configure(self, job: int, entry: JobEntry) -> None:
        """Set an entry of the job table."""
        self.jobs[job] = entry
        table = bytes(entry.table)
        for number in range(4):
            word = int.from_bytes(table[4 * number : 4 * number + 4], "little")
            self._write(f"table{number}", value=word)
        self._write("job", job=job)
        self._write("own", base=entry.base, mask=entry.size - 1)
        self._write(
            "entry",
            enabled=entry.enabled,
            lanes=entry.lanes,
            workers=entry.workers,
            needed=entry.needed,
            epoch=entry.epoch,
        )
        self._write("command", configure=1)

    def receive(self, frame: bytes) -> list[bytes]:
        """Work on a frame; at most one packet leaves."""
        for start in range(0, len(frame), WORD_BYTES):
            beat = frame[start : start + WORD_BYTES]
            self._write("beat0", value=int.from_bytes(beat[:4], "little"))
            self._write("beat1", value=int.from_bytes(beat[4:], "little"))
            self._write("frame", bytes=len(beat), last=start + WORD_BYTES >= len(frame))
        self.told = []
        for _ in range(_PATIENCE):
            state = self._read("state")
            if state["event"] or state["faults"] != self.faults & 0xFFFF:
                self.faults += not state["event"]
                return self._finish()
        raise AssertionError(f"no event and no fault for a frame of {len(frame)} bytes")

    def scan(self, slot: int) -> list[bytes]:
        """Look at slots until this one was looked at."""
        told: list[tuple[Event, bool, SlotRecord]] = []
        leaving: list[bytes] = []
        while not told or told[-1][0].slot != slot:
            self._write("command", look=1)
            self.told = []
            self._wait("a look", event=1)
            leaving += self._finish()
            told += self.told
            if len(told) > self.config.slots:
                raise AssertionError(f"slot {slot} is not looked at")
        self.told = told
        return leaving

    def flush(self, job: int) -> list[bytes]:
        """Empty a job's slots."""
        self._write("job", job=job)
        self._write("command", flush=1)
        self.told = []
        self._wait("the flush", flushing=0)
        return self._finish()

    def _write(self, register: str, **values: int) -> None:
        described = _REGISTERS[register]
        self.board.write_register(described.offset, described.pack(values))

    def _read(self, register: str) -> dict[str, int]:
        described = _REGISTERS[register]
        return described.unpack(self.board.read_register(described.offset))

    def _wait(self, what: str, **wanted: int) -> dict[str, int]:
        for _ in range(_PATIENCE):
            state = self._read("state")
            if all(state[name] == value for name, value in wanted.items()):
                return state
        raise AssertionError(f"waited for {what}: {state}")

    def _finish(self) -> list[bytes]:
        """When all is done: note the events, return the packets that left."""
        state = self._wait("the core to be idle", idle=1)
        while state["event"]:
            self.told.append(self._event())
            self._write("command", take_event=1)
            state = self._read("state")
        for event, _, record in self.told:
            self.records[event.slot] = record
        packets, rows = [], b""
        while state["row"]:
            rows += self._words("row", ROW_WORDS)
            if state["last"]:
                packets.append(_sealed(rows))
                rows = b""
            self._write("command", take_row=1)
            state = self._read("state")
        assert not rows, "a packet without a last row"
        return packets

    def _words(self, name: str, count: int) -> bytes:
        return b"".join(
            self.board.read_register(_REGISTERS[f"{name}{i}"].offset).to_bytes(4, "little")
            for i in range(count)
        )

    def _event(self) -> tuple[Event, bool, SlotRecord]:
        bits = int.from_bytes(self._words("event", EVENT_WORDS), "little")
        told = self._told_layout.from_bits(bits & (1 << self._told_layout.size) - 1)
        event, key, status = told.event, told.record.key, told.record.status
        record = SlotRecord(
            SlotState(status.state), key.job, key.epoch, key.seq, status.priority, status.bitmap,
            status.count, status.age, status.collisions, Lanes(key.lanes), key.coordinates,
        )  # fmt: skip
        outcome = Outcome(event.outcome)
        return Event(bool(event.scan), event.slot, event.job, outcome), bool(event.flush), record


class Lockstep:
    """A switch that is both, and fails where they differ.

    Attributes
    ----------
    rtl : RtlSwitch
    golden : GoldenSwitch
    events : int
        Compared so far, with the slot's record behind each.
    """

    def __init__(
        self, board: SimulatedBoard, config: SwitchConfig, settings: SwitchSettings
    ) -> None:
        self.rtl = RtlSwitch(board, config, settings)
        self.golden = GoldenSwitch(config, settings)
        self.events = 0

    @property
    def counters(self) -> Counter[tuple[int, Outcome]]:
        """The golden switch's; those of the hardware are compared with them."""
        assert self.rtl.counters == self.golden.counters, "counters differ"
        return self.golden.counters

    def configure(self, job: int, entry: JobEntry) -> None:
        """Set an entry of both job tables."""
        self.rtl.configure(job, entry)
        self.golden.configure(job, entry)

    def receive(self, frame: bytes) -> list[bytes]:
        """Work on a frame."""
        leaving, expected = self.rtl.receive(frame), self.golden.receive(frame)
        assert len(self.rtl.told) == (self.golden.event is not None), "events differ in number"
        for event, _, record in self.rtl.told:
            self._compare(event, record)
        return self._same(leaving, expected)

    def scan(self, slot: int) -> list[bytes]:
        """Look at slots until this one was looked at."""
        return self._looks(self.rtl.scan(slot), None)

    def flush(self, job: int) -> list[bytes]:
        """Empty a job's slots."""
        leaving = self._looks(self.rtl.flush(job), job)
        slots = [event.slot for event, _, _ in self.rtl.told]
        assert slots == list(range(self.golden.config.slots)), f"a flush looked at {slots}"
        return leaving

    def _looks(self, leaving: list[bytes], flush: int | None) -> list[bytes]:
        expected: list[bytes] = []
        for event, of_flush, record in self.rtl.told:
            assert (event.scan, of_flush) == (True, flush is not None), f"{event} is no look"
            expected += self.golden.scan(event.slot, flush)
            self._compare(event, record)
        return self._same(leaving, expected)

    def _compare(self, event: Event, record: SlotRecord) -> None:
        self.events += 1
        expected = self.golden.event
        assert expected is not None
        if expected.outcome is Outcome.IDLE:  # the job of an empty slot means nothing
            event = replace(event, job=expected.job)
        assert event == expected, f"{event}, not {expected}"
        known = self.golden.records[event.slot]
        if known.state is SlotState.EMPTY:
            assert record.state is SlotState.EMPTY, f"{record} behind {event}"
        else:
            assert record == known, f"{record}, not {known} behind {event}"

    def _same(self, leaving: list[bytes], expected: list[bytes]) -> list[bytes]:
        assert leaving == expected, f"{leaving}, not {expected} left"
        return leaving

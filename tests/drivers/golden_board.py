"""A board whose switch overlay is played: the golden switch behind the registers and rings.

It keeps to :mod:`eyas.interfaces.switch.registers`, knows no cycles, and is as fast as Python: for
tests of the driver alone, and to tell its cost from the hardware's.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from drivers.board import Board, Buffer
from drivers.errors import BoardTimeout, RegisterError
from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.packet import Lanes, PacketFault
from eyas.interfaces.switch.registers import (
    DESCRIPTOR_BYTES,
    EGRESS_STRIDE,
    FAULT_COUNTERS,
    INGRESS_DESCRIPTOR,
    MAX_FRAME_BYTES,
    RING_LOG2,
    SWITCH_REGISTERS,
    SwitchCode,
    SwitchPlace,
)
from eyas.interfaces.switch.states import Outcome, Policy
from models.switch.golden import GoldenSwitch, SwitchSettings
from models.switch.records import JobEntry

STEP_CYCLES = 100
_FAULT_KEYS: tuple[PacketFault | str, ...] = (*PacketFault, "JOB")


class PlayedBuffer(Buffer):
    """Memory behind caches: ``array`` is a copy until flushed or invalidated."""

    def __init__(self, memory: np.ndarray, address: int, board: GoldenBoard) -> None:
        super().__init__(memory.copy(), address)
        self.memory = memory
        self._board = board

    def flush(self) -> None:
        self.memory[...] = self.array

    def invalidate(self) -> None:
        self.array[...] = self.memory

    def _free(self) -> None:
        del self._board.buffers[self.address]


class GoldenBoard(Board):
    """The switch overlay, played.

    Parameters
    ----------
    config : SwitchConfig
        What the overlay claims to be.
    pace : int
        Frames, packets and looks at slots worked on in a step; a register access is a step.
    address : int
        Where the first buffer lies.
    identity : int or None
        Another overlay's identity.
    """

    clock_hz = 100e6

    def __init__(
        self,
        config: SwitchConfig,
        *,
        pace: int = 1000,
        address: int = 0x1000_0000,
        identity: int | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.pace = pace
        self.buffers: dict[int, PlayedBuffer] = {}
        self.accesses: list[tuple[str, str, int]] = []
        self.lose_interrupts = False
        self.bad: dict[int, int] = {}  # byte addresses that answer with an error, and its code
        self._next = address
        self._identity = identity
        self._reset()

    # What every board does.

    def _reset(self) -> None:
        self._values = {register.name: register.reset for register in SWITCH_REGISTERS.registers}
        if self._identity is not None:
            self._values["identity"] = self._identity
        config = self.config
        self._set("shape", slots=config.slots, slot_bytes=config.slot_bytes)
        self._set("depths", **{n: getattr(config, n) for n in ("ingress_beats", "egress_rows")},
                  jobs=config.jobs)  # fmt: skip
        self.switch = GoldenSwitch(config)
        self.leaving: deque[bytes] = deque()
        self._running = False
        self._ingress = self._doorbell = self._egress = self._acknowledged = 0
        self._flush: tuple[int, int] | None = None  # job and next slot
        self._was_idle = True
        self._waited = 0

    def _read_register(self, offset: int) -> int:
        name = self._name("read", offset)
        self._step()
        value = self._value(name)
        self.accesses.append(("read", name, value))
        return value

    def _write_register(self, offset: int, value: int) -> None:
        name = self._name("write", offset)
        self.accesses.append(("write", name, value))
        fields = SWITCH_REGISTERS[name].unpack(value)
        handler = getattr(self, f"_{name}_written", None)
        if handler is not None:
            handler(**fields)
        elif name == "interrupt_status":
            self._values[name] &= ~value
        else:
            self._values[name] = value
        if name in ("policy", "scan"):
            policy, scan = (SWITCH_REGISTERS[n].unpack(self._values[n]) for n in ("policy", "scan"))
            self.switch.settings = SwitchSettings(
                Policy(policy["policy"]), policy["decay_after"], policy["slots_log2"],
                scan["salt"], policy["age_limit"],
            )  # fmt: skip
        self._step()

    def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> PlayedBuffer:
        buffer = PlayedBuffer(np.zeros(shape, dtype), self._next, self)
        self.buffers[self._next] = buffer
        self._next += -(-buffer.nbytes // 4096) * 4096
        return buffer

    def _wait_interrupt(self, timeout_s: float, waiting_for: str) -> None:
        for _ in range(max(1, round(timeout_s * self.clock_hz / STEP_CYCLES))):
            if self._causes() and not self.lose_interrupts:
                return
            self._step()
        raise BoardTimeout(waiting_for, timeout_s)

    def _close(self) -> None:
        pass

    # As on a simulated board.

    def inject_read_error(self, address: int, size: int, *, decode: bool = False) -> None:
        """Answer reads from ``address`` on, the first byte of what is read, with an error."""
        self.bad[address] = SwitchCode.BUS_DECODE if decode else SwitchCode.BUS_SLAVE

    def inject_write_error(self, address: int, size: int, *, decode: bool = False) -> None:
        """Answer writes from ``address`` on, the first byte of what is written, with an error."""
        self.inject_read_error(address, size, decode=decode)

    def clear_faults(self) -> None:
        """Take injected errors back."""
        self.bad.clear()

    # Registers.

    @staticmethod
    def _name(action: str, offset: int) -> str:
        for register in SWITCH_REGISTERS.registers:
            if register.offset == offset:
                return register.name
        raise RegisterError(action, offset, "DECERR")

    def _set(self, name: str, **fields: int) -> None:
        self._values[name] = SWITCH_REGISTERS[name].pack(fields)

    def _get(self, name: str) -> dict[str, int]:
        return SWITCH_REGISTERS[name].unpack(self._values[name])

    def _value(self, name: str) -> int:
        register = SWITCH_REGISTERS[name]
        if name == "status":
            return register.pack(
                idle=self._idle(), running=self._running, full=bool(self.leaving) and self._full()
            )
        if name == "ingress":
            return register.pack(consumer=self._ingress, producer=self._doorbell)
        if name == "egress":
            return register.pack(producer=self._egress, consumer=self._acknowledged)
        if name == "jobs_enabled":
            return sum(entry.enabled << job for job, entry in self.switch.jobs.items())
        if name == "job_status":
            return self._values[name] | (self._flush is not None)
        if name == "outcome_count":
            chosen = self._get("outcome_select")
            return self.switch.counters[chosen["job"], Outcome(chosen["outcome"])]
        if name in FAULT_COUNTERS:
            return self.switch.faults[_FAULT_KEYS[FAULT_COUNTERS.index(name)]]
        return self._values[name]

    def _causes(self) -> int:
        return self._values["interrupt_status"] & self._values["interrupt_enable"]

    def _control_written(
        self, clear_error: int, clear_counters: int, start: int, stop: int, abort: int
    ) -> None:
        if clear_error:
            self._values |= {"error": 0, "error_address": 0}
        if clear_counters:
            self.switch.counters.clear()
            self.switch.faults.clear()
            for name in ("frames_in", "packets_out", "packets_lost", "errors"):
                self._values[name] = 0
        if stop or abort:
            self._running = False
        if abort:
            self.leaving.clear()
        if start:
            self._start()

    def _start(self) -> None:
        bases = [self._values[n] for n in ("ingress_base", "egress_base", "window_base")]
        sizes = self._get("ring_sizes").values()
        code = SwitchCode.NONE
        if self._running or not self._idle():
            code = SwitchCode.RINGS_RUNNING
        elif any(base % 8 for base in bases):
            code = SwitchCode.RING_MISALIGNED
        elif any(not RING_LOG2[0] <= log2 <= RING_LOG2[1] for log2 in sizes):
            code = SwitchCode.RING_SIZE
        if code:
            self._fail(code, SwitchPlace.RINGS, 0, 0)
            return
        self._running = True
        self._ingress = self._doorbell = self._egress = self._acknowledged = 0

    def _ingress_doorbell_written(self, producer: int) -> None:
        ahead, posted = producer - self._ingress & 0xFFFF, self._doorbell - self._ingress & 0xFFFF
        if ahead > 1 << self._get("ring_sizes")["ingress_log2"] or ahead < posted:
            self._fail(SwitchCode.RING_OVERRUN, SwitchPlace.RINGS, producer, 0)
        else:
            self._doorbell = producer

    def _egress_acknowledge_written(self, consumer: int) -> None:
        left = self._egress - self._acknowledged & 0xFFFF
        if consumer - self._acknowledged & 0xFFFF > left:
            self._fail(SwitchCode.RING_OVERRUN, SwitchPlace.RINGS, consumer, 0)
        else:
            self._acknowledged = consumer
            self._waited = 0

    def _job_command_written(self, enable: int, disable: int, flush: int) -> None:
        job = self._get("job_select")["job"]
        setup, part = self._get("job_setup"), self._get("job_partition")
        entry = self.switch.jobs.get(job, JobEntry())
        code = SwitchCode.NONE
        if self._flush is not None:
            code = SwitchCode.JOB_BUSY
        elif job >= self.config.jobs:
            code = SwitchCode.WRONG_JOB
        elif disable:
            if entry.enabled:
                self.switch.configure(job, JobEntry(**(entry.__dict__ | {"enabled": False})))
            else:
                code = SwitchCode.JOB_DISABLED
        elif entry.enabled:
            code = SwitchCode.JOB_ENABLED
        elif flush:
            self._flush = job, 0
        elif enable:
            if not 1 <= setup["workers"] <= 32:
                code = SwitchCode.WRONG_WORKERS
            elif not 1 <= setup["needed"] <= setup["workers"]:
                code = SwitchCode.WRONG_QUORUM
            elif setup["lanes"] > max(Lanes):
                code = SwitchCode.WRONG_LANES
            else:
                words = (self._values[f"table{i}"].to_bytes(4, "little") for i in range(4))
                self.switch.configure(job, JobEntry(
                    True, setup["epoch"], setup["workers"], setup["needed"], Lanes(setup["lanes"]),
                    tuple(b"".join(words)), part["base"], part["mask"] + 1,
                ))  # fmt: skip
        self._set("job_status", code=code)

    # Work.

    def _idle(self) -> bool:
        waits = self._running and self._ingress != self._doorbell
        return not (waits or self.leaving or self._flush is not None)

    def _full(self) -> bool:
        size = 1 << self._get("ring_sizes")["egress_log2"]
        return self._egress - self._acknowledged & 0xFFFF >= size

    def _fail(self, code: SwitchCode, place: SwitchPlace, index: int, address: int) -> None:
        if not self._values["error"]:
            self._set("error", code=code, place=place, index=index)
            self._set("error_address", address=address)
        self._values["errors"] += 1
        self._values["interrupt_status"] |= SWITCH_REGISTERS["interrupt_status"].pack(error=1)

    def _step(self) -> None:
        for _ in range(self.pace):
            if not self._work():
                break
        status = SWITCH_REGISTERS["interrupt_status"]
        waiting = self._egress - self._acknowledged & 0xFFFF
        moderation = self._get("moderation")
        self._waited += STEP_CYCLES if waiting else 0
        if waiting >= max(1, moderation["count"]) or (
            waiting and self._waited > moderation["cycles"]
        ):
            self._values["interrupt_status"] |= status.pack(packets=1)
        if self._idle() and not self._was_idle:
            self._values["interrupt_status"] |= status.pack(drained=1)
        self._was_idle = self._idle()

    def _work(self) -> bool:
        """The next frame, packet or look; False when there is nothing to do."""
        if self.leaving:
            if self._full():
                return False
            self._leave(self.leaving.popleft())
        elif self._flush is not None:
            job, slot = self._flush
            self.leaving += self.switch.scan(slot, job)
            self._flush = (job, slot + 1) if slot + 1 < self.config.slots else None
        elif self._running and self._ingress != self._doorbell:
            self._was_idle = False
            index, self._ingress = self._ingress, self._ingress + 1 & 0xFFFF
            frame = self._fetch(index)
            if frame is not None:
                self._values["frames_in"] += 1
                self.leaving += self.switch.receive(frame)
        else:
            return False
        return True

    def _fetch(self, index: int) -> bytes | None:
        entry = index % (1 << self._get("ring_sizes")["ingress_log2"])
        place = self._values["ingress_base"] + DESCRIPTOR_BYTES * entry
        word = self._memory(place, DESCRIPTOR_BYTES)
        if self.bad.get(place):
            self._values["packets_lost"] += 1
            self._fail(SwitchCode(self.bad[place]), SwitchPlace.DESCRIPTORS, index, place)
            return None
        fields = INGRESS_DESCRIPTOR.unpack_bytes(word.tobytes())
        address, size = fields["address"], fields["size"]
        code = SwitchCode.NONE
        if address % 8:
            code = SwitchCode.MISALIGNED
        elif not 1 <= size <= MAX_FRAME_BYTES:
            code = SwitchCode.WRONG_SIZE
        elif not (
            self._values["window_base"] <= address and address + size <= self._values["window_end"]
        ):
            code = SwitchCode.DESCRIPTOR_OUTSIDE
        if code:
            self._fail(code, SwitchPlace.DESCRIPTORS, index, address)
            return None
        if self.bad.get(address):
            self._values["packets_lost"] += 1
            self._fail(SwitchCode(self.bad[address]), SwitchPlace.FRAMES, index, address)
            return None
        return self._memory(address, size).tobytes()

    def _leave(self, packet: bytes) -> None:
        entry = self._egress % (1 << self._get("ring_sizes")["egress_log2"])
        place = self._values["egress_base"] + EGRESS_STRIDE * entry
        if self.bad.get(place):
            self._values["packets_lost"] += 1
            self._fail(SwitchCode(self.bad[place]), SwitchPlace.PACKETS, self._egress, place)
            self._egress = self._egress + 1 & 0xFFFF
            return
        padded = packet + bytes(-len(packet) % 8)
        self._memory(place, len(padded))[:] = np.frombuffer(padded, np.uint8)
        self._egress = self._egress + 1 & 0xFFFF
        self._values["packets_out"] += 1

    def _memory(self, address: int, size: int) -> np.ndarray:
        for start, buffer in self.buffers.items():
            if start <= address and address + size <= start + buffer.memory.nbytes:
                return buffer.memory.reshape(-1).view(np.uint8)[address - start :][:size]
        raise AssertionError(f"The driver named {size} bytes at {address:#x}, which it has not")

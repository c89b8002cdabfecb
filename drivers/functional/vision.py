"""The vision overlay as a functional board: its answers and registers, without RTL."""

from __future__ import annotations

from typing import Any

import numpy as np

from drivers.allocator import ALIGNMENT, Allocator
from drivers.board import Board, Buffer
from drivers.errors import BoardTimeout, RegisterError
from drivers.functional.cycles import LayerCycles
from drivers.functional.dram import MEMORY_BASE, Dram
from drivers.functional.jobs import Ended, Jobs
from eyas.interfaces.fields import Access, Role
from eyas.interfaces.vision.config import DEFAULT_VISION, VisionConfig
from eyas.interfaces.vision.records import ErrorCode, Place
from eyas.interfaces.vision.registers import VISION_REGISTERS

__all__ = ["FunctionalBoard", "functional_board"]

BY_OFFSET = {item.offset: item for item in VISION_REGISTERS.registers}


class FunctionalBuffer(Buffer):
    """Memory of a functional board: ``array`` is what the overlay sees; there are no caches."""

    def __init__(self, array: np.ndarray[Any, Any], address: int, allocator: Allocator) -> None:
        super().__init__(array, address)
        self._allocator = allocator

    def flush(self) -> None:
        pass

    def invalidate(self) -> None:
        pass

    def _free(self) -> None:
        self._allocator.free(self.address)


class FunctionalBoard(Board):
    """A board that computes what the vision overlay computes, bit for bit, with NumPy.

    It interprets the program's instructions: outputs, maps, records, refusals, the core's cycles
    and those of each layer are the RTL's.  A job runs whole inside the write to the doorbell, so
    that the queue is always empty, unless a program has no end.

    Estimates are a record's ``job_cycles`` and the counters ``busy_cycles``, ``input_wait_cycles``,
    ``read_wait_cycles`` and ``write_wait_cycles`` (both 0), and the beats of jobs that fail.

    Parameters
    ----------
    config : VisionConfig
        The array.
    dram_bytes : int
        Size of the memory, from MEMORY_BASE on; pages never touched cost nothing.
    clock_hz : float
        Clock by which cycles are told as time.

    Attributes
    ----------
    description : str
        What computes, in a few words.
    """

    description = "functional board: NumPy; the core's cycles as in RTL, those around it estimated"

    def __init__(
        self,
        config: VisionConfig = DEFAULT_VISION,
        *,
        dram_bytes: int = 64 << 20,
        clock_hz: float = 100e6,
    ) -> None:
        super().__init__()
        if dram_bytes < ALIGNMENT or dram_bytes % ALIGNMENT or dram_bytes > 0xF000_0000:
            raise ValueError(
                f"dram_bytes must be a multiple of {ALIGNMENT} up to 0xf0000000, not {dram_bytes}"
            )
        if not clock_hz > 0:
            raise ValueError(f"A clock must have a positive frequency, not {clock_hz}")
        self.config = config
        self.clock_hz = clock_hz
        self._dram = Dram(dram_bytes)
        self._allocator = Allocator(MEMORY_BASE, dram_bytes)
        self._reset()

    # What every board does.

    def _read_register(self, offset: int) -> int:
        register = BY_OFFSET.get(offset)
        if register is None:
            raise RegisterError("read", offset, "SLVERR")
        if register.access is Access.W:
            return 0
        if register.role is Role.CONFIGURATION:
            return register.pack({name: getattr(self.config, name) for name in register.by_name})
        if register.name == "status":
            slots = sum(1 << slot for slot in self._jobs.slots)
            return register.pack(idle=not self._stuck, queued=len(self._stuck[1:]), slots=slots)
        if register.name.startswith("layer_") and register.role is Role.COUNTER:
            layer = self._values["layer_select"]
            name = register.name.removeprefix("layer_").removesuffix("_cycles")
            counters = self._jobs.layers.get(layer, LayerCycles(0, 0, 0, 0))
            return int(getattr(counters, name))
        return self._values[register.name]

    def _write_register(self, offset: int, value: int) -> None:
        register = BY_OFFSET.get(offset)
        if register is None:
            raise RegisterError("write", offset, "SLVERR")
        if register.name == "doorbell":
            self._ring(value)
        elif register.name == "control":
            self._control(**register.unpack(value))
        elif register.access is Access.RW1C:
            self._values[register.name] &= ~value
        elif register.access is Access.RW:
            # Bits outside every field read as 0.
            self._values[register.name] = register.pack(register.unpack(value))

    def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> FunctionalBuffer:
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        address = self._allocator.allocate(size)
        start = address - MEMORY_BASE
        memory = self._dram.data[start : start + size]
        memory[:] = 0
        return FunctionalBuffer(memory.view(dtype).reshape(shape), address, self._allocator)

    def _wait_interrupt(self, timeout_s: float, waiting_for: str) -> None:
        if not self._values["interrupt_status"] & self._values["interrupt_enable"]:
            raise BoardTimeout(waiting_for, timeout_s, "nothing runs that could bring it")

    def _reset(self) -> None:
        self._values = {item.name: item.reset for item in VISION_REGISTERS.registers}
        self._jobs = Jobs(self.config, self._dram)
        self._stuck: list[Ended] = []

    def _close(self) -> None:
        pass

    # What only a played board offers.

    def inject_read_error(self, address: int, size: int, *, decode: bool = False) -> None:
        """Answer reads of these bytes with SLVERR, or with DECERR."""
        self._inject(False, address, size, decode)

    def inject_write_error(self, address: int, size: int, *, decode: bool = False) -> None:
        """Answer writes of these bytes with SLVERR, or with DECERR, and store nothing there."""
        self._inject(True, address, size, decode)

    def clear_faults(self) -> None:
        """Take every injected error back."""
        self._require_open("clear faults")
        self._dram.clear_faults()

    def _inject(self, write: bool, address: int, size: int, decode: bool) -> None:
        self._require_open("inject an error")
        if size < 1:
            raise ValueError(f"An error needs at least 1 byte to happen at, not {size}")
        self._dram.add_fault(write, address, size, decode)

    # Inside.

    def _ring(self, address: int) -> None:
        if address % 8:
            self._log(ErrorCode.MISALIGNED, Place.DOORBELL)
        elif not self._stuck:
            self._finish(self._jobs.execute(address))
        elif len(self._stuck) > self.config.queue_depth:
            self._log(ErrorCode.QUEUE_FULL, Place.DOORBELL)
        else:
            self._stuck.append(Ended())

    def _finish(self, ended: Ended) -> None:
        if ended.never:
            self._stuck.append(ended)
            return
        for name, more in (
            ("jobs_done", 1),
            ("busy_cycles", ended.job_cycles),
            ("core_cycles", ended.core_cycles),
            ("array_cycles", ended.array_cycles),
            ("input_wait_cycles", ended.input_cycles if ended.core_cycles else 0),
            ("read_beats", ended.read_beats),
            ("write_beats", ended.write_beats),
        ):
            self._values[name] = (self._values[name] + more) & 0xFFFF_FFFF
        if ended.interrupt and ended.code != ErrorCode.ABORTED:
            self._values["interrupt_status"] |= VISION_REGISTERS["interrupt_status"].pack(done=1)
        if ended.code != ErrorCode.NONE:
            self._log(ended.code, ended.place, ended.layer, ended.tag)

    def _log(self, code: ErrorCode, place: Place, layer: int = 0, tag: int = 0) -> None:
        """Keep the first error and count them all."""
        error = VISION_REGISTERS["error"]
        fields = error.unpack(self._values["error"])
        if not fields["count"]:
            fields = {"code": code, "place": place, "layer": layer, "count": 0}
            self._values["error_tag"] = tag
        fields["count"] = min(255, fields["count"] + 1)
        self._values["error"] = error.pack(fields)
        self._values["interrupt_status"] |= VISION_REGISTERS["interrupt_status"].pack(error=1)

    def _control(self, abort: int, clear_error: int, clear_counters: int) -> None:
        if clear_error:
            self._values["error"] = self._values["error_tag"] = 0
        if clear_counters:
            for name in VISION_REGISTERS.counters:
                self._values[name] = 0
        if abort and self._stuck:
            first, *queued = self._stuck
            self._stuck = []
            self._values["jobs_done"] += 1 + len(queued)
            self._log(ErrorCode.ABORTED, Place.COMPUTE, 0, first.tag)


def functional_board(config: VisionConfig = DEFAULT_VISION, **options: Any) -> FunctionalBoard:
    """Return a functional board that carries the vision overlay of ``config``.

    ``options`` are those of :class:`FunctionalBoard`.
    """
    return FunctionalBoard(config, **options)

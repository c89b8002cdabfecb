"""The core's part of :mod:`benchmarks.switch_beats`: frames in, 256-bit rows out, never waiting.

``beats_taken`` is cycles with valid and ready ÷ cycles with valid at the core's input, over 1,200
packets back to back, headers included, the first and the last packet left out.  What leaves is
checked against the golden switch: packets and rows.
"""

from __future__ import annotations

import numpy as np

from benchmarks.switch_meter import METER_REGISTERS, SwitchMeter
from benchmarks.switch_overlay_beats import CASES, Case
from drivers.simulated.board import SimulatedBoard
from drivers.simulated.memory import INFINITE
from eyas.interfaces.switch.config import DEFAULT_SWITCH, ROW_BYTES, SwitchConfig
from eyas.interfaces.switch.packet import Lanes
from hdl.parts.flat import flat_verilog
from models.switch.golden import GoldenSwitch, SwitchSettings
from models.switch.records import JobEntry

__all__ = ["core_beats", "latency_cycles", "meter_board"]

PACKETS = 1200


def meter_board(config: SwitchConfig = DEFAULT_SWITCH) -> SimulatedBoard:
    """A board that carries the meter."""
    verilog = flat_verilog(SwitchMeter(config), "switch_meter")
    return SimulatedBoard(verilog, top="switch_meter", memory=INFINITE)


def _read(board: SimulatedBoard, name: str) -> int:
    return board.read_register(METER_REGISTERS[name].offset)


def _write(board: SimulatedBoard, name: str, **fields: int) -> None:
    register = METER_REGISTERS[name]
    board.write_register(register.offset, register.pack(**fields))


def _run(board: SimulatedBoard, case: Case, config: SwitchConfig, packets: int) -> dict[str, int]:
    """Counts of one run, which the golden switch has seen as well."""
    slots_log2 = int(case.policy.get("slots", config.slots)).bit_length() - 1
    settings = SwitchSettings(case.policy["policy"], decay_after=0, slots_log2=slots_log2)
    golden = GoldenSwitch(config, settings)
    board.reset()
    while not _read(board, "ready"):
        pass
    _write(board, "setup", policy=case.policy["policy"], slots_log2=slots_log2)
    for job in range(case.jobs):
        _write(board, "job", job=job, workers=case.workers, lanes=case.lanes)
        entry = JobEntry(enabled=True, workers=case.workers, needed=case.workers, lanes=case.lanes)
        golden.configure(job, entry)
    frames = case.frames(config, packets)
    leaving = [packet for frame in frames for packet in golden.receive(frame)]
    everything = b"".join(frames)
    with board.allocate((len(everything),), np.uint8) as buffer:
        buffer.array[:] = np.frombuffer(everything, np.uint8)
        buffer.flush()
        _write(board, "source", value=buffer.address)
        _write(board, "beats", value=len(everything) // 8)
        _write(board, "packets", value=packets)
        _write(board, "command", start=1)
        board.wait_interrupt(10 * len(everything) / board.clock_hz + 1e-4, "the packets")
    names = ("offered", "taken", "starved", "packets_out", "rows_out", "latency")
    counts = {name: _read(board, name) for name in names}
    rows = sum(-(-len(packet) // ROW_BYTES) for packet in leaving)
    if (counts["packets_out"], counts["rows_out"]) != (len(leaving), rows):
        raise RuntimeError(
            f"{counts['packets_out']} packets of {counts['rows_out']} rows left, "
            f"not {len(leaving)} of {rows}"
        )
    expected = sum(len(frame) // 8 for frame in frames[1:-1])
    if counts["taken"] != expected or counts["starved"]:
        raise RuntimeError(
            f"{counts['taken']} beats were taken, not {expected}; the source had none in "
            f"{counts['starved']} cycles"
        )
    return counts


def core_beats(
    board: SimulatedBoard, config: SwitchConfig = DEFAULT_SWITCH, packets: int = PACKETS
) -> dict[str, dict[str, float]]:
    """``beats_taken`` and ``bound`` by case; nothing but the core itself bounds it."""
    found = {}
    for name, case in CASES.items():
        counts = _run(board, case, config, packets)
        found[name] = {"beats_taken": round(counts["taken"] / counts["offered"], 4), "bound": 1.0}
    return found


def latency_cycles(board: SimulatedBoard, config: SwitchConfig = DEFAULT_SWITCH) -> int:
    """Cycles from a completing packet's last beat in to its RESULT's first row out, the longest of
    every lane format and of short and long packets, each into an idle switch."""
    cases = [Case(1, lanes, coordinates) for lanes in Lanes for coordinates in (0, 16)]
    return max(_run(board, case, config, 1)["latency"] for case in cases)

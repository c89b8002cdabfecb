"""Share of input beats that the THC lanes take, the encoder's rate, and what each width costs.

``beats_taken`` is cycles with valid and ready ÷ cycles with valid, over 2,000 packets back to
back, the first and the last left out: at the core with a sink as wide as the sums, and with a
64-bit sink beside min(1, beats in ÷ beats out), the most that such a sink allows.  Cycles are those
of the Verilated RTL; resources are synthesis estimates.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.common import main
from benchmarks.thc_meter import METER_REGISTERS, ThcMeter
from bitstreams.synthesis import synthesize
from drivers.simulated.board import SimulatedBoard
from drivers.simulated.memory import INFINITE
from drivers.simulated.thc import thc_board
from drivers.thc import ThcEncoder
from eyas.interfaces.thc.config import ThcConfig
from eyas.interfaces.thc.formats import LookupTable
from hdl.parts.flat import flat_verilog
from hdl.thc.encode.encoder import Encoder
from hdl.thc.lanes.lookup_lanes import LookupLanes

__all__ = ["beats_taken", "encoder_rate", "measure", "resources"]

CONFIG = ThcConfig()
PACKETS = 2000
BLOCKS = 1000
WIDTHS = (64, 128, 256)
TABLE = LookupTable([0, 3, 5, 7, 9, 11, 13, 14, 16, 17, 19, 21, 23, 25, 27, 30])


def cases() -> dict[str, dict[str, int]]:
    """Traffic by name."""
    found: dict[str, dict[str, int]] = {}
    for wide in (0, 1):
        sums = f"{16 if wide else 8}-bit sums"
        full = {"wide": wide, "one_slot": 0, "beats": CONFIG.packet_beats(bool(wide))}
        for workers in (2, 4, 8):
            found[f"{sums}, n = {workers}"] = {**full, "workers": workers}
        found[f"{sums}, n = 8, one slot"] = {**full, "workers": 8, "one_slot": 1}
        one_beat = {"wide": wide, "one_slot": 1, "beats": 1, "workers": 8}
        found[f"{sums}, n = 8, one slot, one beat a packet"] = one_beat
    return found


def beats_taken(board: SimulatedBoard, setup: dict[str, int], wide_sink: bool) -> float:
    """The share of one case, on a board that carries the meter."""
    registers = METER_REGISTERS
    packets = PACKETS // setup["workers"] * setup["workers"]
    word = registers["setup"].pack(wide_sink=int(wide_sink), **setup)
    board.write_register(registers["setup"].offset, word)
    board.write_register(registers["packets"].offset, packets)
    board.write_register(registers["command"].offset, 1)
    board.wait_interrupt(packets * setup["beats"] * 10 / board.clock_hz + 1e-4, "the packets")
    offered, taken, rows = (
        board.read_register(registers[name].offset) for name in ("offered", "taken", "rows")
    )
    expected = packets // setup["workers"] * _rows(setup)
    if rows != expected or taken != (packets - 2) * setup["beats"]:
        raise RuntimeError(f"{rows} rows left, not {expected}; {taken} beats were taken")
    return round(taken / offered, 4)


def _rows(setup: dict[str, int]) -> int:
    return setup["beats"] if setup["wide"] else -(-setup["beats"] // 2)


def bound(setup: dict[str, int]) -> float:
    """The most that a 64-bit sink allows."""
    beats_out = _rows(setup) * CONFIG.row_bits // 64
    return round(min(1.0, setup["workers"] * setup["beats"] / beats_out), 4)


def encoder_rate() -> float:
    """Coordinates a cycle of a whole job on the simulated board, from descriptor to record."""
    rng = np.random.default_rng(1)
    words = np.clip(rng.normal(0, 5000, (BLOCKS, 1024)), -32767, 32767).astype(np.int16)
    with thc_board(memory=INFINITE) as board, ThcEncoder(board) as encoder:
        encoder.encode(words, np.full(BLOCKS, 3000), TABLE, seed=1, step=2, worker=3)
        return round(words.size / encoder.cycles, 3)


def resources() -> dict[str, dict[str, Any]]:
    """Synthesis estimates of the lanes at each width, with 16 slots of 1 KiB, and the encoder."""
    units = {f"lanes, {width} bit": LookupLanes(ThcConfig(width=width)) for width in WIDTHS}
    units["encoder"] = Encoder(CONFIG)
    return {name: synthesize(unit).as_dict() for name, unit in units.items()}


def measure(runs: int) -> dict[str, Any]:
    """All figures; cycles are the same in every run."""
    core, narrow, most = {}, {}, {}
    with SimulatedBoard(flat_verilog(ThcMeter(CONFIG), "thc_meter"), top="thc_meter") as board:
        for name, setup in cases().items():
            core[name] = beats_taken(board, setup, wide_sink=True)
            narrow[name] = beats_taken(board, setup, wide_sink=False)
            most[name] = bound(setup)
    return {
        "beats_taken": core,
        "beats_taken_64_bit_sink": narrow,
        "bound_64_bit_sink": most,
        "encoder_coordinates_per_cycle": encoder_rate(),
        "resources": resources(),
        "packets": PACKETS,
    }


if __name__ == "__main__":
    main("thc_beats", __doc__ or "", measure, 1)

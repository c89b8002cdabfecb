"""The overlay's part of :mod:`benchmarks.switch_beats`: frames in DRAM, packets in DRAM.

``beats_taken`` is cycles with valid and ready ÷ cycles with valid at the core's input, beside
``bound`` = min(1, beats in ÷ beats out), the most that a 64-bit port out allows.  Two runs that
differ in length alone are subtracted, so that neither the first nor the last packets count.
Cycles without a beat to offer (a descriptor was read) do not count there, so that it can stand a
little above the bound; ``beats_per_cycle`` counts every cycle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from drivers.board import Board
from drivers.simulated.board import SimulatedBoard
from drivers.simulated.memory import INFINITE, PYNQ_Z2, MemoryModel
from drivers.simulated.switch import switch_board
from drivers.switch import Switch
from eyas.interfaces.switch.config import DEFAULT_SWITCH, SwitchConfig
from eyas.interfaces.switch.packet import Lanes, Packet, PacketKind
from eyas.interfaces.switch.states import Policy
from eyas.interfaces.thc.formats import LookupTable, pack

__all__ = ["CASES", "Case", "overlay_beats"]

SHORT, LONG = 400, 1600
"""Packets of the two runs."""
RING = 2048
TABLE = LookupTable([0, 3, 5, 7, 9, 11, 13, 14, 16, 17, 19, 21, 23, 25, 27, 30])


@dataclass(frozen=True)
class Case:
    """Traffic: ``workers`` a job send ``coordinates`` a packet (0: a full one).

    ``together`` keys are under way at once; with ``alone`` every key has one contribution only.
    """

    workers: int = 4
    lanes: Lanes = Lanes.UINT8
    coordinates: int = 0
    jobs: int = 1
    together: int = 8
    alone: bool = False
    policy: dict[str, Any] = field(default_factory=lambda: {"policy": Policy.ESA})

    def frames(self, config: SwitchConfig, count: int) -> list[bytes]:
        """The first ``count`` frames."""
        most = config.slot_bytes // self.lanes.dtype.itemsize
        coordinates = min(self.coordinates or most, most)
        rng = np.random.default_rng(1)
        if self.lanes is Lanes.INT32:
            payload = rng.integers(-1000, 1000, coordinates).astype("<i4").tobytes()
        else:
            payload = pack(rng.integers(0, 16, coordinates), 4).tobytes()
        return [
            Packet(
                PacketKind.DATA, job, 0, seq, worker, priority=100, lanes=self.lanes,
                bitmap=1 << worker, count=1, coordinates=coordinates, payload=payload,
            ).to_bytes()
            for _, (seq, worker, job) in zip(range(count), self._keys(), strict=False)
        ]  # fmt: skip

    def _keys(self) -> Iterator[tuple[int, int, int]]:
        workers = 1 if self.alone else self.workers
        first = 0
        while True:
            keys = range(first, first + self.together)
            for worker, seq, job in product(range(workers), keys, range(self.jobs)):
                yield seq, worker, job
            first += self.together


ONE_SLOT = {"policy": Policy.ESA, "slots": 1}
CASES = {
    "different slots": Case(),
    "one slot": Case(together=1, policy=ONE_SLOT),
    "one-beat payloads, one slot": Case(coordinates=16, together=1, policy=ONE_SLOT),
    "a swap on every packet": Case(alone=True, policy={"policy": Policy.ALWAYS, "slots": 1}),
    "alternating jobs": Case(jobs=2),
    "2 workers": Case(workers=2),
    "16-bit sums": Case(lanes=Lanes.UINT16),
    "16-bit sums, 2 workers": Case(workers=2, lanes=Lanes.UINT16),
    "16-bit sums, a swap on every packet": Case(
        lanes=Lanes.UINT16, alone=True, policy={"policy": Policy.ALWAYS, "slots": 1}
    ),
    "int32 sums": Case(lanes=Lanes.INT32),
    "pass-on on every packet": Case(alone=True, policy={"policy": Policy.ATP, "slots": 1}),
}
"""Traffic by name."""


def _run(board: Board, case: Case, count: int) -> dict[str, int]:
    """Counters of a run, and the beats of its packets."""
    with Switch(board, ring_entries=RING) as switch:
        switch.set_policy(**case.policy)
        for job in range(case.jobs):
            table = None if case.lanes is Lanes.INT32 else TABLE
            switch.configure(job, case.workers, lanes=case.lanes, table=table)
        frames = case.frames(switch.config, count)
        switch.clear_counters()
        packets = switch.exchange(frames)
        counters = switch.counters()
    beats = {
        "in": sum(-(-len(frame) // 8) for frame in frames),
        "out": sum(-(-len(packet) // 8) for packet in packets),
    }
    if counters["taken_beats"] != beats["in"] or counters["frames_in"] != count:
        raise RuntimeError(f"{counters['taken_beats']} beats were taken, not {beats['in']}")
    return {**counters, **beats}


def overlay_beats(
    config: SwitchConfig = DEFAULT_SWITCH, short: int = SHORT, long: int = LONG
) -> dict[str, dict[str, float]]:
    """By case ``beats_taken``, ``bound`` and beats a cycle, of a memory of a beat a cycle each way.

    ``dram_beats_per_cycle`` and ``dram_bound``: the same through the PYNQ-Z2's DRAM, whose 63/32
    beats a cycle frames and packets share.
    """
    found = {}
    with switch_board(config) as board:
        for name, case in CASES.items():
            fast, slow = (
                _measured(board, memory, case, short, long) for memory in (INFINITE, PYNQ_Z2)
            )
            bound = min(1.0, fast["in"] / max(1, fast["out"]))
            shared = float(PYNQ_Z2.beats_per_cycle or 2) * fast["in"] / (fast["in"] + fast["out"])
            found[name] = {
                "beats_taken": round(fast["taken_beats"] / fast["offered_beats"], 4),
                "bound": round(bound, 4),
                "beats_per_cycle": round(fast["taken_beats"] / fast["cycles"], 4),
                "dram_beats_per_cycle": round(slow["taken_beats"] / slow["cycles"], 4),
                "dram_bound": round(min(bound, shared), 4),
            }
    return found


def _measured(
    board: SimulatedBoard, memory: MemoryModel, case: Case, short: int, long: int
) -> dict[str, int]:
    """What ``long`` packets take more than ``short`` ones."""
    board.set_memory(memory)
    less, more = (_run(board, case, count) for count in (short, long))
    return {name: more[name] - less[name] for name in more}

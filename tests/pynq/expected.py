"""What the models expect of both overlays, for the PYNQ environments, which have no PyTorch.

``python -m tests.pynq.expected FOLDER`` writes ``network.eyas`` and ``expected.npz``, and has the
simulations built, so that those environments find them made.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from drivers.simulated.switch import switch_board
from drivers.simulated.thc import thc_board
from drivers.simulated.vision import vision_board
from eyas.compiler import compile_graph
from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.packet import Lanes, Packet, PacketKind
from eyas.interfaces.thc.formats import LookupTable, pack
from eyas.interfaces.vision.config import SMALL_VISION
from models.switch.golden import GoldenSwitch
from models.switch.records import JobEntry
from models.thc import fixed_point
from models.thc.aggregate import aggregate
from models.vision import reference
from tests.small_network import small_network

SEED = 612
TABLE = LookupTable([0, 3, 5, 7, 9, 11, 13, 14, 16, 17, 19, 21, 23, 25, 27, 30])
SMALL_SWITCH = SwitchConfig(slots=16, slot_bytes=64, jobs=8, ingress_beats=64, egress_rows=16)
"""As of drivers.simulated.pynq.device, which cannot be imported here."""
COUNT = 3001
WORKERS = 5
BLOCKS = 3


def frames(rng: np.random.Generator) -> list[bytes]:
    """What three workers send for five sums, in any order, one of them twice."""
    packets = [
        Packet(
            PacketKind.DATA, 0, 0, seq, worker, priority=7, bitmap=1 << worker, count=1,
            coordinates=64, payload=pack(rng.integers(0, 16, 64), 4).tobytes(),
        ).to_bytes()
        for seq in range(5)
        for worker in range(3)
    ]  # fmt: skip
    return [packets[i] for i in [0, *rng.permutation(len(packets))]]


def write(folder: Path) -> None:
    """Write the network and every expected value to ``folder``."""
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    graph = small_network(rng)
    compile_graph(graph, SMALL_VISION).save(folder / "network.eyas")
    pictures = rng.integers(-128, 128, (9, 8, 9, 3)).astype(np.int8)
    packed = pack(rng.integers(0, 16, (WORKERS, COUNT)), 4)
    sums = aggregate(torch.from_numpy(packed), TABLE, COUNT, 8).numpy()
    words = np.clip(rng.normal(0, 5000, (BLOCKS, 1024)), -32767, 32767).astype(np.int16)
    factors = rng.integers(0, 1 << 14, BLOCKS)
    indices = fixed_point.encode(
        torch.from_numpy(words), torch.from_numpy(factors), TABLE, seed=1, step=2, worker=3
    )
    sent = frames(rng)
    switch = GoldenSwitch(SMALL_SWITCH)
    switch.configure(0, JobEntry(True, 0, 3, 3, Lanes.UINT8, TABLE.entries))
    received = [packet for frame in sent for packet in switch.receive(frame)]
    assert received
    np.savez(
        folder / "expected.npz",
        pictures=pictures,
        outputs=reference.run(graph, pictures),
        table=np.array(TABLE.entries),
        packed=packed,
        sums=sums,
        words=words,
        factors=factors,
        indices=pack(indices.numpy(), 4),
        frames=np.array([list(frame) for frame in sent], np.uint8),
        packets=np.array([list(packet) for packet in received], np.uint8),
    )


def build() -> None:
    """Have the simulations in the cache."""
    vision_board(SMALL_VISION).close()
    thc_board().close()
    switch_board(SMALL_SWITCH).close()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
    build()

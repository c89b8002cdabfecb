"""What the lookup lanes must do, packet by packet, in numpy."""

from dataclasses import dataclass, field

import numpy as np

from eyas.interfaces.thc.config import ThcConfig
from hdl.thc.lanes.packets import Emit, beat_layout

__all__ = ["LaneModel", "Packet", "pack_indices"]


@dataclass
class Packet:
    """One packet: its header's fields, and the indices of all its coordinates."""

    indices: np.ndarray
    slot: int = 0
    job: int = 0
    wide: int = 0
    store: int = 0
    silent: int = 0
    emit: int = Emit.NONE
    old_wide: int = 0

    def beats(self, config: ThcConfig) -> list[int]:
        """Payloads of ``beat_layout``."""
        layout = beat_layout(config)
        header = {
            name: int(getattr(self, name))
            for name in ("slot", "job", "wide", "store", "silent", "emit", "old_wide")
        }
        raw = pack_indices(config, self.indices)
        size = config.width // 8
        words = [int.from_bytes(raw[i : i + size], "little") for i in range(0, len(raw), size)]
        last = len(words) - 1
        return [
            layout.const(
                {"header": header, "first": i == 0, "last": i == last, "data": word}
            ).as_value().value
            for i, word in enumerate(words)
        ]  # fmt: skip


def pack_indices(config: ThcConfig, indices: np.ndarray) -> bytes:
    """Indices as they travel, with zeros up to a whole beat."""
    count = -(-len(indices) // config.lanes) * config.lanes
    padded = np.zeros(count, np.uint8)
    padded[: len(indices)] = indices
    bits = 8 // config.indices_per_byte
    packed = np.zeros(count // config.indices_per_byte, np.uint8)
    for place in range(config.indices_per_byte):
        packed = packed << bits | padded[place :: config.indices_per_byte]
    return packed.astype(np.uint8).tobytes()


@dataclass
class LaneModel:
    """Slots and tables; a slot is used with one length and one width from one store to the next."""

    config: ThcConfig
    tables: dict[int, np.ndarray] = field(default_factory=dict)
    slots: dict[int, np.ndarray] = field(default_factory=dict)

    def process(self, packet: Packet) -> list[int]:
        """Take one packet; returns the rows that leave, each as its ``sums``."""
        lanes = self.config.lanes
        values = np.zeros(-(-len(packet.indices) // lanes) * lanes, np.int64)
        if not packet.silent:
            values[:] = self.tables[packet.job][0]
            values[: len(packet.indices)] = self.tables[packet.job][packet.indices]
        old = self.slots.get(packet.slot)
        new = values
        if not packet.store:
            new = np.minimum(old + values, 0xFFFF if packet.wide else 0xFF)
        self.slots[packet.slot] = new
        if packet.emit == Emit.NONE:
            return []
        if packet.emit == Emit.OLD:
            return self._rows(old, packet.old_wide)
        return self._rows(new, packet.wide)

    def _rows(self, sums: np.ndarray, wide: int) -> list[int]:
        per_row = self.config.lanes * (1 if wide else 2)
        padded = np.zeros(-(-len(sums) // per_row) * per_row, "<u2" if wide else "u1")
        padded[: len(sums)] = sums
        raw = padded.tobytes()
        size = self.config.row_bits // 8
        return [int.from_bytes(raw[i : i + size], "little") for i in range(0, len(raw), size)]

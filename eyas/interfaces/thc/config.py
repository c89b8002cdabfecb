"""Hardware configuration of the THC overlay and of its lookup lanes."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["DEFAULT_THC", "LANE_WIDTH", "TABLE_ENTRY_BITS", "ThcConfig"]

LANE_WIDTH = 16
"""Bits of an accumulator lane; it holds one sum of 16 bits or two of 8."""
TABLE_ENTRY_BITS = 8
"""Bits of a table entry: the granularity is at most 255."""


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True)
class ThcConfig:
    """Widths and depths of the lookup lanes.

    A *beat* is ``width`` bits of packed indices; a *row* is the sums of one beat at 16 bits each,
    or of two beats at 8 bits each; a *slot* holds the sums of one packet.

    Parameters
    ----------
    width : int
        Bits of indices taken a cycle: 64, 128 or 256.
    index_bits : int
        Bits of an index: 2 (four to a byte), 3 or 4 (two to a byte).
    slots : int
        Aggregator slots, a power of two from 2 to 1024.
    slot_bytes : int
        Bytes of sums in a slot, a power of two from a row to 4096.
    jobs : int
        Tables kept, a power of two from 2 to 32.
    """

    width: int = 64
    index_bits: int = 4
    slots: int = 16
    slot_bytes: int = 1024
    jobs: int = 32

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be an integer, not {value!r}")
        if self.width not in (64, 128, 256):
            raise ValueError(f"width must be 64, 128 or 256, not {self.width}")
        if self.index_bits not in (2, 3, 4):
            raise ValueError(f"index_bits must be 2, 3 or 4, not {self.index_bits}")
        for name, value, low, high in (
            ("slots", self.slots, 2, 1024),
            ("slot_bytes", self.slot_bytes, self.row_bits // 8, 4096),
            ("jobs", self.jobs, 2, 32),
        ):
            if not _power_of_two(value) or not low <= value <= high:
                raise ValueError(f"{name} must be a power of two from {low} to {high}, not {value}")

    @property
    def indices_per_byte(self) -> int:
        """Indices in a byte, the first in the high bits."""
        return 4 if self.index_bits == 2 else 2

    @property
    def lanes(self) -> int:
        """Indices in a beat, each with its accumulator lane."""
        return self.width // 8 * self.indices_per_byte

    @property
    def entries(self) -> int:
        """Entries of a table."""
        return 1 << self.index_bits

    @property
    def table_bits(self) -> int:
        """Bits of a table, entry 0 lowest."""
        return self.entries * TABLE_ENTRY_BITS

    @property
    def row_bits(self) -> int:
        """Bits of a row of sums."""
        return self.lanes * LANE_WIDTH

    @property
    def slot_rows(self) -> int:
        """Rows in a slot."""
        return self.slot_bytes * 8 // self.row_bits

    def packet_beats(self, wide: bool) -> int:
        """Beats of the longest packet: a slot of 16-bit (``wide``) or of 8-bit sums."""
        return self.slot_rows * (1 if wide else 2)

    def as_dict(self) -> dict[str, int]:
        """The parameters by name."""
        return asdict(self)


DEFAULT_THC = ThcConfig()
"""Lanes of the THC overlay: sixteen 4-bit indices a cycle."""

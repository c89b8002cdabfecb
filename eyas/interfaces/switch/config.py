"""Hardware configuration of the switch overlay."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = [
    "DEFAULT_SWITCH",
    "LARGE_SWITCH",
    "MAX_JOBS",
    "MAX_PAYLOAD_BYTES",
    "ROW_BYTES",
    "WORD_BYTES",
    "SwitchConfig",
]

MAX_PAYLOAD_BYTES = 1024
"""The longest payload of an aggregation packet."""
MAX_JOBS = 32
"""Jobs at a time: 16 counters each fill a block RAM."""
ROW_BYTES = 32
"""Bytes of a row: what leaves the switch in a cycle, and a packet's header."""
WORD_BYTES = 8
"""Bytes of a beat: what enters the switch in a cycle."""


@dataclass(frozen=True)
class SwitchConfig:
    """Depths of the switch.

    Parameters
    ----------
    slots : int
        Aggregator slots, a power of two from 2 to 512.
    slot_bytes : int
        Bytes of sums in a slot, and the longest payload: a power of two from 32 to 1024.
    jobs : int
        Training jobs at a time, a power of two from 2 to 32.
    ingress_beats : int
        64-bit beats of payload that wait for their packet's end or for their turn, a power of two,
        at least two of the longest payloads.
    egress_rows : int
        256-bit rows that wait for the sink, a power of two, at least two of the longest packets.
    """

    slots: int = 256
    slot_bytes: int = MAX_PAYLOAD_BYTES
    jobs: int = 32
    ingress_beats: int = 1024
    egress_rows: int = 512

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be an integer, not {value!r}")
        for name, value, low, high in (
            ("slots", self.slots, 2, 512),
            ("slot_bytes", self.slot_bytes, ROW_BYTES, MAX_PAYLOAD_BYTES),
            ("jobs", self.jobs, 2, MAX_JOBS),
            ("ingress_beats", self.ingress_beats, 2 * self.slot_bytes // WORD_BYTES, 4096),
            ("egress_rows", self.egress_rows, 2 * self.slot_bytes // ROW_BYTES + 2, 4096),
        ):
            if value < 1 or value & (value - 1) or not low <= value <= high:
                raise ValueError(f"{name} must be a power of two from {low} to {high}, not {value}")

    @property
    def slot_rows(self) -> int:
        """Rows of a slot."""
        return self.slot_bytes // ROW_BYTES

    @property
    def payload_beats(self) -> int:
        """Beats of the longest payload."""
        return self.slot_bytes // WORD_BYTES

    @property
    def counters(self) -> int:
        """Counters a job, one for each outcome."""
        return 16

    def as_dict(self) -> dict[str, int]:
        """The parameters by name."""
        return asdict(self)


DEFAULT_SWITCH = SwitchConfig()
"""256 slots of 1 KiB, 32 jobs."""
LARGE_SWITCH = SwitchConfig(slots=512)
"""As many slots as block RAM holds."""

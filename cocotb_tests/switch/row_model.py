"""What the row engine must let out, operation by operation, in numpy."""

from dataclasses import dataclass, field

import numpy as np

from eyas.interfaces.switch.config import ROW_BYTES, WORD_BYTES, SwitchConfig
from eyas.interfaces.switch.packet import Lanes
from eyas.interfaces.thc.formats import unpack
from hdl.switch.layouts import RowAction, header_layout, operation_layout

__all__ = ["CONTRIBUTES", "Operation", "RowModel"]

_LIMITS = {Lanes.UINT8: (0, 255), Lanes.UINT16: (0, 65535), Lanes.INT32: (-(1 << 31), 2**31 - 1)}
CONTRIBUTES = (RowAction.CLAIM, RowAction.SWAP, RowAction.ADD)


@dataclass
class Operation:
    """An operation and its payload; ``number`` is put into the header, to know it again."""

    action: RowAction
    payload: bytes = b""
    emits: bool = False
    slot: int = 0
    job: int = 0
    lanes: Lanes = Lanes.UINT8
    coordinates: int = 0
    number: int = 0
    length: int = 0

    @property
    def beats(self) -> int:
        """Beats of payload."""
        return -(-len(self.payload) // WORD_BYTES)

    @property
    def header(self) -> int:
        """The header that leaves, as a number."""
        return header_layout.const({"seq": self.number, "length": self.length}).as_bits()

    def item(self, config: SwitchConfig, start: int) -> int:
        """The operation on its stream, with its payload at ``start``."""
        names = ("action", "emits", "slot", "job", "lanes", "coordinates", "beats")
        fields = {name: int(getattr(self, name)) for name in names}
        header = {"seq": self.number, "length": self.length}
        layout = operation_layout(config)
        return layout.const({**fields, "start": start, "header": header}).as_bits()


@dataclass
class RowModel:
    """Sums and tables."""

    tables: dict[int, np.ndarray] = field(default_factory=dict)
    sums: dict[int, np.ndarray] = field(default_factory=dict)
    lanes: dict[int, Lanes] = field(default_factory=dict)

    def length(self, slot: int) -> int:
        """Bytes of a slot's sums."""
        return self.sums[slot].size * self.lanes[slot].dtype.itemsize

    def process(self, operation: Operation) -> list[bytes]:
        """Set the operation's length, do it, and return the payload's rows that leave."""
        action, slot = operation.action, operation.slot
        leaving = b""
        if action is RowAction.PASS:
            leaving = operation.payload
        elif action in (RowAction.SWAP, RowAction.READ):
            leaving = self._bytes(slot)
        if action in CONTRIBUTES:
            values = self._values(operation)
            if action is RowAction.ADD:
                values = np.clip(self.sums[slot] + values, *_LIMITS[operation.lanes])
            self.sums[slot], self.lanes[slot] = values, operation.lanes
            if action is not RowAction.SWAP:
                leaving = self._bytes(slot)
        if not operation.emits:
            return []
        operation.length = len(leaving)
        return [leaving[at : at + ROW_BYTES] for at in range(0, len(leaving), ROW_BYTES)]

    def _bytes(self, slot: int) -> bytes:
        return self.sums[slot].astype(self.lanes[slot].dtype).tobytes()

    def _values(self, operation: Operation) -> np.ndarray:
        if operation.lanes is Lanes.INT32:
            return np.frombuffer(operation.payload, "<i4").astype(np.int64)
        packed = np.frombuffer(operation.payload, np.uint8)
        return self.tables[operation.job][unpack(packed, 4, operation.coordinates)]

"""The values of a contribution, and how contributions are added: integers in saturating lanes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eyas.interfaces.switch.packet import Lanes, Packet
from eyas.interfaces.thc.formats import unpack

__all__ = ["INT32_MOST", "add_sums", "contribution"]

INT32_MOST = (1 << 31) - 1
_MOST = {Lanes.UINT8: 255, Lanes.UINT16: 65535, Lanes.INT32: INT32_MOST}
_LEAST = {Lanes.UINT8: 0, Lanes.UINT16: 0, Lanes.INT32: -(1 << 31)}


def contribution(packet: Packet, table: Sequence[int]) -> npt.NDArray[np.int64]:
    """The values of a DATA or RESEND: what its indices stand for, or its int32 values."""
    if packet.lanes is Lanes.INT32:
        return packet.sums().astype(np.int64)
    indices = unpack(np.frombuffer(packet.payload, np.uint8), 4, packet.coordinates)
    return np.asarray(table, np.int64)[indices]


def add_sums(
    held: npt.NDArray[np.int64], values: npt.NDArray[np.int64], lanes: Lanes
) -> npt.NDArray[np.int64]:
    """The sums of both, each lane stopping at its least and greatest value."""
    return np.clip(held + values, _LEAST[lanes], _MOST[lanes])

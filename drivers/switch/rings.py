"""Memory of the switch's rings: descriptors and frames that go in, packets that come out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.board import Board, Buffer
from drivers.errors import BoardError
from eyas.interfaces.switch.packet import (
    HEADER_BYTES,
    MAX_PACKET_BYTES,
    PACKET,
    Packet,
    PacketError,
)
from eyas.interfaces.switch.registers import (
    EGRESS_STRIDE,
    INGRESS_DESCRIPTOR,
    MAX_FRAME_BYTES,
    RING_LOG2,
)

__all__ = ["Frames", "SwitchRings", "checked_frames"]

Frames = Sequence["bytes | bytearray | memoryview"]

SIZE_SHIFT = INGRESS_DESCRIPTOR.offsets["size"]
LENGTH_BYTE, LENGTH_SHIFT = divmod(PACKET.offsets["length"], 8)
LENGTH_MASK = PACKET.by_name["length"].maximum


def checked_frames(
    frames: Frames | npt.NDArray[np.uint8], sizes: Sequence[int] | npt.NDArray[Any] | None
) -> tuple[Frames | npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
    """Frames, and the bytes of each; ValueError or TypeError for what cannot be posted."""
    if isinstance(frames, np.ndarray):
        if frames.dtype != np.uint8 or frames.ndim != 2:
            raise TypeError(
                f"Frames in one array are uint8 of shape (frames, bytes), not {frames.dtype} of "
                f"shape {frames.shape}"
            )
        count, width = frames.shape
        found = np.full(count, width) if sizes is None else np.asarray(sizes)
        if found.shape != (count,) or found.dtype.kind not in "iu":
            raise ValueError(f"{count} frames have {count} sizes in bytes, not {found!r}")
        if (found > width).any():
            raise ValueError(f"The array's frames have up to {width} bytes, not {found.max()}")
    else:
        if sizes is not None:
            raise TypeError("Sizes belong to frames in one array; leave them out")
        for frame in frames:
            if not isinstance(frame, (bytes, bytearray, memoryview)):
                raise TypeError(f"A frame is bytes, not {type(frame).__name__}")
        found = np.fromiter((len(frame) for frame in frames), np.int64, len(frames))
    if ((found < 1) | (found > MAX_FRAME_BYTES)).any():
        wrong = found[(found < 1) | (found > MAX_FRAME_BYTES)][0]
        raise ValueError(f"A frame has 1 to {MAX_FRAME_BYTES} bytes, not {wrong}")
    return frames, found.astype(np.uint64)


def _is_packet(data: bytes) -> bool:
    """Whether ``data`` is a whole packet."""
    try:
        Packet.from_bytes(data)
    except PacketError:
        return False
    return True


def _flat(memory: npt.NDArray[np.uint8]) -> memoryview:
    """The bytes of ``memory``: slices of it cost a fraction of an array's."""
    return memoryview(memory).cast("B")  # type: ignore[arg-type]


class SwitchRings:
    """Memory of both rings; indices are free-running, as the overlay counts them.

    Entry i's frame has a fixed place: the descriptor's size is all that changes.

    Parameters
    ----------
    board : Board
        Where the memory comes from.
    entries : int
        Entries of each ring, a power of two from 4 to 4096.

    Raises
    ------
    ValueError
        For another number of entries.
    BoardError
        When the board's memory is misaligned.
    """

    def __init__(self, board: Board, entries: int) -> None:
        least, most = (1 << log2 for log2 in RING_LOG2)
        if not least <= entries <= most or entries & (entries - 1):
            raise ValueError(
                f"A ring's entries are a power of two from {least} to {most}, not {entries}"
            )
        self.entries = entries
        self._before: dict[int, bytes] = {}
        self._buffers: list[Buffer] = []
        try:
            self.descriptors = self._allocate(board, (entries,), "<u8")
            self.frames = self._allocate(board, (entries, MAX_FRAME_BYTES), np.uint8)
            self.packets = self._allocate(board, (entries, EGRESS_STRIDE), np.uint8)
        except BaseException:
            self.close()
            raise
        self._addresses = np.uint64(self.frames.address) + MAX_FRAME_BYTES * np.arange(
            entries, dtype=np.uint64
        )

    def _allocate(self, board: Board, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Buffer:
        buffer = board.allocate(shape, dtype)
        self._buffers.append(buffer)
        if buffer.address % 8:
            raise BoardError(
                f"A ring starts at a multiple of 8, not at {buffer.address:#x}; take a board whose "
                f"buffers are aligned"
            )
        return buffer

    def write(
        self, first: int, frames: Frames | npt.NDArray[np.uint8], sizes: npt.NDArray[np.uint64]
    ) -> None:
        """Make frames and descriptors from index ``first`` on ready for the overlay."""
        memory = self.frames.array
        entries = self._entries(first, len(sizes))
        if isinstance(frames, np.ndarray):
            memory[entries, : min(frames.shape[1], MAX_FRAME_BYTES)] = frames[:, :MAX_FRAME_BYTES]
        else:
            flat = _flat(memory)
            for entry, frame in zip(entries.tolist(), frames, strict=True):
                start = entry * MAX_FRAME_BYTES
                flat[start : start + len(frame)] = frame
        self.descriptors.array[entries] = self._addresses[entries] | sizes << np.uint64(SIZE_SHIFT)
        self.frames.flush()
        self.descriptors.flush()

    def take(self, first: int, count: int, *, doubtful: bool) -> dict[int, bytes]:
        """The packets from index ``first`` on, by how far their entries are behind it.

        Where entries are ``doubtful`` (the overlay met an error: one that could not be written
        counts all the same), those are left out that are torn or hold what they held a round ago.
        """
        self.packets.invalidate()
        memory = self.packets.array
        entries = self._entries(first, count)
        words = memory[entries, LENGTH_BYTE : LENGTH_BYTE + 2].view("<u2")[:, 0]
        lengths = words >> LENGTH_SHIFT & LENGTH_MASK
        sizes = np.minimum(lengths + HEADER_BYTES, MAX_PACKET_BYTES)
        flat = _flat(memory)
        taken = {}
        places = zip(entries.tolist(), sizes.tolist(), strict=True)
        for number, (entry, size) in enumerate(places):
            start = entry * EGRESS_STRIDE
            packet = bytes(flat[start : start + size])
            if not doubtful or (packet != self._before.get(entry) and _is_packet(packet)):
                taken[number] = packet
            self._before[entry] = packet
        return taken

    def _entries(self, first: int, count: int) -> npt.NDArray[np.intp]:
        return np.arange(first, first + count) & (self.entries - 1)

    def close(self) -> None:
        """Free the memory."""
        for buffer in self._buffers:
            buffer.close()
        self._buffers.clear()

"""Driver of the THC overlay's encoder: gradients to packed indices."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.overlay import exclusive
from drivers.thc.driver import ThcDriver
from eyas.interfaces.thc.formats import (
    BLOCK_LOG2,
    ENCODER_GRANULARITY,
    MULTIPLIER_BITS,
    LookupTable,
    packed_size,
)
from eyas.interfaces.thc.registers import (
    DESCRIPTOR,
    ENCODE_WORDS,
    JobKind,
)

__all__ = ["ThcEncoder"]

BLOCK = 1 << BLOCK_LOG2
CHUNK_BLOCKS = 4096


class ThcEncoder(ThcDriver):
    """Encodes gradients on the THC overlay of ``board``, bit for bit as the fixed-point model.

    A context manager; leaving it frees its memory, not the board. After a BoardTimeout the
    overlay has been reset, and every job of an aggregator is closed.

    Parameters
    ----------
    board : Board
        The board that carries the overlay. Calls of all its drivers, of whichever thread, come
        one after the other.

    Attributes
    ----------
    cycles : int
        Cycles that the last :meth:`encode` took.
    """

    @exclusive
    def encode(
        self,
        mantissas: npt.NDArray[np.int16],
        multipliers: npt.NDArray[np.integer[Any]],
        table: LookupTable,
        *,
        seed: int,
        step: int,
        worker: int,
        stream: int = 0,
        first: int = 0,
        timeout_s: float | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Return the packed indices of each block, uint8 [blocks, bytes].

        Parameters
        ----------
        mantissas : int16 array [blocks, 1024]
            Coordinates in units of their block's power of two.
        multipliers : integer array [blocks]
            One for each block, 17 bits; 0 for a block of zeros.
        table : LookupTable
            Of the overlay's index bits, granularity up to 63.
        seed, step, worker, stream : int
            What the random bits depend on: 64, 32, 32 and 32 bits.
        first : int
            Number of the first block in its stream.
        timeout_s : float or None
            How long to wait for each descriptor, in seconds of the board's clock.

        Raises
        ------
        ValueError, TypeError
            When an argument has the wrong shape, type or size.
        ThcError, BoardTimeout
            When the overlay ends with an error, or does not end.
        """
        self._require_open("encode")
        words = np.asarray(mantissas)
        factors = np.asarray(multipliers)
        if words.dtype != np.int16:
            raise TypeError(f"Mantissas must be int16, not {words.dtype}")
        if words.ndim != 2 or words.shape[1] != BLOCK or not len(words):
            raise ValueError(f"Mantissas must have shape (blocks, {BLOCK}), not {words.shape}")
        if factors.shape != words.shape[:1] or factors.dtype.kind not in "iu":
            raise ValueError(
                f"There must be {len(words)} integer multipliers, one a block, not "
                f"{factors.dtype} of shape {factors.shape}"
            )
        if factors.min() < 0 or factors.max() >> MULTIPLIER_BITS:
            raise ValueError(f"A multiplier has {MULTIPLIER_BITS} bits, not all of these have")
        if table.bits != self.config.index_bits or table.granularity > ENCODER_GRANULARITY:
            raise ValueError(
                f"The encoder takes tables of {self.config.index_bits} bits and granularities up "
                f"to {ENCODER_GRANULARITY}, not {table.bits} bits and {table.granularity}"
            )
        if first < 0 or first + len(words) > 1 << (35 - BLOCK_LOG2):
            raise ValueError(
                f"Blocks of a stream have numbers below 2^25, not {first} to "
                f"{first + len(words) - 1}"
            )
        entries = int.from_bytes(bytes(table.entries), "little")
        fields = {
            "granularity": table.granularity,
            "seed": seed,
            "step": step,
            "worker": worker + 1,
            "stream": stream,
            "table_low": entries & 0xFFFF_FFFF_FFFF_FFFF,
            "table_high": entries >> 64,
        }
        DESCRIPTOR.pack(fields)  # ValueError for what does not fit, before anything starts
        self.cycles = 0
        indices = np.empty((len(words), packed_size(BLOCK, table.bits)), np.uint8)
        for start in range(0, len(words), CHUNK_BLOCKS):
            chosen = slice(start, start + CHUNK_BLOCKS)
            fields["first"] = first + start
            indices[chosen] = self._encode(words[chosen], factors[chosen], fields, timeout_s)
        return indices

    def _encode(
        self,
        words: npt.NDArray[np.int16],
        factors: npt.NDArray[Any],
        fields: dict[str, int],
        timeout_s: float | None,
    ) -> npt.NDArray[np.uint8]:
        """One descriptor."""
        blocks = len(words)
        size = packed_size(BLOCK, self.config.index_bits)
        source = self._buffer("source", 8 * ENCODE_WORDS * blocks)
        output = self._buffer("output", size * blocks)
        into = source.array[: 8 * ENCODE_WORDS * blocks].view("<i2").reshape(blocks, -1)
        into[:, :4] = factors.astype("<u8")[:, np.newaxis].view("<i2")
        into[:, 4:] = words
        source.flush()
        self._run(
            f"the encoding of {blocks} blocks",
            ENCODE_WORDS * blocks,
            timeout_s,
            kind=JobKind.ENCODE,
            source=source.address,
            count=blocks,
            output=output.address,
            **fields,
        )
        output.invalidate()
        return output.array[: size * blocks].reshape(blocks, size)

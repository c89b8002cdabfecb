"""What a worker computes in THC: it encodes a gradient to indices and decodes sums to a mean."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from eyas.interfaces.thc.formats import BLOCK_LOG2, ROUNDING_BITS, LookupTable
from models.thc import fixed_point
from models.thc.generator import random_words
from models.thc.hadamard import flip_signs, hadamard
from models.thc.table import Quantizer

__all__ = ["LONGEST_TRANSFORM", "Codec", "round_float"]

LONGEST_TRANSFORM = 1 << 20
"""Coordinates of the longest full-length transform; a longer vector is cut."""


@dataclass(frozen=True)
class Codec:
    """Encoding and decoding with one set of parameters, which all workers share.

    A vector of L coordinates is padded with zeros to whole blocks of d; each block is rotated and
    quantised by its norm.  ``step`` and ``stream`` (a number for each vector of a step) choose the
    random draws and must be alike on all workers; ``worker`` must differ.  All methods work on the
    vector's device.

    Parameters
    ----------
    quantizer : Quantizer
        Table and clamping; the optimal one of 4 bits by default.
    block : int or None
        d, a power of two from 8 to 2^20; ``None`` transforms the whole vector, padded to a power
        of two, in pieces of 2^20 where it is longer.
    single_norm : bool
        One norm for the whole vector instead of one a block: for comparison only, since blocks of
        uneven scale then quantise badly.
    seed : int
        64 bits.
    """

    quantizer: Quantizer
    block: int | None = 1 << BLOCK_LOG2
    single_norm: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.quantizer, Quantizer):
            raise TypeError(f"Quantizer must be a Quantizer, not {self.quantizer!r}")
        d = self.block
        if d is not None:
            if isinstance(d, bool) or not isinstance(d, int):
                raise TypeError(f"Block must be an integer or None, not {d!r}")
            if not 8 <= d <= LONGEST_TRANSFORM or d & (d - 1):
                raise ValueError(f"Block must be a power of two from 8 to 2^20, not {d}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise TypeError(f"Seed must be an integer, not {self.seed!r}")
        if not 0 <= self.seed < 1 << 64:
            raise ValueError(f"Seed must be 0 to 2^64 − 1, not {self.seed}")

    @classmethod
    def default(cls, seed: int = 0) -> Codec:
        """4 bits, g = 30, 1/32 clamped, blocks of 1024 with a norm each."""
        return cls(Quantizer.optimal(), seed=seed)

    @property
    def table(self) -> LookupTable:
        """The quantiser's lookup table."""
        return self.quantizer.table

    @property
    def fingerprint(self) -> int:
        """32 bits that are alike where all parameters are: workers compare them at the start."""
        facts = (self.table.entries, self.quantizer.clamp, self.block, self.single_norm, self.seed)
        return zlib.crc32(repr(facts).encode())

    def shape(self, length: int) -> tuple[int, int]:
        """(blocks, d) of a vector of ``length`` coordinates."""
        if length < 1:
            raise ValueError(f"A vector has at least one coordinate, not {length}")
        d = self.block or min(max(8, 1 << (length - 1).bit_length()), LONGEST_TRANSFORM)
        return -(-length // d), d

    def padded(self, length: int) -> int:
        """Indices that a vector of ``length`` coordinates becomes."""
        blocks, d = self.shape(length)
        return blocks * d

    def norms(self, vector: Tensor) -> Tensor:
        """This worker's ‖v‖ of each block, or one of the whole vector: float32.

        The workers go on with the largest of theirs, block by block (all-reduce MAX).  A block
        with a NaN or an infinity has a norm that is not finite.
        """
        blocks = self._blocks(vector)
        if self.single_norm:
            blocks = blocks.view(1, -1)
        # Divided by the largest coordinate, so that squares neither overflow nor vanish.
        peak = blocks.abs().amax(dim=1, keepdim=True)
        scaled = blocks / torch.where(peak == 0, 1, peak)
        return peak.squeeze(1) * torch.linalg.vector_norm(scaled, dim=1)

    def encode(
        self,
        vector: Tensor,
        norms: Tensor,
        *,
        step: int,
        worker: int,
        stream: int = 0,
        form: Literal["float", "fixed"] = "float",
    ) -> Tensor:
        """Indices (uint8) of all blocks of ``vector``, padding included.

        Parameters
        ----------
        vector : Tensor
            Gradient plus what was left over; one axis, float.
        norms : Tensor
            The norms on which the workers agreed; none less than this worker's own.
        form : "float" or "fixed"
            Arithmetic: PyTorch's, or the hardware's, bit for bit.
        """
        blocks = self._blocks(vector)
        block_norms = self._block_norms(norms, *blocks.shape)
        place = {"seed": self.seed, "step": step, "stream": stream}
        if form == "fixed":
            fixed_point.check(self.quantizer, blocks.shape[1])
            exponents, multipliers = fixed_point.scales(block_norms, self.quantizer)
            words = fixed_point.mantissas(blocks, exponents)
            return fixed_point.encode(
                words, multipliers, self.table, **place, worker=worker
            ).flatten()
        if form != "float":
            raise ValueError(f"Form must be float or fixed, not {form!r}")
        zero = (block_norms == 0).unsqueeze(1)
        rotated = blocks / block_norms.unsqueeze(1).masked_fill(zero, 1)
        g = self.table.granularity
        at = (
            hadamard(flip_signs(rotated, **place))
            .mul_(g / (2 * self.quantizer.threshold))
            .add_(g / 2)
            .clamp_(0, g)
        )
        random = random_words(at.numel(), **place, worker=worker, device=vector.device)
        indices = round_float(at, random.view_as(at), self.table)
        return indices.masked_fill_(zero, 0).flatten()

    def decode(
        self,
        sums: Tensor,
        norms: Tensor,
        *,
        added: int | Tensor,
        step: int,
        length: int,
        stream: int = 0,
    ) -> Tensor:
        """The mean (float32) of the vectors whose table values were added to ``sums``.

        Parameters
        ----------
        sums : Tensor
            One integer for each index.
        norms : Tensor
            The norms on which the workers agreed.
        added : int or Tensor
            How many workers really were added: one number, or one for each index where packets
            differ.  Where it is 0 nothing is known and the rotated coordinate decodes to 0.
        length : int
            Coordinates of the vector.
        """
        blocks, d = self.shape(length)
        if sums.numel() != blocks * d:
            raise ValueError(
                f"A vector of {length} coordinates has {blocks * d} sums, not {sums.numel()}"
            )
        g = self.table.granularity
        # Twice the distance from the centre is an integer: with one count for all, the transform
        # below is exact, and so alike on all workers.
        values = sums.reshape(blocks, d).to(torch.int32) * 2
        scale = self.quantizer.threshold / (g * d)
        if isinstance(added, Tensor):
            counts = added.reshape(blocks, d).to(torch.int32)
            centred = (values - counts * g) / counts.clamp(min=1)
            centred.masked_fill_(counts == 0, 0)
        else:
            if added < 1:
                raise ValueError(f"At least one worker must have been added, not {added}")
            centred = (values - added * g).to(torch.float32)
            scale /= added
        result = hadamard(centred).mul_(scale)
        result *= self._block_norms(norms, blocks, d).unsqueeze(1)
        flip_signs(result, seed=self.seed, step=step, stream=stream)
        return result.flatten()[:length]

    def residual(
        self,
        vector: Tensor,
        indices: Tensor,
        norms: Tensor,
        *,
        step: int,
        stream: int = 0,
        included: Tensor | None = None,
    ) -> Tensor:
        """What the other workers did not hear of ``vector``: this worker's error feedback.

        ``included``, one truth value for each index, is False where the result's bitmap left this
        worker out: the contribution then stays in the error.
        """
        entries = torch.tensor(self.table.entries, dtype=torch.int32, device=indices.device)
        own = entries.index_select(0, indices.to(torch.int32))
        added = 1 if included is None else included.to(torch.int32)
        heard = self.decode(
            own,
            norms,
            added=added,
            step=step,
            stream=stream,
            length=vector.numel(),
        )
        return vector - heard

    def _blocks(self, vector: Tensor) -> Tensor:
        if vector.ndim != 1 or not vector.is_floating_point():
            raise ValueError(
                f"A vector has one axis of floats, not {vector.ndim} axes of {vector.dtype}"
            )
        blocks, d = self.shape(vector.numel())
        padded = torch.nn.functional.pad(vector.to(torch.float32), (0, blocks * d - vector.numel()))
        return padded.view(blocks, d)

    def _block_norms(self, norms: Tensor, blocks: int, d: int) -> Tensor:
        """Each block's norm, checked; of a single norm every block has its share."""
        expected = 1 if self.single_norm else blocks
        if norms.shape != (expected,):
            raise ValueError(f"This vector has {expected} norms, not {tuple(norms.shape)}")
        bad = ~(torch.isfinite(norms) & (norms >= 0))
        if bad.any():
            number = int(bad.nonzero()[0])
            raise ValueError(
                f"The norm of block {number} is {norms[number].item()}: "
                f"the gradient holds a NaN, an infinity, or values beyond float32"
            )
        norms = norms.to(torch.float32)
        return (norms / blocks**0.5).expand(blocks) if self.single_norm else norms


def round_float(at: Tensor, random: Tensor, table: LookupTable) -> Tensor:
    """Indices (uint8) of positions 0…g (float32), rounded by 16 random bits each."""
    place = at.to(torch.int32).flatten()
    z, low, gap = (
        torch.tensor(facts, dtype=dtype, device=at.device)[list(table.intervals)]
        .index_select(0, place)
        .view_as(at)
        for facts, dtype in (
            (range(len(table.entries)), torch.uint8),
            (table.entries, torch.float32),
            (table.gaps, torch.float32),
        )
    )
    up = random.to(torch.float32).mul_(gap) < (at - low).mul_(1 << ROUNDING_BITS)
    return z + up

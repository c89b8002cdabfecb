"""The encoder in integers: what the hardware computes, bit for bit.

A block of d = 2^k coordinates (k 3…10; the RTL has k = 10) becomes d indices.  Widths are named in
:mod:`eyas.interfaces.thc.formats`; all integers are two's complement, ``>>`` rounds down.

*Software prepares, for each block* (:func:`scales`, :func:`mantissas`)::

    M           the norm on which the workers agreed, M ≥ ‖v‖ (of the block v, before the transform)
    f·2^15·2^e  = M,  ½ ≤ f < 1                                       e: the shared exponent
    x[i]        = round(v[i] / 2^e), saturated to ±32767              int16, DRAM: little-endian
    m           = round(2^25 · g / (2·t_p) / (f·2^15))                17 bit unsigned
                = 0 where M = 0, and nowhere else

so that every worker has the same e and m, and m·x·2^−25 is x's share of a position.

*Hardware computes, for each block, from x, m, the table T and the draws* (:func:`encode`)::

    y[i]  = sign[i] ? −x[i] : x[i]                                    17 bit
    h[j]  = Σ_i (−1)^popcount(i & j) · y[i]                           26 bit (modulo 2^26)
    a[j]  = h[j] saturated to −2^24 … 2^24 − 1                        25 bit
    q[j]  = (a[j]·m + (g << 24) + 2^13) >> 14                         one DSP48E1 with its C input
    p[j]  = q[j] clamped to 0 … g << 11                               17 bit unsigned, Q6.11
    z     = the greatest index with T[z] ≤ p[j] >> 11                 4 bit; gap = T[z+1] − T[z]
    δ     = p[j] − (T[z] << 11)                                       0 … gap·2^11 − 1
    index = z + (rnd[j] · gap < δ << 5)                               no step from the last z: gap 0
    index = 0 in the whole block where m = 0

h is in natural (Sylvester) order: the in-place butterflies in any order of the strides give it.  It
leaves 26 bits only for x = −32768, which software never sends.  A step up therefore has the chance
ceil(δ·2^5/gap) / 2^16.

*Draws* come from Threefry-4x32 with 12 rounds (:mod:`models.thc.generator`), 128 bit a call.  Let
i be the coordinate's number in its stream: block number · d + number in the block.  One call is one
integer of 128 bits, word 0 lowest::

    key      = (seed & 0xffffffff, seed >> 32, 0, 0)
    signs:    counter = (i >> 7, step, 0, stream)            bit i & 127:      1 negates
    rounding: counter = (i >> 3, step, worker + 1, stream)   bits 16·(i & 7) and the 15 above: rnd

*Packing*: :data:`eyas.interfaces.thc.formats.PACKING`, coordinate 0 first; byte 0 is the lowest
byte of a little-endian beat.  With 4 bits coordinate 2k stands in the high nibble of byte k.

``tests/thc/scalar.py`` is the same in plain integers, ``tests/thc/test_vectors.py`` has vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from eyas.interfaces.thc.formats import (
    ENCODER_BLOCKS,
    ENCODER_GRANULARITY,
    MANTISSA_BITS,
    MANTISSA_LIMIT,
    MULTIPLICAND_BITS,
    MULTIPLIER_BITS,
    MULTIPLIER_FRACTION,
    POSITION_FRACTION,
    ROUNDING_BITS,
    SUM_BITS,
    LookupTable,
)
from models.thc.generator import random_words, sign_bits
from models.thc.hadamard import hadamard
from models.thc.table import Quantizer

__all__ = ["check", "encode", "mantissas", "positions", "round_positions", "scales"]

_SHIFT = MULTIPLIER_FRACTION - POSITION_FRACTION


def check(quantizer: Quantizer, block: int) -> None:
    """Raise ValueError when the fixed-point form does not know this quantiser or block."""
    if block not in ENCODER_BLOCKS:
        raise ValueError(
            f"The fixed-point encoder knows blocks of {ENCODER_BLOCKS[0]} to {ENCODER_BLOCKS[-1]} "
            f"coordinates, powers of two, not {block}"
        )
    g = quantizer.table.granularity
    if g > ENCODER_GRANULARITY:
        raise ValueError(
            f"The fixed-point encoder knows granularities up to {ENCODER_GRANULARITY}, not {g}"
        )
    if 2 * _multiplier(quantizer) >= 1 << MULTIPLIER_BITS:
        raise ValueError(
            f"The fixed-point encoder's multiplier has {MULTIPLIER_BITS} bits: granularity {g} "
            f"with a share of {quantizer.clamp} clamped needs more; clamp less"
        )


def scales(norms: Tensor, quantizer: Quantizer) -> tuple[Tensor, Tensor]:
    """Each block's exponent e and multiplier m (int32) from its agreed norm (float32)."""
    fractions, exponents = torch.frexp(norms)
    zero = norms == 0
    multipliers = (_multiplier(quantizer) / fractions).round().masked_fill(zero, 0)
    exponents = (exponents - (MANTISSA_BITS - 1)).masked_fill(zero, 0)
    return exponents.to(torch.int32), multipliers.to(torch.int32)


def mantissas(blocks: Tensor, exponents: Tensor) -> Tensor:
    """Float32 ``blocks`` (blocks, d) in units of 2^e, rounded to nearest even: int16."""
    # In two steps: 2^−e by itself may be beyond float32.
    half = exponents.unsqueeze(-1) // 2
    scaled = torch.ldexp(torch.ldexp(blocks, -half), half - exponents.unsqueeze(-1))
    return scaled.round_().clamp_(-MANTISSA_LIMIT, MANTISSA_LIMIT).to(torch.int16)


def positions(words: Tensor, multipliers: Tensor, negative: Tensor, granularity: int) -> Tensor:
    """Where each rotated coordinate lies among the g + 1 points: int32, Q6.11.

    Parameters
    ----------
    words : Tensor
        Mantissas, (blocks, d), any integer type.
    multipliers : Tensor
        One for each block.
    negative : Tensor
        The signs' bits, (blocks, d): 1 negates.
    granularity : int
        g.
    """
    signed = words.to(torch.int32) * (1 - 2 * negative.to(torch.int32))
    sums = _wrapped(hadamard(signed), SUM_BITS)
    limit = 1 << (MULTIPLICAND_BITS - 1)
    wide = sums.clamp_(-limit, limit - 1).to(torch.int64)
    centre = (granularity << (MULTIPLIER_FRACTION - 1)) + (1 << (_SHIFT - 1))
    scaled = (wide.mul_(multipliers.to(torch.int64).unsqueeze(-1)).add_(centre)) >> _SHIFT
    return scaled.clamp_(0, granularity << POSITION_FRACTION).to(torch.int32)


def round_positions(at: Tensor, random: Tensor, table: LookupTable) -> Tensor:
    """Indices (uint8) of int32 positions in Q6.11, rounded by 16 random bits each."""
    place = (at >> POSITION_FRACTION).flatten()
    z, low, gap = (
        torch.tensor(facts, dtype=torch.int32, device=at.device)[list(table.intervals)]
        .index_select(0, place)
        .view_as(at)
        for facts in (range(len(table.entries)), table.entries, table.gaps)
    )
    distance = at - (low << POSITION_FRACTION)
    up = random * gap < distance << (ROUNDING_BITS - POSITION_FRACTION)
    return (z + up).to(torch.uint8)


def encode(
    words: Tensor,
    multipliers: Tensor,
    table: LookupTable,
    *,
    seed: int,
    step: int,
    worker: int,
    stream: int = 0,
    first: int = 0,
) -> Tensor:
    """What the hardware makes of mantissas (blocks, d) and multipliers: indices, uint8.

    ``first`` is the number of the first block in its stream.
    """
    blocks, d = words.shape
    place = {"seed": seed, "step": step, "stream": stream, "first": first * d}
    negative = sign_bits(words.numel(), **place, device=words.device).view(blocks, d)
    random = random_words(words.numel(), **place, worker=worker, device=words.device)
    at = positions(words, multipliers, negative, table.granularity)
    indices = round_positions(at, random.view(blocks, d), table)
    return indices.masked_fill_((multipliers == 0).unsqueeze(-1), 0)


def _multiplier(quantizer: Quantizer) -> float:
    """The multiplier of a block whose fraction f is 1: half the greatest there is."""
    points = quantizer.table.granularity / (2 * quantizer.threshold)
    return points * (1 << (MULTIPLIER_FRACTION - MANTISSA_BITS + 1))


def _wrapped(values: Tensor, bits: int) -> Tensor:
    """``values`` modulo 2^bits, two's complement, for int32."""
    spare = 32 - bits
    return (values << spare) >> spare

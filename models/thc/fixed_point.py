"""The encoder in integers: what the hardware computes, bit for bit.

A block of d = 2^k coordinates (k 3…10; the RTL has k = 10) becomes d indices.  Widths are named in
:mod:`eyas.interfaces.thc`; all integers are two's complement, ``>>`` rounds down.

*Software prepares, for each block* (:func:`scales`, :func:`mantissas`)::

    M           the norm on which the workers agreed, M ≥ ‖v‖ (of the block v, before the transform)
    f·2^e       = M / 32767,  ½ ≤ f < 1                               e: the shared exponent
    x[i]        = round(v[i] / 2^e), saturated to ±32767              int16, DRAM: little-endian
    m           = round(2^25 · g / (2·t_p) / (32767·f))               17 bit unsigned
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
    index = z + (rnd[j] · gap < δ << 5)                               z is the last: gap = 0, no step
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

*Packing*: :data:`eyas.interfaces.thc.PACKING`, coordinate 0 first; byte 0 is the lowest byte of a
little-endian beat.  With 4 bits coordinate 2k stands in the high nibble of byte k.

The test vectors stand in ``tests/thc/vectors.py``.
"""

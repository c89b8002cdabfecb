"""The fixed-point contract once more, a coordinate at a time in Python's integers.

Written from the docstrings of ``models.thc.fixed_point`` and ``models.thc.generator``; it shares
nothing with them but the table.
"""

from collections.abc import Sequence

MASK = 0xFFFF_FFFF
ROTATIONS = ((10, 26), (11, 21), (13, 27), (23, 5), (6, 20), (17, 11), (25, 10), (18, 20))


def threefry(counter: Sequence[int], key: Sequence[int], rounds: int = 12) -> list[int]:
    keys = [*key, 0x1BD11BDA ^ key[0] ^ key[1] ^ key[2] ^ key[3]]
    x = [(counter[i] + keys[i]) & MASK for i in range(4)]
    for r in range(rounds):
        pairs = ((0, 3), (2, 1)) if r % 2 else ((0, 1), (2, 3))
        for (a, b), turn in zip(pairs, ROTATIONS[r % 8], strict=True):
            x[a] = (x[a] + x[b]) & MASK
            x[b] = ((x[b] << turn) | (x[b] >> (32 - turn))) & MASK
            x[b] ^= x[a]
        if (r + 1) % 4 == 0:
            s = (r + 1) // 4
            x = [(x[i] + keys[(s + i) % 5]) & MASK for i in range(4)]
            x[3] = (x[3] + s) & MASK
    return x


def draw(number: int, step: int, worker: int, stream: int, seed: int) -> int:
    """One call as an integer of 128 bits; ``worker`` is counter word 2."""
    words = threefry((number, step, worker, stream), (seed & MASK, seed >> 32, 0, 0))
    return sum(word << (32 * i) for i, word in enumerate(words))


def encode_block(
    words: Sequence[int],
    multiplier: int,
    table: Sequence[int],
    *,
    seed: int,
    step: int,
    worker: int,
    stream: int,
    number: int,
) -> list[int]:
    """Indices of block ``number``."""
    d, g = len(words), table[-1]
    if multiplier == 0:
        return [0] * d
    y = []
    for k, x in enumerate(words):
        i = number * d + k
        negative = draw(i >> 7, step, 0, stream, seed) >> (i & 127) & 1
        y.append(-x if negative else x)
    result = []
    for j in range(d):
        h = sum(-v if (i & j).bit_count() % 2 else v for i, v in enumerate(y))
        h = (h + (1 << 25)) % (1 << 26) - (1 << 25)
        a = min(max(h, -(1 << 24)), (1 << 24) - 1)
        p = min(max((a * multiplier + (g << 24) + (1 << 13)) >> 14, 0), g << 11)
        z = max(z for z, entry in enumerate(table) if entry <= p >> 11)
        i = number * d + j
        rnd = draw(i >> 3, step, worker + 1, stream, seed) >> (16 * (i & 7)) & 0xFFFF
        gap = table[z + 1] - table[z] if z + 1 < len(table) else 0
        result.append(z + (rnd * gap < (p - (table[z] << 11)) << 5))
    return result

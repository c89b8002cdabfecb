"""Random bits by counter: Threefry-4x32, the same in PyTorch and in RTL.

A call takes a key and a counter, four 32-bit words each, and gives 128 bits.  It adds, rotates and
xors only, so that hardware needs no multiplier.  Which counter a coordinate has, and which bits of
the call are its own, is the contract of :mod:`models.thc.fixed_point`::

    x = counter + key;  k4 = 0x1BD11BDA ^ k0 ^ k1 ^ k2 ^ k3
    round r, even:  x0 += x1;  x1 = (x1 <<< R[r % 8][0]) ^ x0
                    x2 += x3;  x3 = (x3 <<< R[r % 8][1]) ^ x2
    round r, odd:   x0 += x3;  x3 = (x3 <<< R[r % 8][0]) ^ x0
                    x2 += x1;  x1 = (x1 <<< R[r % 8][1]) ^ x2
    after every fourth round, s = 1, 2, 3 …:  x[i] += k[(s + i) % 5];  x3 += s

Words are kept in int32 tensors, whose additions wrap: half the memory of int64 with masks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from eyas.interfaces.thc.formats import (
    NO_WORKER,
    ROUNDING_BITS,
    THREEFRY_PARITY,
    THREEFRY_ROTATIONS,
    THREEFRY_ROUNDS,
)

__all__ = ["COORDINATES", "random_words", "sign_bits", "threefry"]

COORDINATES = 1 << 35
"""Coordinates that a stream can have: a draw's number has 32 bits and rounds 8 of them."""

_CHUNK = 1 << 17
"""Draws made at once: enough that PyTorch's cost of a call does not show, 3 MiB of words."""

_WORD = 1 << 32


def threefry(
    counter: Sequence[Tensor | int],
    key: Sequence[int],
    rounds: int = THREEFRY_ROUNDS,
    device: torch.device | str | None = None,
) -> list[Tensor]:
    """The four words of each call, as int32 bit patterns.

    Parameters
    ----------
    counter : four of int or int32 tensor
        Broadcast against each other.
    key : four of int
        32 bits each.
    rounds : int
        12 in this project; the published vectors are of 13 and 20.
    device : torch.device or None
        Where integers of the counter are placed; tensors stay where they are.
    """
    words = torch.broadcast_tensors(*(_tensor(word, device) for word in counter))
    schedule = [*key, THREEFRY_PARITY ^ key[0] ^ key[1] ^ key[2] ^ key[3]]
    x = [word + _signed(schedule[i]) for i, word in enumerate(words)]
    scratch = torch.empty_like(x[0])
    for r in range(rounds):
        first, second = THREEFRY_ROTATIONS[r % len(THREEFRY_ROTATIONS)]
        odd = r % 2
        _mix(x[0], x[3 if odd else 1], first, scratch)
        _mix(x[2], x[1 if odd else 3], second, scratch)
        if r % 4 == 3:
            s = r // 4 + 1
            for i in range(4):
                x[i] += _signed(schedule[(s + i) % 5] + (s if i == 3 else 0))
    return x


def _mix(a: Tensor, b: Tensor, rotation: int, scratch: Tensor) -> None:
    """``a += b; b = (b <<< rotation) ^ a``, in place."""
    a += b
    torch.bitwise_right_shift(b, 32 - rotation, out=scratch)
    scratch &= (1 << rotation) - 1  # the shift drew copies of the sign in
    b <<= rotation
    b |= scratch
    b ^= a


def random_words(
    count: int,
    *,
    seed: int,
    step: int,
    worker: int,
    stream: int = 0,
    first: int = 0,
    device: torch.device | str | None = None,
) -> Tensor:
    """The 16 random bits that round each of ``count`` coordinates, int32 of 0…65535.

    ``first`` is the number of the first coordinate in its stream, a multiple of 8.
    """
    if not 0 <= worker < _WORD - 1:
        raise ValueError(f"A worker's number must be 0 to 2^32 − 2, not {worker}")
    _check(seed, step, stream, first, count, 8)
    draws = _draws(first // 8, -(-count // 8), seed, step, worker + 1, stream, device)
    return draws.view(torch.int16).reshape(-1)[:count].to(torch.int32) & ((1 << ROUNDING_BITS) - 1)


def sign_bits(
    count: int,
    *,
    seed: int,
    step: int,
    stream: int = 0,
    first: int = 0,
    device: torch.device | str | None = None,
) -> Tensor:
    """One bit a coordinate, the same for all workers, int32: 1 negates.

    ``first`` need not be a multiple of anything.
    """
    _check(seed, step, stream, first, count, 1)
    skip = first % 128
    calls = -(-(skip + count) // 128)
    draws = _draws(first // 128, calls, seed, step, NO_WORKER, stream, device)
    places = torch.arange(32, dtype=torch.int32, device=device)
    bits = (draws.unsqueeze(-1) >> places) & 1
    return bits.reshape(-1)[skip : skip + count]


def _draws(
    first: int,
    count: int,
    seed: int,
    step: int,
    worker: int,
    stream: int,
    device: torch.device | str | None,
) -> Tensor:
    """Calls ``first`` and the ``count − 1`` after it: (count, 4) int32, word 0 first."""
    key = (seed % _WORD, seed >> 32, 0, 0)
    result = torch.empty(count, 4, dtype=torch.int32, device=device)
    for start in range(0, count, _CHUNK):
        part = result[start : start + _CHUNK]
        # From a signed first number on, so that int32 counts through 2^31 by wrapping.
        numbers = torch.arange(len(part), dtype=torch.int32, device=device)
        numbers += _signed(first + start)
        for i, word in enumerate(threefry((numbers, step, worker, stream), key, device=device)):
            part[:, i] = word
    return result


def _check(seed: int, step: int, stream: int, first: int, count: int, multiple: int) -> None:
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"A seed has 64 bits: 0 to 2^64 − 1, not {seed}")
    for name, value in (("step", step), ("stream", stream)):
        if not 0 <= value < _WORD:
            raise ValueError(f"A {name} has 32 bits: 0 to 2^32 − 1, not {value}")
    if first < 0 or count < 0 or first + count > COORDINATES:
        raise ValueError(f"Coordinates of a stream are 0 to 2^35 − 1, not {first} + {count}")
    if first % multiple:
        raise ValueError(f"The first coordinate must be a multiple of {multiple}, not {first}")


def _tensor(word: Tensor | int, device: torch.device | str | None) -> Tensor:
    if isinstance(word, Tensor):
        return word
    return torch.tensor(_signed(word), dtype=torch.int32, device=device)


def _signed(word: int) -> int:
    """The int32 with the bit pattern of ``word`` modulo 2^32."""
    return (word + (1 << 31)) % _WORD - (1 << 31)

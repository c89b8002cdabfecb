"""One all-reduce a round: the norms, and whether every worker can go on."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import torch
from torch import Tensor

from eyas.services.aggregation.collectives import Peers

__all__ = ["BadGradient", "Health"]

_STEPS = 1 << 24
"""Step numbers are compared modulo this: float32 holds them exactly."""


class BadGradient(ValueError):
    """A worker's gradient cannot be sent; the message names rank and parameter."""


class _Fault(enum.IntEnum):
    NAN = 0
    INFINITE = 1
    HUGE = 2

    @property
    def words(self) -> str:
        return ("a NaN", "an infinity", "values whose norm is beyond float32")[self]


class Health:
    """Agrees on the norms by an all-reduce MAX that carries, behind them, one word a rank.

    MAX need not propagate a NaN, so a rank with a bad gradient sends zeros for norms, and in its
    word which parameter is bad.  Every rank sees all words and raises the same error.  Two more
    words are the step and its negative: their maxima differ where the workers' steps do.
    """

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    @property
    def words(self) -> int:
        """Words that travel with the norms."""
        return self._peers.size + 2

    def agree(
        self, norms: Tensor, parts: Sequence[Tensor], names: Sequence[str], step: int
    ) -> Tensor:
        """The largest norm of each block among all workers.

        ``parts`` are the values of each parameter in the vector, ``names`` theirs.  Raises
        BadGradient on all ranks when one of them has a NaN or an infinity.
        """
        size, rank = self._peers.size, self._peers.rank
        words = torch.zeros(self.words)
        if not bool(torch.isfinite(norms).all()):
            words[rank] = 1 + _first_fault(parts)
            norms = torch.zeros_like(norms)
        words[size] = step % _STEPS
        words[size + 1] = -(step % _STEPS)
        together = torch.cat([norms, words])
        self._peers.all_reduce_max(together, "Agreeing on the norms")
        norms, words = together.split([norms.numel(), self.words])
        for number, code in enumerate(words[:size].int().tolist()):
            if code:
                index, fault = divmod(code - 1, len(_Fault))
                raise BadGradient(
                    f"Rank {number}: the gradient of {names[index]} holds {_Fault(fault).words} "
                    f"at step {step}"
                )
        if words[size] != -words[size + 1]:
            raise ValueError(
                f"The workers are at different steps, from {int(-words[size + 1])} to "
                f"{int(words[size])}: load checkpoints of one step on all of them"
            )
        return norms


def _first_fault(parts: Sequence[Tensor]) -> int:
    """Which parameter is bad, and how, in one number."""
    for index, part in enumerate(parts):
        if bool(part.isnan().any()):
            return index * len(_Fault) + _Fault.NAN
        if bool(part.isinf().any()):
            return index * len(_Fault) + _Fault.INFINITE
    largest = max(range(len(parts)), key=lambda index: float(parts[index].abs().max()))
    return largest * len(_Fault) + _Fault.HUGE

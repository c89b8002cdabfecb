"""The all-reduce at the start of a round: it agrees on the norms and finds bad gradients."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import torch
from torch import Tensor

from eyas.services.aggregation.collectives import Peers
from eyas.services.hook.loss_scale import NO_SCALER

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
    word which parameter is bad.  Every rank sees all words and comes to the same conclusion.  Four
    more words are the step, the loss's scale, and the negative of each: two maxima differ where
    the workers' values do.
    """

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    @property
    def words(self) -> int:
        """Words that travel with the norms."""
        return self._peers.size + 4

    def agree(
        self,
        norms: Tensor,
        parts: Sequence[Tensor],
        names: Sequence[str],
        step: int,
        scale: float = NO_SCALER,
    ) -> Tensor | None:
        """The largest norm of each block among all workers; None when the round overflowed.

        ``parts`` are the values of each parameter in the vector, ``names`` theirs.  When a rank
        has a NaN or an infinity, all ranks raise BadGradient, or, where the loss is scaled, return
        None.
        """
        size, rank = self._peers.size, self._peers.rank
        words = torch.zeros(self.words)
        if not bool(torch.isfinite(norms).all()):
            words[rank] = 1 + _first_fault(parts)
            norms = torch.zeros_like(norms)
        for place, value in enumerate((step % _STEPS, scale)):
            words[size + 2 * place] = value
            words[size + 2 * place + 1] = -value
        together = torch.cat([norms, words])
        self._peers.all_reduce_max(together, "Agreeing on the norms")
        norms, words = together.split([norms.numel(), self.words])
        _, (most, minus_least), (large, minus_small) = words.split([size, 2, 2])
        if most != -minus_least:
            raise ValueError(
                f"The workers are at different steps, from {int(-minus_least)} to {int(most)}: "
                f"load checkpoints of one step on all of them"
            )
        if large != -minus_small:
            raise ValueError(
                f"The workers' loss scales differ at step {step}, from {-float(minus_small):g} to "
                f"{float(large):g} (0: no scaler): give each worker's ThcState its GradScaler, and "
                f"load checkpoints of one step into all scalers"
            )
        codes = words[:size].int().tolist()
        for number, code in enumerate(codes):
            if code and scale == NO_SCALER:
                index, fault = divmod(code - 1, len(_Fault))
                raise BadGradient(
                    f"Rank {self._peers.ranks[number]}: the gradient of {names[index]} holds "
                    f"{_Fault(fault).words} at step {step}"
                )
        return None if any(codes) else norms


def _first_fault(parts: Sequence[Tensor]) -> int:
    """Which parameter is bad, and how, in one number."""
    for index, part in enumerate(parts):
        if bool(part.isnan().any()):
            return index * len(_Fault) + _Fault.NAN
        if bool(part.isinf().any()):
            return index * len(_Fault) + _Fault.INFINITE
    filled = [index for index, part in enumerate(parts) if part.numel()]
    largest = max(filled, key=lambda index: float(parts[index].abs().max()))
    return largest * len(_Fault) + _Fault.HUGE

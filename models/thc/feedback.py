"""Error feedback: what a round did not carry is added to the next round's gradient."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

__all__ = ["ErrorFeedback"]


class ErrorFeedback:
    """The errors of one worker, by parameter.

    A round is ``v = correct(name, gradient)``, encode ``v``, then ``keep(name, residual)`` with
    :meth:`models.thc.codec.Codec.residual`.  Errors are keyed by parameter and not by bucket, for
    buckets are rebuilt.

    Where the loss is scaled, gradients and residuals are given with their ``scale``; errors are
    kept in the units of the unscaled gradient, so that they are right when the scale has changed.
    """

    def __init__(self) -> None:
        self._errors: dict[str, Tensor] = {}

    def correct(self, name: str, gradient: Tensor, scale: float = 1.0) -> Tensor:
        """``gradient`` plus what was left of ``name``; a new tensor."""
        error = self._errors.get(name)
        if error is None:
            return gradient.clone()
        if error.shape != gradient.shape:
            raise ValueError(
                f"The error kept for {name} has shape {tuple(error.shape)}, "
                f"its gradient {tuple(gradient.shape)}: it belongs to another model"
            )
        return gradient + error if scale == 1 else gradient.add(error, alpha=scale)

    def keep(self, name: str, residual: Tensor, scale: float = 1.0) -> None:
        """Remember what this round left of ``name``."""
        error = residual.detach()
        self._errors[name] = error.clone() if scale == 1 else error / scale

    def state_dict(self) -> dict[str, Tensor]:
        """The errors, for a checkpoint."""
        return {name: error.clone() for name, error in self._errors.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint; what was kept before is forgotten."""
        self._errors = {name: error.clone() for name, error in state.items()}

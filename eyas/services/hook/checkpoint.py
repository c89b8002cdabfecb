"""Reads a checkpoint of the hook, and refuses one of another worker or model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Size, Tensor

from eyas.services.hook.parameters import plain_name

__all__ = ["read_checkpoint"]

_BELONGINGS = {
    "codec": "THC parameters",
    "workers": "number of workers",
    "worker": "worker",
}


def read_checkpoint(
    state: Mapping[str, Any], mine: Mapping[str, Any], shapes: Mapping[str, Size]
) -> tuple[int, dict[str, Tensor]]:
    """The step and the errors of a checkpoint; ValueError when it is another worker's or model's.

    Parameters
    ----------
    state : mapping
        The checkpoint.
    mine : mapping
        What this worker would save now.
    shapes : mapping
        Of the model's parameters, by name.
    """
    missing = sorted(mine.keys() - (state.keys() if isinstance(state, Mapping) else set()))
    if missing:
        raise ValueError(f"This is no checkpoint of a ThcState: it lacks {', '.join(missing)}")
    for key, what in _BELONGINGS.items():
        if state[key] != mine[key]:
            raise ValueError(
                f"The checkpoint belongs to another {what} ({state[key]}, here {mine[key]}): "
                f"each worker loads its own, with the settings it was saved with"
            )
    step, errors = state["step"], state["errors"]
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise ValueError(f"The checkpoint's step must be a whole number from 0 on, not {step!r}")
    if not isinstance(errors, Mapping):
        raise ValueError(f"The checkpoint's errors must be tensors by name, not {type(errors)}")
    # A model may have such names of its own, beside the plain ones.
    names = {name: name if name in shapes else plain_name(name) for name in errors}
    if len(set(names.values())) < len(names):
        raise ValueError("The checkpoint holds two errors of one parameter: it is damaged")
    return step, {names[name]: _error(names[name], error, shapes) for name, error in errors.items()}


def _error(name: str, error: Tensor, shapes: Mapping[str, Size]) -> Tensor:
    if name not in shapes:
        raise ValueError(
            f"The checkpoint holds an error of {name}, a parameter that this model does not have: "
            f"load it into the model it was saved with"
        )
    if not isinstance(error, Tensor) or error.shape != shapes[name]:
        found = tuple(error.shape) if isinstance(error, Tensor) else type(error).__name__
        raise ValueError(
            f"The checkpoint's error of {name} has shape {found}, the parameter "
            f"{tuple(shapes[name])}: load it into the model it was saved with"
        )
    if not error.is_floating_point() or not bool(error.isfinite().all()):
        raise ValueError(
            f"The checkpoint's error of {name} must hold finite numbers: it is damaged"
        )
    return error.detach().to("cpu", torch.float32)

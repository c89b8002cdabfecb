"""Why a network cannot be compiled."""

from __future__ import annotations

__all__ = ["CompileError"]


class CompileError(ValueError):
    """The network does not fit the engine; the message is one sentence with the figures."""

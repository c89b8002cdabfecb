"""Why a network cannot be compiled."""

from __future__ import annotations

__all__ = ["CompileError", "Refusal", "ScaleError"]


class Refusal(ValueError):
    """A network that cannot be taken, with everything that stands in its way.

    The message has a line for each blocker, the most serious first.

    Parameters
    ----------
    blockers : str
        One sentence each; at least one.
    """

    def __init__(self, *blockers: str) -> None:
        super().__init__("\n".join(blockers))
        self.blockers = blockers
        """The sentences, the most serious first."""


class CompileError(Refusal):
    """The network does not fit the engine; each blocker is one sentence with the figures."""


class ScaleError(CompileError):
    """The scales of a layer are too far apart for the engine to requantise with."""

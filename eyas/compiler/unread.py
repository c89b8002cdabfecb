"""A stand-in for what an importer could not read, so that the rest can be examined as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from models.vision.graph import Node
from models.vision.node import Tensors

__all__ = ["Unread"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Unread(Node):
    """An operator that is refused: it reads and writes tensors, and is not run.

    Parameters
    ----------
    sources : tuple of str
        The tensors that it reads; ``input`` is the first of them, or empty.
    """

    sources: tuple[str, ...]

    op: ClassVar[str] = "unread"

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.sources

    def check(self, tensors: Tensors) -> None:
        """Nothing is known of it."""

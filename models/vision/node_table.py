"""What belongs to each type of node, for one concern: a row a type.  NumPy only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from models.vision.node import GraphError, Node

__all__ = ["NodeTable", "UnknownNode"]

Row = TypeVar("Row")


class UnknownNode(GraphError):
    """A table has no row for a node's type."""


class NodeTable(Generic[Row]):
    """Rows by the type of a node: adding a type of node is adding a row to each table.

    Parameters
    ----------
    concern : str
        What the rows are for, as in "the reference has no kernel".
    rows : dict of type to row
        A row for a base class holds for its subclasses that have none of their own.
    """

    def __init__(self, concern: str, rows: Mapping[type[Node], Row]) -> None:
        self._concern = concern
        self._rows = dict(rows)

    def __getitem__(self, node: Node) -> Row:
        """The row of the node's type; UnknownNode, which names it, where there is none."""
        for kind in type(node).__mro__:
            if kind in self._rows:
                return self._rows[kind]
        known = ", ".join(kind.__name__ for kind in self._rows)
        raise UnknownNode(f"{node.label}: {self._concern} for this type of node, only for {known}")

    def missing(self, kinds: Iterable[type[Node]]) -> list[type[Node]]:
        """Those of the types that have no row."""
        return [kind for kind in kinds if not set(kind.__mro__) & set(self._rows)]

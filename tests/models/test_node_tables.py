"""Every type of node has its row in every table, and a missing one is named."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from eyas.compiler import compile_graph
from eyas.compiler.lowering.folding import FOLDING
from eyas.compiler.lowering.plan import LAYERS
from eyas.compiler.lowering.ranges import RANGES
from models.vision.graph import NODE_TYPES, AveragePool2D, Graph, MaxPool2D, Node, Pool2D, Tensor
from models.vision.node_table import NodeTable, UnknownNode
from models.vision.reference import KERNELS

TABLES: dict[str, NodeTable[Any]] = {
    "the reference has no kernel": KERNELS,
    "the engine has no operation": LAYERS,
    "the compiler has no ranges": RANGES,
    "the compiler folds no channels": FOLDING,
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Transpose(Node):
    """A type that no table knows."""

    op: ClassVar[str] = "transpose"

    def check(self, tensors: Any) -> None:
        pass


@pytest.mark.parametrize("concern", TABLES)
def test_each_type_has_a_row_and_a_missing_one_is_named(concern: str) -> None:
    assert TABLES[concern].missing(NODE_TYPES.values()) == []
    assert TABLES[concern].missing([Transpose]) == [Transpose]
    with pytest.raises(UnknownNode, match=f"^Transpose 'x': {concern} for this type of node, only"):
        TABLES[concern][Transpose(name="x", input="a", output="b")]


def test_a_row_of_a_base_class_holds_for_what_has_none_of_its_own() -> None:
    table = NodeTable("nothing", {Pool2D: 1, MaxPool2D: 2})
    pool = {"name": "x", "input": "a", "output": "b", "window": (1, 1), "stride": (1, 1)}
    assert table[MaxPool2D(**pool)] == 2
    assert table[AveragePool2D(**pool)] == 1


def test_a_graph_with_an_unknown_node_is_refused_by_its_name() -> None:
    tensors = {name: Tensor(name, (2, 2, 1), 0.1, 0) for name in "ab"}
    node = Transpose(name="x", input="a", output="b")
    graph = Graph(name="net", tensors=tensors, nodes=(node,), input="a", output="b")
    with pytest.raises(ValueError, match=r"^Transpose 'x': the "):
        compile_graph(graph)

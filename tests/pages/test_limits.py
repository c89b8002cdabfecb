"""The limits on the page about .tflite files are those of the interfaces, and the real ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drivers.vision import softmax
from eyas.compiler import CompileError, compile_graph
from eyas.interfaces.vision import limits
from eyas.interfaces.vision.config import DEFAULT_VISION
from eyas.pages import limits as page
from hdl.vision.datapath.pooling import PoolingUnit
from models.vision.graph import FullyConnected, Graph, MaxPool2D, Mean, Node, Tensor


def test_the_page_is_fresh() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert text == page.with_part(text), "run python -m eyas.pages.limits and commit what it writes"


def test_a_stale_page_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "tflite.md"
    copy.write_text(page.PAGE.read_text(encoding="utf-8").replace("256 KiB", "257 KiB"))
    assert page.main(["--check", "--page", str(copy)]) == 1
    assert f"{copy} is out of date" in capsys.readouterr().err
    assert page.main(["--page", str(copy)]) == 0
    assert page.main(["--check", "--page", str(copy)]) == 0
    copy.write_text("no marks")
    with pytest.raises(ValueError, match="The page must have"):
        page.main(["--check", "--page", str(copy)])


def test_the_figures_of_the_default_array() -> None:
    text = page.limits_part()
    for figure in ("256 KiB (2,048 rows)", "| 96 KiB |", "2,040", "4,096", "less than 2^15", "127"):
        assert figure in text
    assert "512 KiB (4,096 rows)" in page.limits_part(replace(DEFAULT_VISION, weight_rows=4096))


def test_limits_that_hardware_and_driver_have_as_well() -> None:
    assert PoolingUnit.max_taps == limits.POOL_VALUES
    assert softmax.CLASSES_MAX == limits.SOFTMAX_CLASSES


def _compile(node: Node, source: tuple[int, int, int], target: tuple[int, int, int]) -> None:
    tensors = {"a": Tensor("a", source, 0.1, 0), "b": Tensor("b", target, 0.1, 0)}
    compile_graph(Graph(name="net", tensors=tensors, nodes=(node,), input="a", output="b"))


def test_the_limits_hold() -> None:
    """At the limit a network compiles, beyond it the message has the limit."""

    def dense(inputs: int) -> None:
        node = FullyConnected(
            name="x", input="a", output="b", weights=np.ones((2, inputs), np.int8),
            bias=np.zeros(2, np.int32), weight_scales=np.full(2, 0.01, np.float32),
        )  # fmt: skip
        _compile(node, (1, 1, inputs), (1, 1, 2))

    def mean(side: int) -> None:
        _compile(Mean(name="x", input="a", output="b"), (side, 64, 1), (1, 1, 1))

    def pool(stride: int) -> None:
        node = MaxPool2D(name="x", input="a", output="b", window=(1, 1), stride=(stride, 1))
        _compile(node, (stride + 1, 1, 1), (2, 1, 1))

    for make, limit, message in (
        (dense, 2040, "256 input blocks, the engine takes at most 255"),
        (mean, 64, "a window of 4160 values, the engine pools 4096"),
        (pool, 15, "16 vertical stride, the engine takes at most 15"),
    ):
        make(limit)
        with pytest.raises(CompileError, match=message):
            make(limit + 1)

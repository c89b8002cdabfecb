"""The notebooks: what is kept in the files is what a run on the simulated boards gives."""

from __future__ import annotations

import base64
import re
from typing import Any

import nbformat
import numpy as np
import pytest

from eyas.compiler import compile_graph
from eyas.interfaces.vision.program_file import Program
from models.vision.graph import Graph
from models.vision.networks import digits
from tests.notebooks.execute import FOLDER, NOTEBOOKS, executed

PICTURES = {"switch.ipynb": 1, "thc.ipynb": 1, "vision.ipynb": 2}
"""Plots of each notebook."""
PNG = b"\x89PNG\r\n\x1a\n"


def kept(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / name, as_version=4)


def outputs(notebook: nbformat.NotebookNode) -> list[tuple[str, Any]]:
    """What each code cell printed and showed; of a plot its size in words, not its pixels."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        printed = "".join(item.text for item in cell.outputs if item.output_type == "stream")
        shown = [item.data["text/plain"] for item in cell.outputs if "data" in item]
        found.append((cell.source, printed, shown))
    return found


def plots(notebook: nbformat.NotebookNode) -> list[bytes]:
    return [
        base64.b64decode(item.data["image/png"])
        for cell in notebook.cells
        for item in cell.get("outputs", ())
        if "image/png" in item.get("data", {})
    ]


def test_every_notebook_is_known():
    assert set(PICTURES) <= set(NOTEBOOKS)


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_run_gives_the_outputs_that_are_kept(name):
    """Else: python -m tests.notebooks.execute."""
    fresh = executed(name)
    for number, (new, old) in enumerate(zip(outputs(fresh), outputs(kept(name)), strict=True)):
        assert new == old, f"{name}, code cell {number}"
    assert len(plots(fresh)) == len(plots(kept(name)))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_kept_notebook_is_whole(name):
    notebook = kept(name)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [item for cell in cells for item in cell.outputs if item.get("name") == "stderr"], (
        "warnings are kept"
    )
    found = plots(notebook)
    assert len(found) == PICTURES.get(name, len(found))
    assert all(plot.startswith(PNG) and len(plot) > 8_000 for plot in found)


@pytest.mark.parametrize("overlay", ["vision", "thc", "switch"])
def test_it_says_which_two_lines_a_real_board_changes(overlay):
    cells = kept(f"{overlay}.ipynb").cells
    (said,) = (cell.source for cell in cells if "these two lines change" in cell.source)
    there = re.search(r"```python\n(.*)\n(.*)\n```", said)
    assert there is not None
    assert there[1] == "from drivers.real.pynq_board import PynqBoard"
    assert there[2].startswith(f'board = PynqBoard.open("{overlay}.bit")')
    here = cells[cells.index(next(cell for cell in cells if cell.source == said)) + 1].source
    assert [line for line in here.splitlines() if line] == [
        f"from drivers.simulated.{overlay} import {overlay}_board",
        f"board = {overlay}_board()",
    ]
    others = "\n".join(cell.source for cell in cells if cell.source not in (said, here))
    assert "simulated." not in others, "something else knows the simulator"


def test_the_program_is_what_the_compiler_makes_of_its_graph():
    """Else: eyas demo --keep notebooks."""
    program = Program.load(FOLDER / "digits.eyas")
    graph = Graph.from_bytes(program.graph)
    assert compile_graph(graph, program.config).image == program.image
    kept_pictures, fresh = np.load(FOLDER / "digits.npz"), digits()
    np.testing.assert_array_equal(kept_pictures["images"], fresh.test_images)
    np.testing.assert_array_equal(kept_pictures["labels"], fresh.test_labels)

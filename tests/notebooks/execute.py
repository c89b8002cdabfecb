"""Runs the notebooks: ``python -m tests.notebooks.execute`` keeps their outputs in the files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

__all__ = ["FOLDER", "NOTEBOOKS", "executed"]

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
TIMEOUT_S = 900
"""Of one cell: the first may build a simulator."""


def executed(name: str) -> NotebookNode:
    """The notebook ``name`` with the outputs of a run from its top."""
    notebook = nbformat.read(FOLDER / name, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    # The notebook's folder is where it runs; the checkout need not be installed.
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    environment.pop("MPLBACKEND", None)  # the kernel has its own, which keeps figures as outputs
    client = NotebookClient(
        notebook,
        startup_timeout=300,
        kernel_name="python3",
        timeout=TIMEOUT_S,
        resources={"metadata": {"path": str(FOLDER)}},
        record_timing=False,
    )
    client.execute(env=environment)
    del notebook.metadata["language_info"]  # names this machine's Python
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def main() -> None:
    """Run the notebooks named, or all, and keep their outputs."""
    for name in sys.argv[1:] or NOTEBOOKS:
        nbformat.write(executed(name), FOLDER / name)
        print(FOLDER / name)


if __name__ == "__main__":
    main()

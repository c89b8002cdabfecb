"""Data sets that are not part of the project: where tests look for them.

The folder is named by the environment variable ``EYAS_DATA``, or is one of those that
:mod:`eyas.data_files` names.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eyas import data_files
from eyas.data_files import find_data

__all__ = ["data_file", "fashion_mnist"]

ABSENT = "not part of the project"
"""In the reason of every test that is skipped for a published file; the run's last lines count
them and say what brings the files."""


def data_file(name: str) -> Path:
    """The file's path; the test that asks is skipped, saying so, when there is none."""
    path = find_data(name)
    if path is None:
        pytest.skip(f"{name} is {ABSENT}")
    return path


def fashion_mnist() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """As :func:`eyas.data_files.fashion_mnist`; the test is skipped where there is none."""
    try:
        return data_files.fashion_mnist()
    except FileNotFoundError:
        pytest.skip(f"Fashion-MNIST is {ABSENT}")

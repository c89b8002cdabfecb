"""Data sets that are not part of the project: where tests look for them.

The folder is named by the environment variable ``EYAS_DATA``, or is one of those that
:mod:`eyas.data_files` names.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eyas.data_files import find_data

__all__ = ["data_file", "fashion_mnist"]


def data_file(name: str) -> Path:
    """The file's path; the test that asks is skipped, saying so, when there is none."""
    path = find_data(name)
    if path is None:
        pytest.skip(f"{name} is missing: set EYAS_DATA to the folder that holds it")
    return path


def fashion_mnist(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (uint8 [N, 28, 28]) and labels of Fashion-MNIST's ``part``, train or test."""
    with np.load(data_file(f"fashion_mnist_{part}.npz")) as archive:
        return archive["images"], archive["labels"]

"""Where data that are not part of Eyas are looked for: published networks, Fashion-MNIST."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["data_folders", "find_data"]


def data_folders() -> Iterator[Path]:
    """EYAS_DATA, what ``eyas fetch`` fills by default, and a folder beside the repository."""
    if os.environ.get("EYAS_DATA"):
        yield Path(os.environ["EYAS_DATA"])
    yield Path("data")
    yield Path(__file__).resolve().parents[2] / "shared" / "data"


def find_data(name: str) -> Path | None:
    """The first file ``name``, relative to one of the folders; None when there is none."""
    return next((path for folder in data_folders() if (path := folder / name).is_file()), None)

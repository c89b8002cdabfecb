"""Declared coverage: a bench names what it has to have seen, and fails where it has not."""

from collections.abc import Iterable

import cocotb

__all__ = ["Coverage"]


class Coverage:
    """Bins by name, each with how often it was hit.

    Parameters
    ----------
    bins : iterable of str
        All of them have to be hit.
    """

    def __init__(self, bins: Iterable[str]):
        self._hits = dict.fromkeys(bins, 0)

    def hit(self, name: str, when: object = True) -> None:
        """Count the bin where ``when`` holds; KeyError for a bin that was not declared."""
        self._hits[name] += bool(when)

    def check(self) -> None:
        """Print the bins; fail when one is empty."""
        for name, hits in self._hits.items():
            cocotb.log.info("coverage: %s: %d", name, hits)
        empty = [name for name, hits in self._hits.items() if not hits]
        assert not empty, f"empty coverage bins: {', '.join(empty)}"

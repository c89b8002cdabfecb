# amaranth: UnusedElaboratable=no
"""The harness itself: what it says when something is missing."""

import pytest

from hdl.parts.stream import StreamBuffer
from tests.formal import harness

pytestmark = pytest.mark.formal


def test_a_missing_tool_is_named_with_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(harness._PACKAGES, "z3", ("no-such-z3", "z3-solver"))
    with pytest.raises(FileNotFoundError, match="no-such-z3 is missing: pip install z3-solver"):
        harness.check(StreamBuffer(1), None, tmp_path, depth=1)


def test_a_mutation_that_hits_nothing_is_refused():
    with pytest.raises(ValueError, match="'nowhere' occurs 0 times in StreamBuffer"):
        harness.mutant(StreamBuffer, "nowhere", "somewhere")

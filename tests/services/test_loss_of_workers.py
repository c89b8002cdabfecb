"""A worker that ends or hangs: the others say which, within the stated time."""

from collections.abc import Iterator

import pytest

from tests.services import jobs
from tests.services.ranks import Ranks


@pytest.fixture
def mortal() -> Iterator[Ranks]:
    workers = Ranks(3)
    yield workers
    workers.close()


@pytest.mark.parametrize(("sleeping", "limit"), [(False, 3.5), (True, 7.5)])
def test_the_missing_rank_is_named(mortal: Ranks, sleeping: bool, limit: float) -> None:
    """Ended: within the grace of 2 s and a second; hanging: timeout of 4 s more."""
    answers = mortal.run(jobs.die_at, 1, 2, sleeping)
    assert answers[1] is None
    for rank in (0, 2):
        waited, message = answers[rank]
        assert "rank 1 gave no sign of life within 2 s" in message
        assert waited < limit + 2  # a busy machine

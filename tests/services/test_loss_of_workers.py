"""A worker that ends, hangs or is slow: all others say which, and whether it is alive."""

from collections.abc import Iterator

import pytest
from torch.distributed.distributed_c10d import default_pg_timeout

from eyas.services.aggregation.collectives import Peers
from eyas.services.aggregation.training_job import DEFAULT_TIMEOUT
from tests.services import jobs
from tests.services.ranks import Ranks

BUSY = 60.0
"""Seconds that a busy machine may add."""


@pytest.fixture
def mortal() -> Iterator[Ranks]:
    workers = Ranks(3)
    yield workers
    workers.close()


def test_a_dead_rank_is_named(mortal: Ranks) -> None:
    """Within the grace of 3 s and a second; the timeout of 4 s is not waited for."""
    answers = mortal.run(jobs.die_at, 1, 2, None)
    assert answers[1] is None
    for rank in (0, 2):
        waited, message = answers[rank]
        assert "rank 1 gave no sign of life within 3 s and has ended" in message
        assert waited < 4 + BUSY


@pytest.mark.parametrize("seconds", [5.0, 10.0])
def test_a_slow_rank_is_said_to_be_alive_also_to_itself(mortal: Ranks, seconds: float) -> None:
    """It comes while the others look who is missing, or when they have gone."""
    answers = mortal.run(jobs.die_at, 1, 2, seconds)
    for _, message in answers:
        assert "rank 1 has not come for 4 s, although alive" in message
        assert "longer timeout" in message
    assert all(waited < 4 + 3 + BUSY for waited, _ in answers)


def test_a_rank_that_makes_no_state_is_named(mortal: Ranks) -> None:
    answers = mortal.run(jobs.stay_away, 1)
    for message in (answers[0], answers[2]):
        assert "rank 1 has not constructed a ThcState within 2 s" in message


@pytest.mark.parametrize("service", [False, True])
def test_a_rank_that_closes_early_is_named(ranks: Ranks, service: bool) -> None:
    """It keeps nobody waiting until the timeout, nor do the others keep it."""
    answers = ranks.run(jobs.close_early, 2, service)
    for message in answers[:2]:
        assert "rank 2 has closed the hook or ended" in message


def test_half_an_hour_is_waited_for_a_slow_rank(ranks: Ranks) -> None:
    assert default_pg_timeout.total_seconds() == DEFAULT_TIMEOUT
    assert ranks.run(jobs.patient, 3.0) == [True] * 3


def test_without_a_process_group_there_are_no_workers() -> None:
    with pytest.raises(RuntimeError, match="There is no process group: call"):
        Peers()

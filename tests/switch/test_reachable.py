"""Small systems exhaustively: no reachable state breaks the invariant, from each all can end."""

import pytest

from eyas.interfaces.switch.states import Policy
from tests.switch import mutants
from tests.switch.reachable import Broken, Small, search

SYSTEMS = (
    Small(losses=2),
    Small(losses=1, copies=1),
    Small(losses=1, early=1),
    Small(losses=1, evictions=1),
    Small(keys=2, losses=1),
    Small(keys=2, losses=1, evictions=1),
    Small(needed=1, losses=1, copies=1),
    Small(needed=1, losses=1, early=1),
    Small(Policy.ALWAYS, keys=2, losses=1),
    Small(Policy.RANDOM, keys=2, losses=1),
    Small(Policy.ATP, losses=1, early=1),
    Small(Policy.ATP, losses=1, copies=1),
    Small(Policy.ATP, keys=2, losses=1),
    Small(Policy.SWITCHML, losses=2),
    Small(Policy.SWITCHML, keys=2, copies=1),
)
DEEP = (
    Small(losses=2, copies=1, most=2_000_000),
    Small(losses=2, early=1, evictions=1, most=2_000_000),
    Small(losses=3, early=1, most=2_000_000),
    Small(keys=2, losses=2, most=2_000_000),
    Small(keys=2, losses=1, copies=1, most=2_000_000),
    Small(keys=2, needed=1, losses=1, most=2_000_000),
    Small(Policy.ALWAYS, keys=2, losses=2, most=2_000_000),
    Small(Policy.ATP, keys=2, losses=1, copies=1, most=2_000_000),
    Small(Policy.SWITCHML, keys=2, losses=2, copies=1, most=2_000_000),
)


def _search(small: Small) -> None:
    found = search(small)
    print(f"{small}: {found}")
    assert found.states > 100
    assert found.steps > found.states
    assert found.ends > 0


@pytest.mark.parametrize("small", SYSTEMS, ids=str)
def test_no_reachable_state_breaks_the_invariant(small: Small) -> None:
    _search(small)


@pytest.mark.nightly
@pytest.mark.parametrize("small", DEEP, ids=str)
def test_no_state_of_larger_systems_does(small: Small) -> None:
    _search(small)


@pytest.mark.parametrize(
    ("mutant", "small"),
    [
        (mutants.no_query, Small(losses=2)),
        (mutants.quorum_in_the_switch, Small(needed=1, losses=1, copies=1)),
        (mutants.duplicates_added, Small(losses=1, copies=1)),
        (mutants.resend_added_in_the_switch, Small(keys=2, losses=1)),
        (mutants.swap_keeps_the_bitmap, Small(keys=2, losses=1)),
        (mutants.swap_keeps_the_sums, Small(keys=2, losses=1)),
        (mutants.superset_added, Small(Policy.ATP, losses=1, early=1)),
        (mutants.numbers_compared_plainly, Small(losses=2)),
        (mutants.worker_keeps_no_results, Small(losses=1)),
        (mutants.delivered_again, Small(losses=2)),
        (mutants.final_made_twice, Small(needed=1, losses=1, copies=1)),
        (mutants.unanswered_copy, Small(Policy.SWITCHML, losses=2)),
    ],
    ids=lambda item: getattr(item, "__name__", ""),
)
def test_mutants_are_found(mutant, small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    with pytest.raises((Broken, ValueError)):
        search(small)


def test_a_search_that_grows_too_large_says_so() -> None:
    with pytest.raises(MemoryError, match="more than 50 states"):
        search(Small(most=50))

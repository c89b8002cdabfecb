"""The invariant that everything serves, in random episodes; and that its harness notices faults.

For every key each worker's contribution is in the delivered sum exactly once (or, in a quorum job,
exactly the workers of the result's bitmap), all workers receive the same bits, and once losses stop
every job ends.
"""

import pytest
from hypothesis import given, settings

from eyas.interfaces.switch.packet import PacketKind
from eyas.interfaces.switch.states import Outcome, Policy
from models.switch.network import Fate
from models.switch.system import Stuck
from tests.switch.episodes import (
    Episode,
    JobShape,
    Lanes,
    Seen,
    Violation,
    calm,
    episodes,
    random_episode,
    run_episode,
)
from tests.switch.mutants import MUTANTS


@pytest.mark.slow
@pytest.mark.parametrize("policy", Policy, ids=lambda policy: policy.name)
def test_hypothesis_finds_no_violation(policy: Policy) -> None:
    @settings(max_examples=80)
    @given(episodes((policy,)))
    def holds(episode: Episode) -> None:
        run_episode(episode)

    holds()


@pytest.mark.slow
def test_episodes_by_seed_hold_and_see_everything() -> None:
    seen = Seen()
    for seed in range(200):
        run_episode(random_episode(seed), seen)
    print(seen)
    assert seen.episodes == 200
    for outcome in set(Outcome) - {Outcome.MISFIT, Outcome.IDLE}:
        assert seen.outcomes[outcome] > 20, outcome
    assert seen.resends > 1000
    assert all(seen.fates[fate] > 100 for fate in Fate)
    assert all(seen.kinds[kind] > 100 for kind in PacketKind)
    assert all(seen.server[what] > 100 for what in ("made", "adopted", "reminders", "queries"))


@pytest.mark.nightly
@pytest.mark.parametrize("part", range(10))
def test_ten_thousand_episodes(part: int) -> None:
    for seed in range(1000 * (part + 1), 1000 * (part + 2)):
        try:
            run_episode(random_episode(seed))
        except Exception as error:
            pytest.fail(f"seed {seed}: {error}")


@pytest.mark.parametrize("policy", Policy, ids=lambda policy: policy.name)
def test_without_faults_nothing_is_sent_again(policy: Policy) -> None:
    lanes, first = Lanes.UINT8, (1 << 32) - 2
    job = JobShape(3, 10, 3, 2, first, lanes, 100, (0.0, 1.0, 2.0))
    seen = Seen()
    run_episode(calm(Episode(policy, 2, 0, 0, (job,), 5, 0.0, 0.0, 0.0)), seen)
    assert seen.kinds[PacketKind.DATA] == 30
    assert seen.resends == 0
    assert seen.outcomes[Outcome.COMPLETED] == 10
    assert seen.kinds[PacketKind.QUERY] == seen.kinds[PacketKind.REMINDER] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mutant", "policies"), MUTANTS, ids=lambda item: getattr(item, "__name__", "")
)
def test_mutants_are_caught(mutant, policies, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    with pytest.raises((Violation, Stuck, ValueError)):
        _hunt(range(300), policies)
    monkeypatch.undo()
    _hunt(range(5), policies)


def _hunt(seeds: range, policies: tuple[Policy, ...]) -> None:
    for seed in seeds:
        run_episode(random_episode(seed, policies))

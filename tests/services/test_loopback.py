"""The loop-back system: gradients of several jobs through one switch and a network that loses."""

import pytest
import torch

from drivers.simulated.switch import switch_board
from drivers.switch import Switch
from eyas.interfaces.switch.states import Policy
from eyas.services.loopback.gradient_job import GradientJob
from eyas.services.loopback.system import Loopback, partition
from models.switch.network import LossyNetwork
from models.thc.codec import Codec
from models.thc.round import mean

WORKERS = 3
LENGTH = 3000


def gradients(seed: int, rounds: int, workers: int = WORKERS) -> list[list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        [torch.randn(LENGTH, generator=generator) for _ in range(workers)] for _ in range(rounds)
    ]


@pytest.mark.parametrize("policy", Policy, ids=lambda policy: policy.name)
def test_jobs_end_with_equal_bits_and_right_sums(policy: Policy) -> None:
    jobs = [GradientJob(gradients(seed, 2), priority) for seed, priority in ((1, 200), (2, 90))]
    network = LossyNetwork(3, loss=0.1, duplication=0.05, reorder=0.05)
    reports = Loopback(jobs, 4, policy, network).run()
    assert [report.job for report in reports] == [0, 1]
    for report in reports:
        assert report.equal
        assert report.right
        assert report.rounds == 2
        # Blocks of 1024: three packets a worker and round, fewer where a result came first.
        assert report.packets == 2 * 3 * WORKERS
        assert report.resends > 0
        assert 0 < report.error < 0.2


def test_what_is_decoded_is_the_models_round() -> None:
    source = gradients(5, 2)
    loopback = Loopback([GradientJob(source)], 8, network=LossyNetwork(1))
    (report,) = loopback.run()
    for step, vectors in enumerate(source):
        expected = mean(vectors, Codec.default(), step=step)
        for worker in range(WORKERS):
            assert torch.equal(loopback.prepared[0].decode(worker, step), expected)
    assert report.completions == report.rounds * 3
    assert report.resends == report.queries == 0


def test_a_quorum_goes_on_and_says_who_is_in() -> None:
    jobs = [GradientJob(gradients(7, 2, 5), needed=3)]
    loopback = Loopback(jobs, 4, Policy.ESA, LossyNetwork(2, loss=0.2))
    (report,) = loopback.run()
    assert report.equal
    assert report.right
    bitmaps = {item.bitmap for item in loopback.prepared[0].job.delivered[0]}
    assert all(bin(bitmap).count("1") >= 3 for bitmap in bitmaps)
    assert any(bitmap != 0b11111 for bitmap in bitmaps)


@pytest.mark.parametrize("priorities", [(9, 250), (250, 9)])
def test_higher_priority_has_the_slots(priorities: tuple[int, int]) -> None:
    jobs = [GradientJob(gradients(seed, 3), priority) for seed, priority in enumerate(priorities)]
    reports = sorted(Loopback(jobs, 2).run(), key=lambda report: report.priority)
    low, high = reports
    assert high.completions > low.completions
    assert high.passed < low.passed
    assert high.preemptions > 0
    assert low.preemptions == 0


@pytest.mark.slow
def test_the_rtl_does_the_same() -> None:
    """Through the driver and the Verilated overlay everything is as with the golden switch."""
    jobs = [GradientJob(gradients(seed, 2), priority) for seed, priority in ((1, 100), (2, 200))]
    with switch_board() as board, Switch(board) as driver:
        for epoch, policy in enumerate((Policy.ESA, Policy.ATP, Policy.SWITCHML, Policy.ALWAYS)):
            golden = Loopback(jobs, 4, policy, LossyNetwork(4)).run()
            rtl = Loopback(jobs, 4, policy, LossyNetwork(4), epoch=epoch, driver=driver).run()
            assert rtl == golden


def test_history_tells_who_holds_a_slot() -> None:
    loopback = Loopback([GradientJob(gradients(1, 1)), GradientJob(gradients(2, 1))], 2)
    loopback.run()
    assert {slot for _, slot, _ in loopback.history} <= {0, 1}
    assert {job for _, _, job in loopback.history} == {-1, 0, 1}
    times = [time for time, _, _ in loopback.history]
    assert times == sorted(times)
    assert len(loopback.deliveries) >= 2 * 3 * WORKERS


def test_what_cannot_work_is_refused() -> None:
    job = GradientJob(gradients(1, 1))
    with pytest.raises(ValueError, match="power of two from 1 to 256, not 3"):
        Loopback([job], 3)
    with pytest.raises(ValueError, match="no job to run"):
        Loopback([])
    with pytest.raises(ValueError, match="each of 3 jobs needs 2 slots of its own: 4 are too few"):
        Loopback([job] * 3, 4, Policy.SWITCHML)
    with pytest.raises(ValueError, match="1 to 32 workers, not 33"):
        Loopback([GradientJob(gradients(1, 1, 33))]).run()
    with pytest.raises(ValueError, match="no quorum"):
        Loopback([GradientJob(gradients(1, 1), needed=2)], 4, Policy.SWITCHML).run()
    assert partition(8, 3) == 2
    assert partition(256, 3) == 64

"""The communication hook among real processes, with the reference aggregator."""

import pytest
import torch

from models.thc.codec import Codec
from models.thc.round import mean
from models.thc.table import Quantizer
from tests.services import jobs
from tests.services.ranks import Failed, Ranks


def flat(tensors) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


@pytest.mark.parametrize("form", ["float", "fixed"])
def test_a_round_is_the_models_round(ranks: Ranks, form: str) -> None:
    """One bucket with the parameters in DDP's order, against the round in one process."""
    answers = ranks.run(jobs.one_round, form)
    own = [flat(gradients) for gradients, _ in answers]
    codec = Codec(Quantizer.optimal(), seed=jobs.SEED)
    # The first round's bucket has the parameters in the model's order.
    expected = mean(own, codec, step=0, form=form)
    for _, found in answers:
        assert torch.equal(flat(found.values()), expected)
    true = torch.stack(own).mean(0)
    error = float((expected - true).square().sum() / true.square().sum())
    assert 0.001 < error < 0.1


def test_replicas_stay_equal_and_follow_plain_training(ranks: Ranks) -> None:
    found = ranks.run(jobs.by_reference, 30)
    for weights, _ in found[1:]:
        assert torch.equal(weights, found[0][0])
    exact = ranks.run(jobs.plain, 30, False)[0]
    start = jobs.weights(jobs.model())
    moved = (exact - start).norm()
    assert (found[0][0] - exact).norm() < 0.1 * moved
    assert not torch.equal(found[0][0], exact)


def test_bypass_is_pytorchs_all_reduce_bit_for_bit(ranks: Ranks) -> None:
    hooked, plain = ranks.run(jobs.plain, 5, True), ranks.run(jobs.plain, 5, False)
    for ours, theirs in zip(hooked, plain, strict=True):
        assert torch.equal(ours, theirs)


def test_payload_is_an_eighth_up_and_a_quarter_down(ranks: Ranks) -> None:
    count = jobs.weights(jobs.model()).numel()
    for _, traffic in ranks.run(jobs.by_reference, 3):
        # Each bucket of an odd number of coordinates has half a byte more.
        assert 0 <= traffic["payload_up"] - 3 * count / 2 <= 3 * 2
        assert traffic["payload_down"] == 3 * count
        assert (
            traffic["padding_down"]
            == 2 * traffic["padding_up"] + traffic["payload_up"] * 2 - (traffic["payload_down"])
        )
        assert traffic["headers_up"] == traffic["headers_down"] > 0
        assert traffic["norms_up"] > 0
        assert traffic["resent_up"] == 0


@pytest.mark.parametrize("options", [{"lane_bits": 16}, {"form": "fixed"}])
def test_wide_lanes_and_the_fixed_form(ranks: Ranks, options) -> None:
    found = ranks.run(jobs.with_options, options)
    assert all(torch.equal(weights, found[0][0]) for weights, _ in found)
    narrow = ranks.run(jobs.with_options, {})[0][0]
    assert torch.equal(found[0][0], narrow) == ("lane_bits" in options)


def test_errors_follow_their_parameters_when_buckets_are_rebuilt(ranks: Ranks) -> None:
    for seen, _, errors in ranks.run(jobs.small_buckets):
        assert len(seen) == 3
        assert seen[0] != seen[1], "buckets were not rebuilt: the test shows nothing"
        assert len(seen[1]) > 1
        shapes = {name: tuple(p.shape) for name, p in jobs.model().named_parameters()}
        assert {name: tuple(error.shape) for name, error in errors.items()} == shapes
        assert all(float(error.abs().max()) > 0 for error in errors.values())


def test_a_checkpoint_goes_on_as_if_nothing_had_happened(ranks: Ranks) -> None:
    for whole, parts in ranks.run(jobs.checkpointed, 6, 3):
        assert torch.allclose(whole, parts, rtol=0.05, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codec": 1}, "another THC parameters"),
        ({"workers": 2}, "another number of workers (2, here 3)"),
        ({"worker": 7}, "another worker (7, here "),
    ],
)
def test_a_foreign_checkpoint_is_refused(ranks: Ranks, changes, message: str) -> None:
    for answer in ranks.run(jobs.foreign_checkpoint, changes):
        assert isinstance(answer, Failed)
        assert answer.kind == "ValueError"
        assert message in answer.message


def test_workers_at_different_steps_are_told_so(ranks: Ranks) -> None:
    for answer in ranks.run(jobs.at_other_steps):
        assert isinstance(answer, Failed)
        assert "different steps, from 5 to 7: load checkpoints of one step" in answer.message


@pytest.mark.parametrize(
    ("value", "word"), [(float("nan"), "a NaN"), (float("-inf"), "an infinity")]
)
def test_a_bad_gradient_is_named_on_all_ranks(ranks: Ranks, value: float, word: str) -> None:
    for raised, failure, finite, stopped in ranks.run(jobs.bad_gradient, 1, value):
        expected = f"Rank 1: the gradient of 2.bias holds {word} at step 2"
        assert failure == expected
        assert expected in raised
        assert finite, "the error feedback was spoilt"
        assert stopped


def test_a_norm_beyond_float32_is_named(ranks: Ranks) -> None:
    for _, failure, _, _ in ranks.run(jobs.bad_gradient, 2, 3e38 * 8):
        assert failure.startswith("Rank 2: the gradient of 2.bias holds")


def test_all_zero_gradients_work(ranks: Ranks) -> None:
    for gradients, errors in ranks.run(jobs.zero_gradients):
        assert not gradients.any()
        assert not any(error.any() for error in errors.values())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("table", "Rank 1 has another table ((0, 1, 2, "),
        ("seed", "Rank 1 has another seed (2) than rank 0 (1): all workers must have the same"),
        ("parameters", "Rank 1 has another set of parameters"),
        ("lanes", "Rank 1 has another lane width (16) than rank 0 (8)"),
    ],
)
def test_other_settings_are_refused_at_the_start(ranks: Ranks, name: str, message: str) -> None:
    for answer in ranks.run(jobs.other_settings, name):
        assert isinstance(answer, Failed)
        assert answer.kind == "ValueError"
        assert message in answer.message

"""What users' scripts do with the hook: subgroups, fp16 and its scaler, wrappers, checkpoints."""

from collections.abc import Iterator

import pytest
import torch

from eyas.services.aggregation.client import ServiceAggregator
from eyas.services.hook.checkpoint import read_checkpoint
from eyas.services.hook.health import _Fault, _first_fault
from eyas.services.hook.loss_scale import NO_SCALER, current_scale
from eyas.services.hook.parameters import plain_name
from models.thc.feedback import ErrorFeedback
from tests.services import jobs, scripts
from tests.services.ranks import Failed, Ranks


@pytest.fixture(scope="module")
def four() -> Iterator[Ranks]:
    workers = Ranks(4)
    yield workers
    workers.close()


@pytest.fixture(scope="module")
def two() -> Iterator[Ranks]:
    workers = Ranks(2)
    yield workers
    workers.close()


def refused(answers, kind: str, message: str) -> None:
    for answer in answers:
        assert isinstance(answer, Failed), answer
        assert answer.kind == kind, answer
        assert message in answer.message


@pytest.mark.parametrize("aggregator", scripts.AGGREGATORS)
def test_subgroups_train_as_worlds_of_their_own(four: Ranks, two: Ranks, aggregator: str) -> None:
    """Two groups of two in a world of four: each has the weights of a world of two."""
    alone = two.run(scripts.in_subgroups, 2, aggregator)[0]
    for weights in four.run(scripts.in_subgroups, 2, aggregator):
        assert torch.equal(weights, alone)
    assert not torch.equal(four.run(scripts.in_subgroups, 4, aggregator)[0], alone)


def test_groups_that_overlap(ranks: Ranks) -> None:
    first, second, third = ranks.run(scripts.overlapping_groups)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert torch.equal(first[1], third[0])
    assert not torch.equal(first[0], first[1])


def test_another_group_than_the_modules_is_refused(ranks: Ranks) -> None:
    for answer in ranks.run(scripts.another_group):
        assert isinstance(answer, Failed)
        assert "The module averages its gradients over ranks 0, 1, 2, process_group has ranks" in (
            answer.message
        )


def test_one_worker_trains_with_either_aggregator() -> None:
    alone = Ranks(1)
    try:
        ((reference, _),) = alone.run(jobs.by_reference, 3)
        ((service, _),) = alone.run(jobs.by_service, 3, {})
    finally:
        alone.close()
    assert torch.equal(reference, service)


def test_a_changing_scale_changes_no_bit(ranks: Ranks) -> None:
    """GradScaler's scales are powers of two: whatever they are, training is the unscaled one."""
    plain = ranks.run(scripts.scaled, 6, None)
    for mine, (weights, errors, scales, skips) in zip(
        plain, ranks.run(scripts.scaled, 6, scripts.grad_scaler), strict=True
    ):
        assert len(set(scales)) == 3
        assert not any(skips)
        assert torch.equal(weights, mine[0])
        assert all(torch.equal(errors[name], error) for name, error in mine[1].items())


def test_an_overflow_on_one_rank_is_skipped_by_all(ranks: Ranks) -> None:
    """One bucket's overflow leaves the errors of all buckets of that step as they were."""
    plain = ranks.run(scripts.scaled, 6, None, 3)
    for mine, (weights, errors, scales, skips) in zip(
        plain, ranks.run(scripts.scaled, 6, scripts.grad_scaler, 3), strict=True
    ):
        assert skips == [step == 3 for step in range(6)]
        assert scales[4] == scales[3] / 2
        assert torch.equal(weights, mine[0])
        assert all(torch.equal(errors[name], error) for name, error in mine[1].items())


def test_fp16_autocast_finds_its_scale(ranks: Ranks) -> None:
    answers = ranks.run(scripts.half, 12)
    for weights, losses, end in answers:
        assert torch.equal(weights, answers[0][0])
        assert losses[0] == losses[1], "nothing overflowed: the test shows nothing"
        assert losses[-1] < 0.95 * losses[0]
        assert end.endswith(" None")


@pytest.mark.parametrize("make", [None, scripts.disabled_scaler])
def test_without_a_scaler_an_overflow_ends_training(ranks: Ranks, make) -> None:
    function = jobs.bad_gradient if make is None else scripts.overflow_without_scaling
    for raised, *_ in ranks.run(function, 1, float("inf")):
        assert "Rank 1: the gradient of 2.bias holds an infinity at step" in raised


def test_a_mean_beyond_fp16_overflows_too(ranks: Ranks) -> None:
    assert ranks.run(scripts.half_weights, True) == [("None", True)] * 3
    message = "The mean gradient of weight is beyond torch.float16 at step 0"
    assert ranks.run(scripts.half_weights, False) == [(message, False)] * 3


def test_unlike_scales_are_refused_on_all_ranks(ranks: Ranks) -> None:
    message = "The workers' loss scales differ at step 0, from 2 to 4 (0: no scaler)"
    refused(ranks.run(scripts.unlike_scales), "RuntimeError", message)


@pytest.mark.parametrize(("scale", "error"), [(0.0, ValueError), (float("nan"), ValueError)])
def test_a_scale_is_a_positive_number(scale: float, error: type[Exception]) -> None:
    with pytest.raises(error, match="The loss's scale must be a positive number"):
        current_scale(lambda: scale)
    with pytest.raises(TypeError, match="A scaler is a GradScaler or a function, not"):
        current_scale(2.0)  # type: ignore[arg-type]
    assert current_scale(None) == current_scale(scripts.disabled_scaler()) == NO_SCALER


def test_errors_are_kept_unscaled() -> None:
    feedback = ErrorFeedback()
    feedback.keep("w", torch.tensor([65536.0]), 65536.0)
    assert feedback.state_dict()["w"].item() == 1
    assert feedback.correct("w", torch.tensor([8.0]), 4.0).item() == 12


@pytest.mark.parametrize("wrapping", ["inside", "outside"])
def test_compiled_models_keep_their_errors(ranks: Ranks, wrapping: str) -> None:
    names = [name for name, _ in jobs.model().named_parameters()]
    for compiled, loaded, difference in ranks.run(scripts.errors_through_compile, wrapping):
        assert sorted(compiled) == sorted(loaded) == sorted(names)
        assert difference is None


def test_names_without_wrappers() -> None:
    assert plain_name("_orig_mod.block._orig_mod.0._checkpoint_wrapped_module.w") == "block.0.w"
    assert plain_name("my_orig_mod.w") == "my_orig_mod.w"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"errors": {"0.bias": torch.zeros(7)}}, "error of 0.bias has shape (7,), the parameter"),
        ({"errors": {"9.bias": torch.zeros(7)}}, "error of 9.bias, a parameter that this model"),
        ({"errors": {"0.bias": torch.full((120,), torch.nan)}}, "must hold finite numbers"),
        ({"errors": {"0.bias": [0.0] * 120}}, "error of 0.bias has shape list"),
        ({"errors": [1]}, "errors must be tensors by name"),
        ({"step": -1}, "step must be a whole number from 0 on, not -1"),
        ({"step": 2.5}, "step must be a whole number from 0 on, not 2.5"),
        ({"errors": None}, "This is no checkpoint of a ThcState: it lacks errors"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused_when_loaded(
    ranks: Ranks, changes, message: str
) -> None:
    for answer in ranks.run(scripts.bad_checkpoint, changes):
        assert message in answer


def test_a_pickled_state_is_its_checkpoint(ranks: Ranks) -> None:
    for equal, *answers in ranks.run(scripts.pickled):
        assert equal
        for answer in answers:
            assert answer.startswith("This ThcState came out of a pickle: construct a new one")


@pytest.mark.parametrize(
    ("hidden", "message"),
    [
        (False, "The layer bag makes sparse gradients, which THC cannot add: make it with sparse="),
        (True, "takes dense gradients of real floats, not sparse ones"),
    ],
)
def test_sparse_gradients_are_refused(ranks: Ranks, hidden: bool, message: str) -> None:
    refused(ranks.run(scripts.sparse, hidden), "ValueError", message)


def test_complex_gradients_are_refused(ranks: Ranks) -> None:
    message = "takes dense gradients of real floats, not torch.complex64 ones"
    refused(ranks.run(scripts.complex_numbers), "ValueError", message)


def test_a_model_s_own_wrapper_like_names_are_kept_apart() -> None:
    shapes = {name: torch.Size([2]) for name in ("a.weight", "a._orig_mod.weight")}
    errors = {name: torch.full((2,), float(number)) for number, name in enumerate(shapes)}
    mine = {"step": 0, "errors": {}, "codec": 1, "workers": 1, "worker": 0}
    _, found = read_checkpoint(mine | {"errors": errors}, mine, shapes)
    assert {name: float(error[0]) for name, error in found.items()} == {
        "a.weight": 0.0, "a._orig_mod.weight": 1.0,
    }  # fmt: skip
    plain = {"a.weight": torch.Size([2])}
    with pytest.raises(ValueError, match="two errors of one parameter"):
        read_checkpoint(mine | {"errors": errors}, mine, plain)


def test_a_huge_gradient_beside_an_empty_one_is_named() -> None:
    parts = [torch.empty(0), torch.ones(2), torch.full((2,), 3e38)]
    assert _first_fault(parts) == 2 * len(_Fault) + _Fault.HUGE


@pytest.mark.parametrize("options", [{"quorum": 3}, {"loss_rate": 0.1}])
def test_what_belongs_to_the_service_is_refused_with_its_address(options) -> None:
    with pytest.raises(ValueError, match="belong to the service"):
        ServiceAggregator(address="127.0.0.1:1", **options)
    assert ServiceAggregator(**options).facts() != ServiceAggregator().facts()

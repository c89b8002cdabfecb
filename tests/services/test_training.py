"""Whole training runs in processes of their own."""

import pytest

from eyas.services.training.run import Settings, TrainingError, train
from tests.data import fashion_mnist

ALL = ("fp32", "thc", "uthc")


def run(**changes):
    settings = {"dataset": "digits", "workers": 2, "batch": 16, "points": 2, "learning_rate": 0.1}
    return train(Settings(**{**settings, **changes}))


def test_50_steps_through_the_verilated_unit_end_in_the_references_weights() -> None:
    by_reference = run(rounds=50, schemes=("thc",))["thc"].last
    by_hardware = run(rounds=50, schemes=("thc",), aggregator="simulated")["thc"].last
    assert by_hardware.weights == by_reference.weights
    assert by_hardware.accuracy == by_reference.accuracy > 0.9
    for name, count in by_reference.traffic.items():
        assert name == "resent_up" or by_hardware.traffic[name] == count


def test_schemes_lost_packets_and_the_figures_for_scripts() -> None:
    seen = []
    settings = Settings(
        dataset="digits", workers=2, batch=16, rounds=12, points=3, aggregator="simulated",
        loss_rate=0.05,
    )  # fmt: skip
    curves = train(settings, seen.append)
    assert list(curves) == list(ALL)
    assert [(report.scheme, report.round) for report in seen] == [
        (scheme, round_) for scheme in ALL for round_ in (4, 8, 12)
    ]
    fp32, thc, uthc = (curve.as_dict() for curve in curves.values())
    for figures in (fp32, thc, uthc):
        assert figures["rounds"] == 12
        assert figures["replicas_equal"]
    assert fp32["bytes_up"] == fp32["bytes_down"] == 8 * thc["bytes_up"] == 4 * thc["bytes_down"]
    assert uthc["bytes_up"] == thc["bytes_up"]
    assert thc["total_up"] == sum(n for key, n in thc["traffic"].items() if key.endswith("_up"))
    assert thc["traffic"]["resent_up"] > 0
    assert len({figures["weights_sha256"] for figures in (fp32, thc, uthc)}) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": 1}, "Workers must be at least 2, not 1"),
        ({"workers": 33, "aggregator": "simulated"}, "Packets name at most 32 workers, not 33"),
        ({"workers": 256}, "Workers must be 1 to 255, not 256"),
        ({"loss_rate": 0.1}, "The reference aggregator loses no packets"),
        ({"loss_rate": 1.0, "aggregator": "simulated"}, "Loss rate must be 0 to less than 1"),
        ({"quorum": 3, "aggregator": "simulated"}, "Quorum must be 1 to 2 workers, not 3"),
        ({"dataset": "letters"}, "The data set must be one of fashion-mnist, digits"),
        ({"schemes": ("fp8",)}, "The scheme must be one of fp32, thc, uthc, not 'fp8'"),
    ],
)
def test_what_cannot_work_is_refused_before_a_process_starts(changes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(**changes)


def test_a_workers_failure_is_the_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A learning rate that blows the weights up ends in a gradient that is not finite."""
    with pytest.raises(TrainingError, match=r"Rank \d: the gradient of \S+ holds .* at step \d+"):
        run(rounds=40, schemes=("thc",), learning_rate=1e20)


@pytest.mark.nightly
def test_an_epoch_of_fashion_mnist_through_the_verilated_unit() -> None:
    fashion_mnist()  # skips where there is none
    common = {"dataset": "fashion-mnist", "workers": 4, "batch": 32, "rounds": 468}
    by_reference = run(**common, schemes=("thc",))["thc"].last
    by_hardware = run(**common, schemes=("thc",), aggregator="simulated")["thc"].last
    assert by_hardware.weights == by_reference.weights
    assert by_hardware.accuracy == by_reference.accuracy


@pytest.mark.nightly
def test_accuracy_on_fashion_mnist_is_fp32s() -> None:
    fashion_mnist()
    curves = run(dataset="fashion-mnist", workers=4, batch=32, rounds=1406, schemes=("fp32", "thc"))
    fp32, thc = curves["fp32"].last.accuracy, curves["thc"].last.accuracy
    assert fp32 > 0.87
    assert abs(fp32 - thc) <= 0.005

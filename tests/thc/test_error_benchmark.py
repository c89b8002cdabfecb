"""The benchmark's schemes: each error where a formula gives it."""

import json
import sys

import pytest
import torch

from benchmarks import thc_error
from models.thc.table import Quantizer

BLOCKS = 128


def scheme(name: str) -> thc_error.Scheme:
    return next(item for item in thc_error.SCHEMES if item.name == name)


def normal_error(name: str, workers: int) -> float:
    """NMSE of one normal vector, held by all."""
    vector = torch.randn(BLOCKS * 1024, generator=torch.Generator().manual_seed(5))
    found = scheme(name).run(vector.expand(workers, -1), 3)
    return thc_error.nmse(found, vector)


def test_lloyd_max_is_the_published_quantizer() -> None:
    """Max (1960): 4 levels at 0.4528 and 1.510."""
    centres = thc_error.lloyd_max(4)
    assert centres.tolist() == pytest.approx([-1.510, -0.4528, 0.4528, 1.510], abs=5e-4)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(
    ("name", "error"),
    [
        # Lloyd–Max distortion D, made unbiased: D / (1 − D), with D as Max published it.
        ("eden", 0.009497 / (1 - 0.009497)),
        ("eden_2_bit", 0.1175 / (1 - 0.1175)),
    ],
)
def test_unbiased_schemes_average_as_predicted(name: str, error: float, workers: int) -> None:
    assert normal_error(name, workers) == pytest.approx(error / workers, rel=0.03)


@pytest.mark.parametrize(("name", "levels"), [("qsgd", 7), ("qsgd_5_bit", 15)])
def test_qsgd_adds_the_variance_of_its_steps(name: str, levels: int) -> None:
    """f·(1 − f) a coordinate, in steps of ‖v‖/levels, f the place within the step."""
    vector = torch.randn(BLOCKS, 1024, generator=torch.Generator().manual_seed(5))
    norms = vector.norm(dim=1, keepdim=True)
    place = (vector.abs() / norms * levels).frac()
    variance = (place * (1 - place) * (norms / levels).square()).sum() / vector.square().sum()
    assert normal_error(name, 1) == pytest.approx(variance.item(), rel=0.03)
    assert normal_error(name, 4) == pytest.approx(variance.item() / 4, rel=0.03)


def test_thc_in_the_benchmark_is_as_predicted() -> None:
    assert normal_error("thc", 4) == pytest.approx(Quantizer.optimal().error(4), rel=0.03)
    assert normal_error("thc_fixed_point", 4) == pytest.approx(normal_error("thc", 4), rel=0.01)


def test_the_range_of_a_block_costs_what_a_step_does() -> None:
    """Uniform steps of width w add w²/6 when every place within a step is as likely."""
    vector = torch.randn(BLOCKS, 1024, generator=torch.Generator().manual_seed(5))
    width = (vector.amax(1) - vector.amin(1)) / 15
    expected = (width.square() / 6).mean().item()
    assert normal_error("hadamard_uniform", 1) == pytest.approx(expected, rel=0.05)


def test_what_adds_and_what_does_not() -> None:
    assert {item.name for item in thc_error.SCHEMES if item.adds} == {
        item.name for item in thc_error.SCHEMES if item.name.startswith("thc")
    }


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command(monkeypatch, capsys, as_json: bool) -> None:
    arguments = ["thc_error", "--blocks", "2", "--trials", "1", *(["--json"] if as_json else [])]
    monkeypatch.setattr(sys, "argv", arguments)
    thc_error.main()
    out = capsys.readouterr().out
    if as_json:
        found = json.loads(out)["nmse"]
        assert set(found) == {item.name for item in thc_error.SCHEMES}
        assert 0.01 < found["thc"]["same"]["1"] < 0.03
        assert found["thc"]["same"]["8"] < found["thc"]["same"]["1"]
        assert found["thc_single_norm"]["uneven"]["2.0"] > found["thc"]["uneven"]["2.0"]
    else:
        assert "hadamard_uniform" in out
        assert "σ=0.5" in out


def test_bad_arguments_are_one_sentence(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["thc_error", "--trials", "0"])
    with pytest.raises(SystemExit):
        thc_error.main()
    assert "--trials must be at least 1, not 0" in capsys.readouterr().err

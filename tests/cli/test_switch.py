"""eyas switch: reports, plots, and what is refused."""

import json
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_run_reports_each_job_and_draws(eyas, tmp_path: Path) -> None:
    plot = tmp_path / "slots.svg"
    answer = eyas(
        "switch", "run", "--jobs", 3, "--workers", 2, "--slots", 2, "--rounds", 1,
        "--loss", 0.05, "--plot", plot, "--json",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert (found["policy"], found["slots"], found["switch"]) == ("esa", 2, "golden")
    assert [job["priority"] for job in found["jobs"]] == [200, 100, 50]
    for job in found["jobs"]:
        assert job["equal"] is True
        assert job["right"] is True
        # 15,418 coordinates in packets of 1024, from two workers.
        assert job["packets"] == 2 * 16
        assert job["completions"] + job["passed"] > 0
    assert sum(job["preemptions"] for job in found["jobs"]) > 0
    assert sum(job["resends"] for job in found["jobs"]) > 0
    assert b"job 2, priority 50" in plot.read_bytes() or plot.stat().st_size > 10_000


def test_the_table_has_a_column_a_job(eyas) -> None:
    answer = eyas("switch", "run", "--rounds", 1, "--workers", 2, "--policy", "switchml")
    assert answer.code == 0, answer.err
    assert "job 0" in answer.out
    assert "job 1" in answer.out
    assert "took a slot over" in answer.out
    assert "Proof: all workers hold the same bits" in answer.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--slots", 3), "--slots must be a power of two from 1 to 256, not 3"),
        (("--jobs", 3, "--policy", "switchml"), "needs 2 slots of its own: 4 are too few"),
        (("--loss", 1), "--loss must be less than 1: of 1, no packet arrives"),
        (("--slots", 512, "--switch", "rtl"), "--slots must be a power of two from 1 to 256"),
        (("--seed", -1), "should be greater than or equal to 0"),
        (("--plot", "nowhere/slots.svg"), "there is no folder nowhere"),
        (("--loss", 0.5, "--duplication", 0.6), "together are at most 1"),
        (("--loss", 1.5), "Loss is a share from 0 to 1, not 1.5"),
        (("--priority", 5), "2 jobs need 2 times --priority, not 1"),
        (("--priority", 5, "--priority", 300), "--priority must be 1 to 255, not 300"),
        (("--quorum", 5), "--quorum must be at most the 4 workers, not 5"),
        (("--quorum", 2, "--policy", "switchml"), "there is no quorum"),
        (("--plot", "slots.txt"), "a plot is a .pdf, .png, .svg file"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(eyas, arguments, message: str) -> None:
    answer = eyas("switch", "run", *arguments)
    assert answer.code == 2
    assert message in " ".join(answer.err.replace("│", " ").split())
    assert answer.out == ""


@pytest.mark.slow
def test_a_network_that_loses_too_much_is_named(eyas) -> None:
    """Its jobs give up, so there are no sums to compare."""
    answer = eyas("switch", "run", "--rounds", 1, "--workers", 2, "--loss", 0.8)
    assert (answer.code, answer.out) == (2, "")
    (line,) = (item for item in answer.err.splitlines() if item.startswith("eyas: "))
    assert "ended: no progress" in line
    assert line.endswith("the network loses too many packets (--loss 0.8)")

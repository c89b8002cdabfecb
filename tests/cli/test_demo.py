"""eyas demo, whole: training to bit-exact answers of the default array."""

import json
import re
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_demo_and_what_it_keeps(eyas, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    answer = eyas("demo", "--keep", folder)
    assert answer.code == 0, answer.err
    words = " ".join(answer.out.split())
    found = re.search(r"360 held-out pictures: float ([\d.]+)%, int8 on the RTL ([\d.]+)%", words)
    assert found is not None, words
    float_accuracy, int8_accuracy = map(float, found.groups())
    assert float_accuracy >= 97
    assert abs(float_accuracy - int8_accuracy) <= 1
    assert "all 3,600 outputs of 360 pictures equal the PyTorch reference" in words
    found = re.search(r"of 15,418 coordinates, ([\d,]+) bytes each instead of 61,672, .* in", words)
    assert found is not None, words
    assert found.group(1) == "8,192"
    assert "all 16,384 sums equal the PyTorch reference, bit for bit" in words
    found = re.search(r"priority 200 took a slot over (\d+) times and finished at (\d+), .* "
                      r"priority 100 at (\d+)", words)  # fmt: skip
    assert found is not None, words
    taken, first, second = map(int, found.groups())
    assert taken > 0
    assert first < second
    assert "after 4 rounds all workers hold the same bits" in words

    answer = eyas(
        "run", folder / "digits.eyas", "--input", folder / "digits.npz", "--limit", 20, "--check",
        "--json",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["bit_exact"] is True
    answer = eyas("compile", folder / "digits.qgraph", "-o", folder / "again.eyas")
    assert answer.code == 0, answer.err
    assert (folder / "again.eyas").read_bytes() == (folder / "digits.eyas").read_bytes()

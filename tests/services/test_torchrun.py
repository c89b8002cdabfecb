"""The hook under torchrun, through the Verilated unit."""

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("torchrun_script.py")


def test_two_ranks_of_torchrun_end_with_the_same_weights() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "-m", "tests.services.torchrun_script"),
        ],
        cwd=SCRIPT.parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    digests = re.findall(r"weights (\w{64}) step 3", done.stdout)
    assert len(digests) == 2, done.stdout
    assert digests[0] == digests[1]

"""What the switch's row engine takes of the chip, by Yosys."""

import pytest

from bitstreams.synthesis import synthesize
from eyas.interfaces.switch.config import SwitchConfig
from hdl.switch.rows.row_engine import RowEngine

pytestmark = [pytest.mark.synth, pytest.mark.slow, pytest.mark.nightly]


@pytest.mark.parametrize(("slots", "bram36"), [(256, 64 + 4), (512, 128 + 4)])
def test_resources(slots, bram36):
    """The slots take what their bits take, the egress queue 4 block RAMs."""
    report = synthesize(RowEngine(SwitchConfig(slots=slots)))
    print(report)
    assert report.lut <= 2900
    assert report.ff <= 2000
    assert report.bram36 == bram36
    assert report.dsp == 0

"""What the THC units take of the chip, by Yosys."""

import pytest

from bitstreams.synthesis import synthesize
from eyas.interfaces.thc.config import ThcConfig
from hdl.thc.encode.encoder import Encoder
from hdl.thc.lanes.lookup_lanes import LookupLanes

pytestmark = [pytest.mark.synth, pytest.mark.slow, pytest.mark.nightly]


@pytest.mark.parametrize(
    ("unit", "lut", "ff", "bram36", "dsp"),
    [
        (LookupLanes(ThcConfig()), 2700, 2400, 4, 0),
        (LookupLanes(ThcConfig(width=256)), 9600, 8800, 15, 0),
        (Encoder(ThcConfig()), 6800, 4800, 2, 8),
    ],
    ids=["lanes 64", "lanes 256", "encoder"],
)
def test_resources(unit, lut, ff, bram36, dsp):
    report = synthesize(unit)
    print(report)
    assert report.lut <= lut
    assert report.ff <= ff
    assert report.bram36 <= bram36
    assert report.dsp == dsp

"""What the datapath's units take of the chip at the default configuration, by Yosys."""

import pytest

from bitstreams.synthesis import synthesize
from eyas.interfaces.vision.config import DEFAULT_VISION
from hdl.vision.datapath.add import AddUnit
from hdl.vision.datapath.depthwise import DepthwiseUnit
from hdl.vision.datapath.mac_array import MacArray
from hdl.vision.datapath.pooling import PoolingUnit
from hdl.vision.datapath.requantize import Requantizer

pytestmark = [pytest.mark.synth, pytest.mark.slow, pytest.mark.nightly]


@pytest.mark.parametrize(
    ("unit", "dsp", "lut", "ff", "bram36"),
    [
        # Flip-flops tell whether the DSPs are pipelined: were an operand's or product's register
        # not in the DSP, it would be here, 1,500 to 6,000 more in the array.
        (MacArray, 192, 4800, 4400, 0),
        (PoolingUnit, 0, 900, 550, 0),
        (DepthwiseUnit, 0, 4300, 9900, 0),
        (AddUnit, 0, 1250, 2600, 12),
        (Requantizer, 24, 4600, 3800, 0),
    ],
)
def test_resources(unit, dsp, lut, ff, bram36):
    report = synthesize(unit(DEFAULT_VISION))
    print(report)
    assert report.dsp == dsp
    assert report.lut <= lut
    assert report.ff <= ff
    assert report.bram36 == bram36

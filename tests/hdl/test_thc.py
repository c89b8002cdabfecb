# amaranth: UnusedElaboratable=no
"""The THC units' parameters: what is refused, and what follows from them."""

import pytest
from amaranth.back import rtlil

from eyas.interfaces.thc.config import DEFAULT_THC, ThcConfig
from hdl.overlays.thc import ThcOverlay
from hdl.thc.encode.encoder import Encoder
from hdl.thc.encode.quantizer import Quantizer
from hdl.thc.lanes.lookup_lanes import LookupLanes


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"width": 32}, "width must be 64, 128 or 256, not 32"),
        ({"index_bits": 5}, "index_bits must be 2, 3 or 4, not 5"),
        ({"slots": 3}, "slots must be a power of two from 2 to 1024, not 3"),
        ({"slots": 1}, "slots must be a power of two from 2 to 1024, not 1"),
        ({"slot_bytes": 64, "width": 256}, "slot_bytes must be .* from 128 to 4096, not 64"),
        ({"jobs": 64}, "jobs must be a power of two from 2 to 32, not 64"),
    ],
)
def test_configurations_that_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        ThcConfig(**parameters)


def test_a_configuration_holds_integers():
    with pytest.raises(TypeError, match=r"width must be an integer, not 64\.0"):
        ThcConfig(width=64.0)


@pytest.mark.parametrize("component", [LookupLanes, Encoder, ThcOverlay])
def test_components_take_a_configuration(component):
    with pytest.raises(TypeError, match="Config must be a ThcConfig, not 64"):
        component(64)


def test_an_overlay_has_the_width_of_its_bus():
    with pytest.raises(ValueError, match="behind a 64-bit bus are 64 bits wide, not 128"):
        ThcOverlay(ThcConfig(width=128))


def test_a_quantizer_has_a_table_of_known_size():
    with pytest.raises(ValueError, match="4, 8 or 16 entries, not 12"):
        Quantizer(12)


@pytest.mark.parametrize("width", [64, 128, 256])
@pytest.mark.parametrize("index_bits", [2, 3, 4])
def test_every_shape_can_be_built(width, index_bits):
    config = ThcConfig(width=width, index_bits=index_bits, slots=2)
    assert config.lanes == width // (2 if index_bits == 2 else 4)
    assert config.row_bits == 16 * config.lanes
    assert config.packet_beats(False) == 2 * config.packet_beats(True)
    assert config.packet_beats(True) * config.lanes * 2 == config.slot_bytes
    # The smallest slot, of one row, as well.
    least = ThcConfig(width, index_bits, slots=2, slot_bytes=config.row_bits // 8, jobs=2)
    assert "module" in rtlil.convert(LookupLanes(least), emit_src=False)


def test_default_overlay():
    assert (DEFAULT_THC.lanes, DEFAULT_THC.row_bits, DEFAULT_THC.slot_rows) == (16, 256, 32)
    assert DEFAULT_THC.packet_beats(False) * DEFAULT_THC.lanes == 1024

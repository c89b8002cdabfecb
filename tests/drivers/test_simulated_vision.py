"""The vision overlay's board, at a small shape."""

import pytest

from drivers.simulated.vision import vision_board
from eyas.interfaces.vision.config import SMALL_VISION
from eyas.interfaces.vision.registers import IDENTITY, VISION_REGISTERS


@pytest.mark.slow
def test_small_overlay_answers():
    shape = VISION_REGISTERS["shape"]
    with vision_board(SMALL_VISION) as board:
        assert board.read_register(VISION_REGISTERS["identity"].offset) == IDENTITY
        fields = shape.unpack(board.read_register(shape.offset))
        assert fields == {name: getattr(SMALL_VISION, name) for name in fields}
        board.run(1000)
        assert (board.read_beats, board.write_beats) == (0, 0)

"""Constants of a residual add: the two tables that the engine fills, and what requantises their sum.

LiteRT rescales both inputs to twice the greater scale, with 20 more bits, rounds, adds, and
rescales to the output. An input has 256 values, so that the engine looks the rescaled ones up.
"""

from __future__ import annotations

from eyas.compiler.errors import CompileError
from eyas.compiler.requantization import ChannelParameters
from models.vision.graph import Tensor

__all__ = ["add_parameters", "table_fields"]


def table_fields(first: Tensor, second: Tensor) -> dict[str, int]:
    """Fields ``table_{a,b}_{start,step,shift}`` of an ADD whose first pass reads ``first``.

    Parameters
    ----------
    first, second : Tensor
        The inputs, in the order in which the passes read them.
    """
    raise NotImplementedError


def add_parameters(label: str, first: Tensor, second: Tensor, target: Tensor) -> ChannelParameters:
    """What makes outputs of the tables' sums, the same for every channel.

    Raises
    ------
    CompileError
        When the outputs' steps are too fine for the sums; ``label`` names the layer.
    """
    raise NotImplementedError

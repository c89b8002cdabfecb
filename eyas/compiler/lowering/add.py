"""Constants of a residual add: the tables that the engine fills, and what requantises their sum.

LiteRT rescales both inputs to twice the greater scale, with 20 more bits, rounds, adds, and
rescales to the output. An input has 256 values, so that the engine looks the rescaled ones up.
"""

from __future__ import annotations

from eyas.compiler.errors import ScaleError
from eyas.compiler.lowering.lane import ChannelParameters, mantissa, scaling
from eyas.interfaces.vision.limits import ADD_FRACTION_BITS as FRACTION_BITS
from models.vision.graph import Tensor

__all__ = ["add_parameters", "table_fields"]


def table_fields(first: Tensor, second: Tensor) -> dict[str, int]:
    """Fields ``table_{a,b}_{start,step,shift}`` of an ADD whose first pass reads ``first``.

    Parameters
    ----------
    first, second : Tensor
        The inputs, in the order in which the passes read them.
    """
    fields = {}
    for name, tensor in (("a", first), ("b", second)):
        # At most a half: the exponent is 0 or less.
        scaled = scaling(*mantissa(tensor.scale / _common_scale(first, second)))
        fields[f"table_{name}_start"] = (-128 - tensor.zero_point) * scaled.multiplier
        fields[f"table_{name}_step"] = scaled.multiplier
        fields[f"table_{name}_shift"] = scaled.shift
    return fields


def add_parameters(label: str, first: Tensor, second: Tensor, target: Tensor) -> ChannelParameters:
    """What makes outputs of the tables' sums, the same for every channel.

    Raises
    ------
    ScaleError
        When the outputs' steps are too fine for the sums; ``label`` names the layer.
    """
    step = (1 << FRACTION_BITS) * target.scale
    multiplier, exponent = mantissa(_common_scale(first, second) / step)
    if exponent > 0:
        raise ScaleError(
            f"{label}: the output's scale is {target.scale:g}, too small a part of its inputs', "
            f"{first.scale:g} and {second.scale:g}; the engine goes down to 2^-{FRACTION_BITS - 1}"
        )
    return scaling(multiplier, exponent)


def _common_scale(first: Tensor, second: Tensor) -> float:
    return 2 * max(first.scale, second.scale)

"""What a compiled program says of itself: names, shapes, scales, where maps stand, cycles.

Part of the program file, as JSON.  Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import prod
from typing import Any

from eyas.interfaces.vision.config import VisionConfig

__all__ = [
    "MANIFEST_VERSION",
    "Folded",
    "Manifest",
    "ManifestError",
    "MapPlace",
    "ProgramLayer",
    "ProgramSizes",
    "ProgramTensor",
    "SoftmaxEnd",
]

MANIFEST_VERSION = 1
"""Version of the program file: raised when a reader of before would misread a new file."""


class ManifestError(ValueError):
    """A manifest that is damaged or foreign; the message names the entry."""


@dataclass(frozen=True)
class ProgramTensor:
    """A network's input or output.

    Attributes
    ----------
    shape : (int, int, int)
        Height, width, channels.
    scale, zero_point : float, int
        A real value is ``scale · (int8 − zero_point)``.
    declared : tuple of int or None
        Another shape, with the same values in the same order, which pictures may have too: that of
        the network's own file.
    """

    shape: tuple[int, int, int]
    scale: float
    zero_point: int
    declared: tuple[int, ...] | None = None


@dataclass(frozen=True)
class SoftmaxEnd:
    """The softmax that the driver computes of the output.

    Attributes
    ----------
    beta : float
        Factor of the exponent.
    scale, zero_point : float, int
        Of the probabilities.
    """

    beta: float
    scale: float
    zero_point: int


@dataclass(frozen=True)
class MapPlace:
    """Where a map stands in the activation memory.

    Attributes
    ----------
    shape : (int, int, int)
        Height, width, channels.
    base : int
        First word of each bank.
    plane : int
        Words of each bank from one plane to the next.
    pitch : int
        Linear positions from one row to the next.
    blocks : int
        Planes of ``input_channels`` channels.
    count : int
        Linear positions from the first pixel of a plane to its last.
    """

    shape: tuple[int, int, int]
    base: int
    plane: int
    pitch: int
    blocks: int
    count: int


@dataclass(frozen=True)
class ProgramLayer:
    """One instruction of the program.

    Attributes
    ----------
    name, op : str
        The graph's node, and what kind it is.
    macs : int
        Multiply-accumulates a picture.
    cycles : int
        The compiler's estimate.
    tensor : str or None
        The graph's tensor that is complete behind this layer.
    channels : tuple of int or None
        Channels of the tensor that are computed; None for all.
    map : MapPlace
        Where its output stands.
    """

    name: str
    op: str
    macs: int
    cycles: int
    tensor: str | None
    channels: tuple[int, ...] | None
    map: MapPlace


@dataclass(frozen=True)
class Folded:
    """What is not computed because it is the same for every picture.

    Attributes
    ----------
    channels : int
        Constant channels.
    macs_before : int
        Multiply-accumulates a picture of the network as it was.
    """

    channels: int
    macs_before: int


@dataclass(frozen=True)
class ProgramSizes:
    """Memory that the program takes: rows of weights and parameters, words of each bank."""

    weight_rows: int
    parameter_rows: int
    bank_words: int


@dataclass(frozen=True)
class Manifest:
    """A program's description.

    Attributes
    ----------
    name : str
        The network's.
    config : VisionConfig
        The array that the program was compiled for.
    macs : int
        Multiply-accumulates a picture, of what runs.
    folded : Folded
        What does not run.
    input, output : ProgramTensor
        The network's picture and answer.
    softmax : SoftmaxEnd or None
        What the driver makes of the output.
    output_map : MapPlace
        Where the output stands.
    preprocess : (float, float)
        Scale and offset of a raw uint8 picture.
    labels : tuple of str
        Names of the classes, or none.
    layers : tuple of ProgramLayer
        In the order in which they run.
    sizes : ProgramSizes
        Memory used.
    """

    name: str
    config: VisionConfig
    macs: int
    folded: Folded
    input: ProgramTensor
    output: ProgramTensor
    softmax: SoftmaxEnd | None
    output_map: MapPlace
    preprocess: tuple[float, float]
    labels: tuple[str, ...]
    layers: tuple[ProgramLayer, ...]
    sizes: ProgramSizes

    def as_dict(self) -> dict[str, Any]:
        """The manifest as JSON holds it."""
        values = asdict(self)
        for tensor in (values["input"], values["output"]):
            if tensor["declared"] is None:
                del tensor["declared"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Manifest:
        """The manifest that ``values`` describe; ManifestError names what is wrong with them."""
        return cls(
            name=_text(values, "name"),
            config=_config(_entry(values, "config")),
            macs=_integer(values, "macs"),
            folded=Folded(**_integers(_entry(values, "folded"), Folded)),
            input=_tensor(values, "input"),
            output=_tensor(values, "output"),
            softmax=_softmax(_entry(values, "softmax")),
            output_map=_place(_entry(values, "output_map")),
            preprocess=_pair(values, "preprocess"),
            labels=_texts(values, "labels"),
            layers=tuple(_layer(entry) for entry in _list(values, "layers")),
            sizes=ProgramSizes(**_integers(_entry(values, "sizes"), ProgramSizes)),
        )


def _entry(values: Any, name: str | int) -> Any:
    if not isinstance(values, Mapping):
        raise ManifestError(f"where an entry {name} should be there is {values!r:.40}")
    if name not in values:
        raise ManifestError(f"the entry {name} is missing")
    return values[name]


def _list(values: Any, name: str) -> list[Any]:
    found = _entry(values, name)
    if not isinstance(found, (list, tuple)):
        raise ManifestError(f"{name} is no list")
    return list(found)


def _text(values: Any, name: str) -> str:
    found = _entry(values, name)
    if not isinstance(found, str):
        raise ManifestError(f"{name} is no text")
    return found


def _texts(values: Any, name: str) -> tuple[str, ...]:
    found = _list(values, name)
    if not all(isinstance(item, str) for item in found):
        raise ManifestError(f"{name} holds something else than text")
    return tuple(found)


def _integer(values: Any, name: str | int) -> int:
    found = _entry(values, name)
    if not isinstance(found, int) or isinstance(found, bool):
        raise ManifestError(f"{name} is no integer")
    return found


def _real(values: Any, name: str | int) -> float:
    found = _entry(values, name)
    if not isinstance(found, (int, float)) or isinstance(found, bool):
        raise ManifestError(f"{name} is no number")
    return float(found)


def _integers(values: Any, kind: type) -> dict[str, int]:
    """The integers for the fields of ``kind``, all of which are integers."""
    return {field.name: _integer(values, field.name) for field in fields(kind)}


def _pair(values: Any, name: str) -> tuple[float, float]:
    found = _list(values, name)
    if len(found) != 2:
        raise ManifestError(f"{name} has {len(found)} numbers instead of 2")
    items = dict(enumerate(found))
    return _real(items, 0), _real(items, 1)


def _config(values: Any) -> VisionConfig:
    try:
        return VisionConfig(**_integers(values, VisionConfig))
    except ValueError as error:
        raise ManifestError(f"config: {error}") from None


def _shape(values: Any) -> tuple[int, int, int]:
    found = _list(values, "shape")
    if len(found) != 3 or not all(type(item) is int and item > 0 for item in found):
        raise ManifestError("shape is not three positive integers")
    return found[0], found[1], found[2]


def _tensor(values: Any, name: str) -> ProgramTensor:
    found = _entry(values, name)
    shape, declared = _shape(found), None
    if "declared" in found:
        sizes = dict(enumerate(_list(found, "declared")))
        declared = tuple(_integer(sizes, index) for index in sizes)
        if prod(declared) != prod(shape):
            raise ManifestError(f"{name} declares a shape that holds another number of values")
    return ProgramTensor(shape, _real(found, "scale"), _integer(found, "zero_point"), declared)


def _softmax(values: Any) -> SoftmaxEnd | None:
    if values is None:
        return None
    return SoftmaxEnd(_real(values, "beta"), _real(values, "scale"), _integer(values, "zero_point"))


def _place(values: Any) -> MapPlace:
    names = ("base", "plane", "pitch", "blocks", "count")
    return MapPlace(_shape(values), *(_integer(values, name) for name in names))


def _layer(values: Any) -> ProgramLayer:
    tensor, channels = _entry(values, "tensor"), _entry(values, "channels")
    kept = None if channels is None else dict(enumerate(_list(values, "channels")))
    return ProgramLayer(
        name=_text(values, "name"),
        op=_text(values, "op"),
        macs=_integer(values, "macs"),
        cycles=_integer(values, "cycles"),
        tensor=None if tensor is None else _text(values, "tensor"),
        channels=None if kept is None else tuple(_integer(kept, index) for index in kept),
        map=_place(_entry(values, "map")),
    )

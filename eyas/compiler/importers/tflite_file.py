"""What a ``.tflite`` file holds, as plain data, and how its refusal is raised."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eyas.compiler.errors import Refusal

__all__ = [
    "NO_TENSOR",
    "DamagedFile",
    "FileModel",
    "FileOperator",
    "FileTensor",
    "TfliteError",
    "UnsupportedType",
]

Array = npt.NDArray[Any]

NO_TENSOR = -1
"""What a list of inputs holds where an optional one is left out."""

DTYPES: dict[str, np.dtype[Any]] = {"INT8": np.dtype("i1"), "INT32": np.dtype("<i4")}
"""Constants that networks for the engine have."""


class TfliteError(Refusal):
    """The file is no network that Eyas can run; each of ``blockers`` is one sentence."""


class UnsupportedType(TfliteError):
    """A tensor has a type that Eyas does not take: more serious than an operator's form."""


class DamagedFile(TfliteError):
    """The file contradicts itself; what else it says is not worth a sentence."""


@dataclass(frozen=True, eq=False)
class FileTensor:
    """A tensor of the file.

    Parameters
    ----------
    name : str
        May be empty, and need not be unique.
    shape : tuple of int
        With the batch in front, where there is one.
    dynamic : bool
        Whether a dimension other than the first is known only at run time.
    dtype : str
        In the schema's spelling: INT8, FLOAT32.
    scales, zero_points : float32 array, int64 array
        Equally long; empty where the tensor is not quantised.
    channel_dimension : int
        The dimension that several scales belong to.
    data : uint8 array or None
        A constant's bytes.
    fault : str
        Why Eyas cannot use the tensor whatever reads it, behind "its tensor 'x' "; or empty.
    """

    name: str
    shape: tuple[int, ...]
    dynamic: bool
    dtype: str
    scales: Array
    zero_points: Array
    channel_dimension: int
    data: Array | None
    fault: str = ""

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    def values(self) -> Array:
        """A constant's values, in its shape."""
        if self.data is None:
            raise TfliteError(f"Tensor {self.name!r} is computed at run time, not constant")
        if self.dtype not in DTYPES:
            raise UnsupportedType(
                f"Tensor {self.name!r} holds {self.dtype} constants; Eyas takes "
                f"{' and '.join(DTYPES)}"
            )
        dtype = DTYPES[self.dtype]
        if self.size * dtype.itemsize != len(self.data):
            raise DamagedFile(
                f"Tensor {self.name!r} of shape {list(self.shape)} holds {len(self.data)} bytes: "
                "the file is damaged"
            )
        return np.frombuffer(self.data.tobytes(), dtype).reshape(self.shape)


@dataclass(frozen=True)
class FileOperator:
    """An operator of the file: name and version, tensors by number, options by their names."""

    code: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any]


@dataclass(frozen=True)
class FileModel:
    """The file's first subgraph.

    Parameters
    ----------
    tensors : tuple of FileTensor
        All of them; whatever names a tensor gives its number.
    operators : tuple of FileOperator
        In the order in which they run.
    inputs, outputs : tuple of int
        At least one each.
    faults : tuple of str
        Sentences on what Eyas does not run of the network as a whole.
    """

    tensors: tuple[FileTensor, ...]
    operators: tuple[FileOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    faults: tuple[str, ...] = ()

    @property
    def input(self) -> int:
        """The picture."""
        return self.inputs[0]

    @property
    def output(self) -> int:
        """The answer."""
        return self.outputs[0]

"""A compiled network as a file: what a driver loads. NumPy and the standard library only."""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eyas.interfaces.files import write_atomically
from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.records import HEADER, PROGRAM_MAGIC, PROGRAM_VERSION

__all__ = ["Program", "ProgramFileError"]

FORMAT = "eyas-vision-program"
FORMAT_VERSION = 1
_DATE = (1980, 1, 1, 0, 0, 0)  # equal programs give equal files


class ProgramFileError(ValueError):
    """A program, or the file of one, is damaged or foreign; the message is one sentence."""


@dataclass(frozen=True)
class Program:
    """A network compiled for one shape of the vision engine.

    Parameters
    ----------
    manifest : dict
        ``name``; ``config``: parameters of the array; ``macs``: multiply-accumulates a picture, of
        what runs; ``folded``: ``channels`` that were constant and are not computed, and
        ``macs_before``; ``input`` and ``output``: each ``shape`` (height, width, channels),
        ``scale``, ``zero_point``, the input perhaps ``declared``, the shape that pictures have in
        the network's own file; ``softmax``: None, or ``beta``, ``scale`` and ``zero_point`` of the
        probabilities that the network makes of its output; ``preprocess``: scale and offset of a
        raw uint8 picture; ``labels``; ``layers``: for each ``name``, ``op``, ``macs``, ``cycles``
        (the compiler's estimate), ``tensor``, the graph's tensor that is complete behind it, or
        None, ``channels``, those of the tensor that are computed, or None for all, and ``map``,
        where its output stands: ``shape``, ``base``, ``plane``, ``pitch``, ``blocks``;
        ``output_map``: the same for the output; ``sizes``: memory used.
    image : bytes
        What the overlay loads (:mod:`eyas.interfaces.vision.records`).
    graph : bytes
        The quantised graph it was compiled from, for checks against the reference.
    """

    manifest: dict[str, Any]
    image: bytes
    graph: bytes

    def __post_init__(self) -> None:
        self.check()

    @property
    def config(self) -> VisionConfig:
        """The array that the program was compiled for."""
        return VisionConfig(**self.manifest["config"])

    def check(self) -> None:
        """Raise ProgramFileError when the image is not whole or not of this version."""
        size = HEADER.width // 8
        if len(self.image) < size + 8 or len(self.image) % 8:
            raise ProgramFileError(f"The program image is cut short: {len(self.image)} bytes")
        header = HEADER.unpack_bytes(self.image)
        if header["magic"] != PROGRAM_MAGIC:
            raise ProgramFileError("The program image does not begin with its magic number")
        if header["version"] != PROGRAM_VERSION:
            raise ProgramFileError(
                f"The program image has version {header['version']}, this release knows "
                f"{PROGRAM_VERSION}; compile the network again"
            )
        if header["image_words"] * 8 != len(self.image):
            raise ProgramFileError(
                f"The program image is cut short: {len(self.image)} of "
                f"{header['image_words'] * 8} bytes"
            )
        if zlib.crc32(self.image[:-8]) != int.from_bytes(self.image[-8:], "little"):
            raise ProgramFileError("The program image's checksum is wrong: compile it again")
        config = self.config
        for name in ("output_channels", "input_channels", "pixels", "requantize_channels"):
            if header[name] != getattr(config, name):
                raise ProgramFileError(f"The program's manifest and image disagree on {name}")

    def to_bytes(self) -> bytes:
        """The program as the bytes of a program file."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            manifest = {"format": FORMAT, "version": FORMAT_VERSION, **self.manifest}
            for name, content in (
                ("manifest.json", json.dumps(manifest, indent=1).encode()),
                ("image.bin", self.image),
                ("graph.qgraph", self.graph),
            ):
                archive.writestr(zipfile.ZipInfo(name, _DATE), content, zipfile.ZIP_DEFLATED)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Program:
        """The program in ``data``; ProgramFileError when it is damaged, foreign or of another
        version."""
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                manifest = json.loads(archive.read("manifest.json"))
                image = archive.read("image.bin")
                graph = archive.read("graph.qgraph")
            known = manifest.pop("format") == FORMAT
        except Exception:
            # zipfile, its decompressors and json raise many types; each says the same to a user.
            known = False
        if not known:
            raise ProgramFileError("This is not a compiled program, or it is damaged")
        version = manifest.pop("version")
        if version != FORMAT_VERSION:
            raise ProgramFileError(
                f"The program has format version {version}, this release reads {FORMAT_VERSION}; "
                "compile the network again"
            )
        try:
            return cls(manifest, image, graph)
        except (KeyError, TypeError) as error:
            raise ProgramFileError(f"The program's manifest is damaged: {error!r}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the program to ``path``: the whole file or, when that fails, nothing."""
        write_atomically(path, self.to_bytes())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Program:
        """The program in the file ``path``.

        Raises OSError when the file cannot be read, ProgramFileError when it holds no program.
        """
        data = Path(path).read_bytes()
        try:
            return cls.from_bytes(data)
        except ProgramFileError as error:
            raise ProgramFileError(f"{path}: {error}") from error

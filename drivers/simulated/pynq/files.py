"""The two files that PYNQ asks for, for an overlay that is simulated."""

from __future__ import annotations

import hashlib
import re
import struct
from pathlib import Path

from eyas.interfaces.overlays import OVERLAYS
from eyas.pages.hwh import hwh

__all__ = ["stand_in_name", "write_stand_in"]

_TEXT = (
    "This is no bitstream. It stands for the simulated overlay {name} where PYNQ looks for a .bit "
    "file, and cannot be loaded into an FPGA. Hardware description: SHA-256 {digest}\n"
)
_NAME = re.compile(rb"stands for the simulated overlay (\w+)")


def write_stand_in(name: str, folder: str | Path) -> Path:
    """Write ``NAME.hwh``, and a ``NAME.bit`` that says what it is not; return the latter's path.

    The folder is a temporary one: nothing of this is for keeping. PYNQ.remote takes a .bit apart,
    so the text stands behind a header as .bit files have it.

    Raises ValueError for an overlay that there is not.
    """
    if name not in OVERLAYS:
        raise ValueError(f"There is no overlay {name!r}; there are {', '.join(sorted(OVERLAYS))}")
    path = Path(folder) / f"{name}.bit"
    description = hwh(OVERLAYS[name])
    path.with_suffix(".hwh").write_text(description, "utf-8")
    # PYNQ.remote keeps metadata by the file's hash: another description, another text.
    text = _TEXT.format(name=name, digest=hashlib.sha256(description.encode()).hexdigest())
    payload = text.encode()
    payload += b"\n" * (-len(payload) % 4)  # whole words: PYNQ swaps their bytes
    fields = {"a": f"{name};simulated", "b": "none", "c": "none", "d": "none"}
    header = struct.pack(">h9sh", 9, b"simulated", 1)
    for key, value in fields.items():
        header += key.encode() + struct.pack(">h", len(value) + 1) + value.encode() + b"\0"
    path.write_bytes(header + b"e" + struct.pack(">i", len(payload)) + payload)
    return path


def stand_in_name(data: bytes) -> str | None:
    """Return the overlay that a stand-in's ``data``, as PYNQ.remote sends it, stands for."""
    swapped = struct.unpack(f">{len(data) // 4}I", data[: len(data) // 4 * 4])
    found = _NAME.search(struct.pack(f"<{len(swapped)}I", *swapped))
    return found[1].decode() if found else None

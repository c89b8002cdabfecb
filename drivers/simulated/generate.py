"""Prints an overlay's Verilog: ``python -m drivers.simulated.generate``.

Standard input is a JSON object: ``overlay``, and its configuration's ``fields``. What the process
imports of Eyas is compiled from the sources as they are now: a ``.pyc`` file counts as fresh when
time (in seconds) and size match, which an edit within the same second can leave as they were.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib import import_module

__all__ = ["main"]


def main() -> None:
    """Read what is wanted, write the Verilog; exit code 3 without Amaranth."""
    wanted = json.load(sys.stdin)
    try:
        import amaranth.back.verilog  # noqa: F401  # with its own .pyc files
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "amaranth":
            sys.exit(3)
        raise
    with tempfile.TemporaryDirectory() as nothing:
        sys.pycache_prefix = nothing
        sys.dont_write_bytecode = True
        name = wanted["overlay"]
        known = type(import_module("eyas.interfaces.configs").CONFIGS[name]["default"])
        overlay = import_module(f"hdl.overlays.{name}")
        text = getattr(overlay, f"{name}_verilog")(known(**wanted["fields"]))
    sys.stdout.buffer.write(text.encode())


if __name__ == "__main__":
    main()

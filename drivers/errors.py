"""What can go wrong between a user and a board, as exceptions.

Every message is one sentence, or two: what is wrong, and what to do about it.
"""

from __future__ import annotations

from pathlib import Path

from eyas.interfaces.vision.records import ErrorCode, Place

__all__ = [
    "BoardBusy",
    "BoardClosed",
    "BoardError",
    "BoardTimeout",
    "BufferFreed",
    "BuildFailed",
    "DriverClosed",
    "EyasError",
    "InterruptLost",
    "JobError",
    "NoBoard",
    "OutOfMemory",
    "OverlayFileMissing",
    "OverlayNotLoaded",
    "ProgramError",
    "ProtocolError",
    "RegisterError",
    "ToolMissing",
    "WrongOverlay",
]


class EyasError(Exception):
    """Base of every error that a user of the drivers can meet."""


class BoardError(EyasError):
    """A board did not do what was asked of it."""


class BoardClosed(BoardError):
    """The board was used after it was closed."""

    def __init__(self, action: str) -> None:
        super().__init__(f"Cannot {action}: the board is closed; open a new one")


class DriverClosed(BoardError):
    """A driver was used after it was closed."""

    def __init__(self, action: str, name: str) -> None:
        super().__init__(
            f"Cannot {action}: the {name} driver is closed; make a new one on the board"
        )


class BufferFreed(BoardError):
    """A buffer was used after it was freed."""

    def __init__(self) -> None:
        super().__init__("The buffer was freed; allocate a new one")


class BoardTimeout(BoardError):
    """A wait ended without what was waited for.

    Attributes
    ----------
    waiting_for : str
        What was waited for.
    timeout_s : float
        How long, in seconds of the board's clock.
    """

    def __init__(self, waiting_for: str, timeout_s: float, detail: str = "") -> None:
        super().__init__(
            f"Waited {timeout_s:g} s for {waiting_for}, which did not come"
            f"{f' ({detail})' if detail else ''}; reset the board or allow more time"
        )
        self.waiting_for = waiting_for
        self.timeout_s = timeout_s


class InterruptLost(BoardTimeout):
    """A job has ended, and its interrupt did not come."""

    def __init__(self, waiting_for: str, timeout_s: float) -> None:
        BoardError.__init__(
            self,
            f"The interrupt of {waiting_for} was lost: its record is there, and no interrupt came "
            f"in {timeout_s:g} s; try the board with python -m drivers.selftest",
        )
        self.waiting_for = waiting_for
        self.timeout_s = timeout_s


class RegisterError(BoardError):
    """The overlay refused a register access."""

    def __init__(self, action: str, offset: int, response: str) -> None:
        super().__init__(
            f"The overlay answered a {action} of the register at {offset:#x} with {response}; "
            f"check the offset against the overlay's register page"
        )
        self.offset = offset


class ProtocolError(BoardError):
    """The simulated overlay broke a rule of its bus: a fault in the RTL."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message}; the RTL is at fault, reset the board to go on")


class OutOfMemory(BoardError):
    """The board's DRAM holds no free region of the size asked for.

    What is free is told where it is known: on a simulated board.
    """

    def __init__(
        self,
        wanted: int,
        largest: int | None = None,
        free: int | None = None,
        total: int | None = None,
    ) -> None:
        if free is None:
            message = (
                f"No room for {wanted} bytes of contiguous board memory; free buffers, also those "
                f"of other programs and notebooks"
            )
        else:
            message = (
                f"No room for {wanted} bytes of board memory: {free} of {total} bytes are free, "
                f"the largest gap has {largest}; free buffers or give the board more memory"
            )
        super().__init__(message)


class NoBoard(BoardError):
    """There is no board to use, or nothing that talks to one."""


class OverlayFileMissing(BoardError):
    """A bitstream, or the hardware description beside it, is not there."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is missing; an overlay needs its .bit and its .hwh side by side, of one name"
        )
        self.path = path


class OverlayNotLoaded(BoardError):
    """PYNQ could not load a bitstream, or read its hardware description."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path} could not be loaded ({reason}); copy the .bit and the .hwh of one build again"
        )
        self.path = path


class BoardBusy(BoardError):
    """Another process uses the overlay."""

    def __init__(self, name: str, holder: str, path: Path) -> None:
        super().__init__(
            f"Process {holder or '(unknown)'} uses overlay {name}; end it, or close the board "
            f"there (the lock is {path})"
        )
        self.holder = holder


class ToolMissing(EyasError):
    """A program that a simulation needs is not installed."""

    def __init__(self, tool: str, remedy: str) -> None:
        super().__init__(f"{tool} was not found; install it with: {remedy}")
        self.tool = tool


class BuildFailed(EyasError):
    """The simulation model could not be built.

    Attributes
    ----------
    log : Path or None
        What the failed tool printed, where it could be kept.
    """

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(f"{message}; see {log}" if log else message)
        self.log = log


class WrongOverlay(BoardError):
    """The board carries another overlay, or a version this driver does not know."""


class ProgramError(EyasError):
    """A program cannot run on this board."""


class JobError(BoardError):
    """The overlay ended a job with an error.

    Attributes
    ----------
    code : ErrorCode or int
        What went wrong; an int where this driver does not know the code.
    place : Place or int
        In which phase.
    layer : int
        Layer that was running.
    tag : int
        Tag of the job's descriptor.
    """

    def __init__(self, code: int, place: int, layer: int = 0, tag: int = 0) -> None:
        known_code = {int(item): item for item in ErrorCode}.get(code)
        known_place = {int(item): item for item in Place}.get(place)
        self.code: ErrorCode | int = code if known_code is None else known_code
        self.place: Place | int = place if known_place is None else known_place
        self.layer = layer
        self.tag = tag
        what = known_code.name if known_code is not None else f"code {code}"
        text = known_code.text if known_code is not None else "unknown to this driver"
        where = known_place.name if known_place is not None else f"place {place}"
        if known_place is Place.COMPUTE:
            where += f", layer {layer}"
        remedy = (
            known_code.remedy
            if known_code is not None
            else "use the driver that belongs to this overlay"
        )
        super().__init__(f"Job {tag} ended with {what} ({where}): {text}; {remedy}")

"""What the drivers of all overlays share."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Concatenate, ParamSpec, TypeVar

from drivers.board import Board
from drivers.errors import BoardError, DriverClosed, WrongOverlay
from eyas.interfaces.fields import RegisterBlock

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["DriverReplaced", "OverlayDriver", "exclusive"]

Arguments = ParamSpec("Arguments")
Driver = TypeVar("Driver", bound="OverlayDriver")
Result = TypeVar("Result")


class DriverReplaced(DriverClosed):
    """A driver was used after another one was made on its board, which closed it."""

    def __init__(self, action: str, name: str) -> None:
        BoardError.__init__(
            self,
            f"Cannot {action}: a newer {name} driver took this one's place on the board; use the "
            f"newer one, and one driver for all threads",
        )


def exclusive(
    method: Callable[Concatenate[Driver, Arguments], Result],
) -> Callable[Concatenate[Driver, Arguments], Result]:
    """Make ``method`` hold the lock of the driver's board: its calls never meet another's.

    Every public method that touches the overlay is one; the same thread may call one from another.
    """

    @wraps(method)
    def one_at_a_time(
        self: Driver, /, *arguments: Arguments.args, **options: Arguments.kwargs
    ) -> Result:
        with self.board.lock:
            return method(self, *arguments, **options)

    return one_at_a_time


class OverlayDriver:
    """Registers by name, on a board that was seen to carry the right overlay.

    A context manager; leaving it closes the driver, not the board.

    Threads may share a driver, and drivers may share a board: a call waits until that of another
    thread is over (each ends in bounded time), and holds the board's lock until it has ended.  So
    jobs, records and the interrupt's cause are never another call's.  Calls that belong together,
    such as ``load`` and ``infer``, stand in ``with driver.board.lock:``.

    A driver that keeps the overlay's state (a vision engine's programs, a switch's rings) closes an
    older one of its board, which says so when it is used (DriverReplaced); those of the THC overlay
    leave each other be.

    Parameters
    ----------
    board : Board
        The board that carries the overlay.
    registers : RegisterBlock
        The overlay's registers; IDENTITY and VERSION stand among them.
    name : str
        How messages call the overlay, as in "a vision overlay".
    identity, version_major : int
        What the registers must hold.

    Raises
    ------
    WrongOverlay
        When the board carries something else, or a version this driver does not know.
    """

    keeps_overlay: ClassVar[bool] = False
    """Whether the overlay's state is this driver's alone, so that there is one for a board."""
    _alone: ClassVar[weakref.WeakKeyDictionary[Board, weakref.ref[OverlayDriver]]] = (
        weakref.WeakKeyDictionary()
    )

    def __init__(
        self,
        board: Board,
        registers: RegisterBlock,
        *,
        name: str,
        identity: int,
        version_major: int,
    ) -> None:
        self.board = board
        self._registers = registers
        self._name = name
        self._closed = self._replaced = False
        with board.lock:
            self._check_overlay(identity, version_major)
            if self.keeps_overlay:
                self._take_the_board()

    def _check_overlay(self, identity: int, version_major: int) -> None:
        """Raise WrongOverlay when the board carries something else."""
        name = self._name
        found = self._read("identity")["value"]
        if found != identity:
            raise WrongOverlay(
                f"The board's overlay has identity {found:#010x}, a {name} overlay has "
                f"{identity:#010x}; load the {name} overlay"
            )
        version = self._read("version")
        if version["major"] != version_major:
            raise WrongOverlay(
                f"The {name} overlay has version {version['major']}.{version['minor']}, this "
                f"driver knows {version_major}.x; take driver and overlay of one release"
            )

    def _take_the_board(self) -> None:
        """Close the driver that had the board until now."""
        known = self._alone.get(self.board)
        older = known() if known is not None else None
        if older is not None and not older._closed:
            older._replaced = True
            OverlayDriver.close(older)  # not what PYNQ's drivers make of it: the board stays open
        self._alone[self.board] = weakref.ref(self)

    @exclusive
    def close(self) -> None:
        """Free the driver's memory; the board stays open. Harmless twice.

        Every other method raises DriverClosed afterwards.
        """
        if not self._closed:
            self._closed = True
            self._close()

    def _close(self) -> None:
        """Free what the driver holds; called once."""
        raise NotImplementedError

    def _require_open(self, action: str) -> None:
        if self._closed:
            raise (DriverReplaced if self._replaced else DriverClosed)(action, self._name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self, name: str) -> dict[str, int]:
        register = self._registers[name]
        return register.unpack(self.board.read_register(register.offset))

    def _write(self, name: str, **fields: int) -> None:
        register = self._registers[name]
        self.board.write_register(register.offset, register.pack(fields))

    def _counters(self, offsets: range) -> dict[str, int]:
        """Every counter register at one of ``offsets``, by its name; each wraps at 2^32."""
        self._require_open("read the counters")
        return {
            register.name: self._read(register.name)["value"]
            for register in self._registers.registers
            if register.offset in offsets
        }

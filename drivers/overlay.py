"""What the drivers of all overlays share."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from drivers.board import Board
from drivers.errors import DriverClosed, WrongOverlay
from eyas.interfaces.fields import RegisterBlock

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["OverlayDriver"]


class OverlayDriver:
    """Registers by name, on a board that was seen to carry the right overlay.

    A context manager; leaving it closes the driver, not the board.

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
        self._closed = False
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
            raise DriverClosed(action, self._name)

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

"""What can go wrong between a user and the switch overlay."""

from __future__ import annotations

from drivers.errors import BoardError
from eyas.interfaces.switch.registers import SwitchCode, SwitchPlace

__all__ = ["RingFull", "SwitchError"]


class SwitchError(BoardError):
    """The overlay refused a command, or met an error in its rings.

    Attributes
    ----------
    code : SwitchCode or int
        What went wrong; an int where this driver does not know the code.
    place : SwitchPlace or int
        Where in the rings; NONE for a command.
    index : int
        Ring index at which it was met.
    address : int
        Byte address with which it was met.
    """

    def __init__(
        self, what: str, code: int, place: int = SwitchPlace.NONE, index: int = 0, address: int = 0
    ) -> None:
        known = {int(item): item for item in SwitchCode}.get(code)
        known_place = {int(item): item for item in SwitchPlace}.get(place)
        self.code: SwitchCode | int = code if known is None else known
        self.place: SwitchPlace | int = place if known_place is None else known_place
        self.index = index
        self.address = address
        if known is None:
            text = f"code {code}, unknown to this driver; take driver and overlay of one release"
        else:
            text = f"{known.name}: {known.text}; {known.remedy}"
        super().__init__(f"{what} {text}")


class RingFull(BoardError):
    """More frames were to be posted than the ring has room for; none was.

    Attributes
    ----------
    room : int
        Frames for which there is room.
    """

    def __init__(self, count: int, room: int, entries: int) -> None:
        super().__init__(
            f"The ring of {entries} frames has room for {room}, not for {count} more; post fewer, "
            f"or wait and reap"
        )
        self.room = room

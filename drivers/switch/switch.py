"""Driver of the switch overlay: frames in, packets out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.board import Board
from drivers.errors import BoardTimeout, InterruptLost
from drivers.overlay import exclusive
from drivers.switch.errors import RingFull, SwitchError
from drivers.switch.rings import Frames, SwitchRings, checked_frames
from drivers.switch.setup import SwitchSetup
from eyas.interfaces.switch.registers import SWITCH_REGISTERS, SwitchPlace
from eyas.interfaces.switch.states import Policy

__all__ = ["RingFull", "Switch", "SwitchError"]

DOORBELL = SWITCH_REGISTERS["ingress_doorbell"].offset
ACKNOWLEDGE = SWITCH_REGISTERS["egress_acknowledge"].offset
CAUSES = {"packets": 1, "drained": 1, "error": 1}


class Switch(SwitchSetup):
    """Aggregates packets of many training jobs on the switch overlay of ``board``.

    The switch starts empty: jobs, slots, counters and settings of before are gone.  A context
    manager; leaving it stops the switch and frees its memory, not the board.

    Frames are the packets of :mod:`eyas.interfaces.switch.packet`; each that is posted makes at
    most one packet leave.  What leaves without having been asked for (the sums of a job that is
    flushed, of slots that have aged) comes with the rest.

    Parameters
    ----------
    board : Board
        The board that carries the overlay; it is reset, and a switch made on it before closed.
    ring_entries : int
        Frames, and packets, under way at once: a power of two from 4 to 4096.  On a board every
        batch costs the cleaning of the caches of all of them.

    Attributes
    ----------
    config : SwitchConfig
        Slots, jobs and depths, read from the overlay.
    policy : Policy
        As set last; ESA at first.

    Raises
    ------
    WrongOverlay
        When the board carries something else, or a version this driver does not know.
    ValueError
        For another number of entries.
    """

    keeps_overlay = True

    def __init__(self, board: Board, *, ring_entries: int = 256) -> None:
        with board.lock:
            super().__init__(board)
            self._rings = SwitchRings(board, ring_entries)
            try:
                self.set_policy(Policy.ESA)
                self.reset()
            except BaseException:
                self.close()
                raise

    def _close(self) -> None:
        try:
            if not self.board.closed:
                # Nothing may write to memory that is given back.
                self._write("control", abort=1)
                if not self._poll("status", "idle", 1):
                    self.board.reset()
        finally:
            self._rings.close()

    @exclusive
    def reset(self) -> None:
        """Bring the overlay to its state after power-on: no job, empty slots, counters at 0.

        Settings stay, and so do the epochs that were used.  Packets not reaped are lost.
        """
        self._require_open("reset the switch")
        self._jobs.clear()
        self._held: list[bytes] = []
        self._posted = self._consumed = self._reaped = 0
        self.board.reset()
        self._apply(**self._settings)
        rings = self._rings
        self._write("ingress_base", address=rings.descriptors.address)
        self._write("egress_base", address=rings.packets.address)
        self._write("window_base", address=rings.frames.address)
        self._write("window_end", address=rings.frames.address + rings.frames.nbytes)
        log2 = rings.entries.bit_length() - 1
        self._write("ring_sizes", ingress_log2=log2, egress_log2=log2)
        self._write("interrupt_enable", **CAUSES)
        self._write("control", start=1)
        self._await_cleared()
        self.check()

    @property
    @exclusive
    def room(self) -> int:
        """Frames that can be posted now."""
        self._require_open("ask for room")
        self._consumed = self._read("ingress")["consumer"]
        return self._room()

    def _room(self) -> int:
        return self._rings.entries - (self._posted - self._consumed & 0xFFFF)

    def _most_packets(self) -> int:
        return self._rings.entries

    @exclusive
    def post(
        self,
        frames: Frames | npt.NDArray[np.uint8],
        sizes: Sequence[int] | npt.NDArray[Any] | None = None,
    ) -> None:
        """Hand frames to the switch, which takes them in order.

        Parameters
        ----------
        frames : sequence of bytes, or uint8 array [n, bytes]
            Frames of 1 to 1088 bytes each.
        sizes : sequence of int or None
            Bytes of each frame of an array; by default the whole row.

        Raises
        ------
        ValueError, TypeError
            For frames of another form or size; none is posted.
        RingFull
            When there is no room for all of them; none is posted.
        """
        self._require_open("post frames")
        frames, checked = checked_frames(frames, sizes)
        count = len(checked)
        if count > self._room() and count > self.room:
            raise RingFull(count, self._room(), self._rings.entries)
        if count:
            self._rings.write(self._posted, frames, checked)
            self._posted = self._posted + count & 0xFFFF
            self.board.write_register(DOORBELL, self._posted)

    @exclusive
    def reap(self) -> list[bytes]:
        """The packets that have left the switch since the last call, in order.

        Raises
        ------
        SwitchError
            When the rings have met an error since; call again for the packets.
        """
        self._require_open("reap packets")
        self._pull()
        self.check()
        packets, self._held = self._held, []
        return packets

    @exclusive
    def wait(self, timeout_s: float | None = None) -> None:
        """Return when there are packets to reap, or all that was posted is done with.

        Parameters
        ----------
        timeout_s : float or None
            Seconds of the board's clock; by default ample for what a ring holds.

        Raises
        ------
        SwitchError
            When the rings have met an error.
        BoardTimeout, InterruptLost
            When nothing came; the switch goes on.
        """
        self._require_open("wait for packets")
        if self._held:
            self.check()
        else:
            self._wait(timeout_s)

    @exclusive
    def exchange(
        self,
        frames: Frames | npt.NDArray[np.uint8],
        sizes: Sequence[int] | npt.NDArray[Any] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> list[bytes]:
        """Post any number of frames, and return every packet that has left when all are done with.

        Parameters and errors as of :meth:`post` and :meth:`wait`; when one is raised, packets that
        have left are kept for :meth:`reap`.
        """
        self._require_open("exchange frames")
        frames, checked = checked_frames(frames, sizes)
        start, count = 0, len(checked)
        while True:
            stop = min(count, start + self.room)
            if stop > start:
                part = checked[start:stop] if isinstance(frames, np.ndarray) else None
                self.post(frames[start:stop], part)
                start = stop
            self._wait(timeout_s)
            idle = self._read("status")["idle"]  # asked first: then all that has left is pulled
            self._pull()
            if idle and start == count:
                return self.reap()

    @exclusive
    def check(self) -> None:
        """Raise SwitchError for the first error of the rings since the last call, if there is one.

        The switch goes on; the frame or packet that met the error is lost.
        """
        self._require_open("check for errors")
        error = self._read("error")
        if not error["code"]:
            return
        self._pull()  # while it is known which packet was lost
        address = self._read("error_address")["address"]
        self._write("control", clear_error=1)
        self._write("interrupt_status", error=1)
        place = {int(item): item.name.lower() for item in SwitchPlace}.get(error["place"], "?")
        raise SwitchError(
            f"The switch's rings ({place}, index {error['index']}, address {address:#x}) met",
            error["code"],
            error["place"],
            error["index"],
            address,
        )

    def _wait(self, timeout_s: float | None) -> None:
        """Return when packets stand in the ring, or all that was posted is done with."""
        limit = timeout_s or (2000 * self._rings.entries + 1_000_000) / self.board.clock_hz
        self._write("interrupt_status", **CAUSES)  # those of before; what holds is set again
        if self._ready():
            return
        what = "packets of the switch"
        try:
            self.board.wait_interrupt(limit, what)
        except BoardTimeout:
            if self._ready():
                raise InterruptLost(what, limit) from None
            raise
        self.check()

    def _ready(self) -> bool:
        self.check()
        return bool(self._arrived()) or bool(self._read("status")["idle"])

    def _arrived(self) -> int:
        """Packets in memory that were not taken out."""
        return self._read("egress")["producer"] - self._reaped & 0xFFFF

    def _pull(self) -> None:
        count = self._arrived()
        if count:
            error = self._read("error")
            packets = self._rings.take(self._reaped, count, doubtful=bool(error["code"]))
            if error["place"] == SwitchPlace.PACKETS:
                packets.pop(error["index"] - self._reaped & 0xFFFF, None)
            self._held += packets.values()
            self._reaped = self._reaped + count & 0xFFFF
            self.board.write_register(ACKNOWLEDGE, self._reaped)

"""Our drivers as PYNQ's drivers: ``Overlay("vision.bit").vision_0`` is a VisionEngine."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from drivers.overlay import OverlayDriver, exclusive
from drivers.real.pynq_board import PynqBoard, require_pynq
from drivers.real.pynq_waiting import find_interrupt
from drivers.switch import Switch
from drivers.thc import ThcAggregator, ThcEncoder
from drivers.vision import VisionEngine
from eyas.interfaces.overlays import OVERLAYS

__all__ = ["DRIVERS", "ThcOverlay", "bind"]


class ThcOverlay(ThcAggregator):
    """The THC overlay as PYNQ finds it: the aggregator, from which the encoder can be had."""

    _encoder: ThcEncoder | None = None

    @exclusive
    def encoder(self) -> ThcEncoder:
        """Return the encoder of the same overlay, used one call at a time with the aggregator."""
        if self._encoder is None:
            self._encoder = ThcEncoder(self.board)
        return self._encoder

    def _close(self) -> None:
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None
        super()._close()


DRIVERS: dict[str, type[OverlayDriver]] = {
    "vision": VisionEngine,
    "thc": ThcOverlay,
    "switch": Switch,
}
"""The driver of each overlay of :data:`eyas.interfaces.overlays.OVERLAYS`."""


@lru_cache
def bind() -> dict[str, type]:
    """Make the drivers known to PYNQ, by the overlays' VLNV; return the classes by overlay.

    PYNQ does this itself where Eyas is installed (:mod:`drivers.real.pynq_plugin`).
    """
    default = require_pynq().DefaultIP
    return {name: _ip(default, name, driver) for name, driver in DRIVERS.items()}


def _ip(default: Any, name: str, driver: Any) -> type:
    description = OVERLAYS[name]

    class OverlayIP(driver, default):  # type: ignore[misc]  # PYNQ is untyped
        bindto = [description.vlnv]

        def __init__(self, entry: dict[str, Any]) -> None:
            default.__init__(self, entry)
            _ = self.register_map  # made and kept now: our drivers call something else _registers
            self.interrupt = find_interrupt(require_pynq(), self.device, description)
            board = PynqBoard(self.mmio, description, interrupt=self.interrupt)
            try:
                driver.__init__(self, board)
            except BaseException:
                board.close()
                raise

        def close(self) -> None:
            """Close the driver and its board, so that another process can have it."""
            try:
                driver.close(self)
            finally:
                self.board.close()

    OverlayIP.__name__ = OverlayIP.__qualname__ = driver.__name__
    OverlayIP.__doc__ = driver.__doc__
    return OverlayIP

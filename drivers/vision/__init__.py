"""The vision overlay: :class:`VisionEngine` takes programs and pictures and gives answers."""

from drivers.vision.engine import VisionEngine

__all__ = ["VisionEngine"]

"""Every hardware configuration that has a name, by overlay.  Standard library only."""

from __future__ import annotations

from collections.abc import Mapping

from eyas.interfaces.switch.config import DEFAULT_SWITCH, LARGE_SWITCH, SwitchConfig
from eyas.interfaces.thc.config import DEFAULT_THC, ThcConfig
from eyas.interfaces.vision.config import DEFAULT_VISION, SMALL_VISION, VisionConfig

__all__ = ["CONFIGS", "OverlayConfig", "named_config"]

OverlayConfig = VisionConfig | ThcConfig | SwitchConfig
"""What an overlay's component is made from."""

CONFIGS: Mapping[str, Mapping[str, OverlayConfig]] = {
    "vision": {"default": DEFAULT_VISION, "small": SMALL_VISION},
    "thc": {"default": DEFAULT_THC},
    "switch": {"default": DEFAULT_SWITCH, "large": LARGE_SWITCH},
}
"""Configurations by overlay and name; ``default`` is the published one."""


def named_config(overlay: str, name: str) -> OverlayConfig:
    """Return configuration ``name`` of ``overlay``; ValueError that lists those there are."""
    known = CONFIGS[overlay]
    if name not in known:
        raise ValueError(
            f"the {overlay} overlay has no configuration {name!r}; it has {' and '.join(known)}"
        )
    return known[name]

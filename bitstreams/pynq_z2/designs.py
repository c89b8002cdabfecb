"""The overlays that can be built for the board, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from eyas.interfaces.configs import DEFAULT_VISION, SMALL_VISION
from eyas.interfaces.switch_config import DEFAULT_SWITCH, LARGE_SWITCH
from eyas.interfaces.thc_config import DEFAULT_THC

__all__ = ["DESIGNS", "Design"]


@dataclass(frozen=True)
class Design:
    """An overlay's RTL.

    Attributes
    ----------
    module, component : str
        Where its component is: one with ``s_axi : In(AxiLite)``, ``m_axi : Out(Axi4())`` and
        ``interrupt : Out(1)``, whose constructor takes a configuration.
    configs : mapping
        Name to configuration; ``default`` is the published one.
    """

    module: str
    component: str
    configs: Mapping[str, Any]

    def config(self, name: str) -> Any:
        """Return the configuration ``name``; ValueError that lists the others."""
        if name not in self.configs:
            raise ValueError(
                f"there is no configuration {name} of {self.component}; "
                f"there is {', '.join(self.configs)}"
            )
        return self.configs[name]

    def create(self, config: str = "default") -> Any:
        """Return the component with the configuration named ``config``.

        Raises ValueError for an unknown name, ModuleNotFoundError without Amaranth.
        """
        chosen = self.config(config)
        return getattr(import_module(self.module), self.component)(chosen)


DESIGNS = {
    "vision": Design(
        "hdl.overlays.vision", "VisionOverlay", {"default": DEFAULT_VISION, "small": SMALL_VISION}
    ),
    "thc": Design("hdl.overlays.thc", "ThcOverlay", {"default": DEFAULT_THC}),
    "switch": Design(
        "hdl.overlays.switch", "SwitchOverlay", {"default": DEFAULT_SWITCH, "large": LARGE_SWITCH}
    ),
}
"""Every overlay with RTL, by the name it has in OVERLAYS."""

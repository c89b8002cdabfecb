"""The overlays that can be built for the board, by name."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from eyas.interfaces.configs import CONFIGS, OverlayConfig, named_config

__all__ = ["DESIGNS", "Design"]


@dataclass(frozen=True)
class Design:
    """An overlay's RTL.

    Attributes
    ----------
    name : str
        The overlay's, a key of :data:`eyas.interfaces.configs.CONFIGS`.
    module, component : str
        Where its component is: one with ``s_axi : In(AxiLite)``, ``m_axi : Out(Axi4())`` and
        ``interrupt : Out(1)``, whose constructor takes a configuration.
    """

    name: str
    module: str
    component: str

    def config(self, name: str = "default") -> OverlayConfig:
        """Return the overlay's configuration ``name``; ValueError that lists those there are."""
        return named_config(self.name, name)

    def create(self, config: str = "default") -> Any:
        """Return the component with the configuration named ``config``.

        Raises ValueError for an unknown name, ModuleNotFoundError without Amaranth.
        """
        chosen = self.config(config)
        return getattr(import_module(self.module), self.component)(chosen)


DESIGNS = {
    name: Design(name, f"hdl.overlays.{name}", f"{name.capitalize()}Overlay") for name in CONFIGS
}
"""Every overlay's RTL, by its name."""

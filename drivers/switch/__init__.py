"""The switch overlay: :class:`Switch` takes frames and gives packets."""

from drivers.switch.switch import Switch

__all__ = ["Switch"]

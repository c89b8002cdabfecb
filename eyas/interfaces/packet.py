"""The aggregation packet by its public name; it lives in :mod:`eyas.interfaces.switch.packet`."""

from __future__ import annotations

from eyas.interfaces.switch.packet import *  # noqa: F403
from eyas.interfaces.switch.packet import __all__ as __all__
